/**
 * The OpenAPI 3.1 document of the routes, made from the contract: its params' schemas, its sentences, its errors. Nothing
 * about a method is written here a second time. Made once, on first request; called by `HttpDocs`.
 */
import * as Schema from "effect/Schema"
import { contract, type Method, type MethodSpec } from "./Contract.ts"
import { errorCodes, type ErrorTag } from "./ErrorCodes.ts"
import { needs } from "./HttpAccess.ts"
import { type QueryField, type Route, routes } from "./HttpRoutes.ts"
import { contentType } from "./Problem.ts"

type Json = Readonly<Record<string, unknown>>
interface ObjectSchema {
  readonly properties?: Readonly<Record<string, Json>>
  readonly required?: ReadonlyArray<string>
}

const specOf = (route: Route): MethodSpec<Schema.Top, Schema.Top> | undefined =>
  Object.hasOwn(contract, route.method)
    ? (contract[route.method as Method] as unknown as MethodSpec<Schema.Top, Schema.Top>)
    : undefined

const paramsOf = (spec: MethodSpec<Schema.Top, Schema.Top> | undefined): ObjectSchema =>
  spec === undefined
    ? {}
    : (Schema.toJsonSchemaDocument(spec.params, { onExcessProperty: "error" }).schema as ObjectSchema)

/** What every request can meet, whatever it asks for. */
const everywhere: ReadonlyArray<ErrorTag> = ["InvalidParams", "Unauthorized", "Forbidden", "LimitReached"]
const otherTags: Readonly<Record<number, ReadonlyArray<string>>> = {
  400: ["ParseError", "InvalidRequest"],
  413: ["MessageTooLarge"],
  415: ["UnsupportedMediaType"],
  500: ["InternalError"],
}

const queryParameter = (name: string, { kind, field = name }: QueryField, params: ObjectSchema): Json => {
  const given = params.properties?.[field] ?? {}
  const { description, ...rest } = given as { readonly description?: string }
  const list = { type: "array", items: { type: "string" } }
  const schema = kind === "list" ? listOf(given) : kind === "pairs" ? list : rest
  const pairs = kind === "pairs" ? `NAME=VALUE, repeated: ${field}` : undefined
  return {
    name,
    in: "query",
    required: params.required?.includes(field) ?? false,
    schema,
    ...(kind === "list" ? { style: "form", explode: false } : {}),
    ...(kind === "pairs" ? { style: "form", explode: true } : {}),
    ...((pairs ?? description) === undefined ? {} : { description: pairs ?? description }),
  }
}

/** Of a union of one and several, the several. */
const listOf = (schema: Json): Json =>
  (schema["anyOf"] as ReadonlyArray<Json> | undefined)?.find((each) => each["type"] === "array") ?? schema

const flag = (name: string, description: string): Json => ({
  name,
  in: "query",
  required: false,
  description,
  schema: { type: "boolean", default: false },
})

const header = (name: string, description: string, schema: Json): Json => ({
  name,
  in: "header",
  required: false,
  description,
  schema,
})

const parametersOf = (route: Route, params: ObjectSchema): ReadonlyArray<Json> => [
  ...[...route.path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: params.properties?.[name] ?? { type: "string", minLength: 1 },
    ...(name === "session" ? { description: "name, task or id" } : {}),
  })),
  ...Object.entries(route.query).map(([name, field]) => queryParameter(name, field, params)),
  ...(route.kind === "turn"
    ? [
        flag("wait", "answer once the turn ended"),
        flag("stream", "answer with the turn's entries as events, and last the turn as an event of type turn"),
        header("Idempotency-Key", "the same key in the same session gives the first turn again", {
          type: "string",
          minLength: 1,
        }),
      ]
    : []),
  ...(route.kind === "events" && route.path.includes("{session}")
    ? [header("Last-Event-ID", "the seq of the last entry that was seen; goes before after", { type: "string" })]
    : []),
]

const bodyOf = (route: Route, { properties = {}, required = [] }: ObjectSchema): Json => {
  const elsewhere = new Set([...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))
  if (route.kind === "turn") elsewhere.add("stream")
  const inBody = Object.entries(properties).filter(([name]) => !elsewhere.has(name))
  const needed = required.filter((name) => !elsewhere.has(name))
  if (!route.body || inBody.length === 0) return {}
  const schema = {
    type: "object",
    properties: Object.fromEntries(inBody),
    ...(needed.length === 0 ? {} : { required: needed }),
    additionalProperties: false,
  }
  return { requestBody: { required: needed.length > 0, content: { "application/json": { schema } } } }
}

const stream = { "text/event-stream": { schema: { type: "string" } } }

const successOf = (route: Route, spec: MethodSpec<Schema.Top, Schema.Top> | undefined): Json => {
  const result = { description: spec?.gives ?? "not offered by this version" }
  const json = { "application/json": { schema: { type: "object", description: result.description } } }
  if (spec === undefined) return {}
  if (route.status === 204) return { 204: { description: "done" } }
  if (route.kind === "text") {
    return { 200: { description: result.description, content: { "text/plain": { schema: { type: "string" } } } } }
  }
  if (route.kind === "events") {
    return { 200: { description: "entries as events: data is the entry, id its seq", content: stream } }
  }
  if (route.kind === "turn") {
    return {
      200: { description: "Turn, once it ended", content: { ...json, ...stream } },
      202: { ...result, content: json },
    }
  }
  return { [route.status ?? 200]: { ...result, content: json } }
}

const problemsOf = (route: Route, spec: MethodSpec<Schema.Top, Schema.Top> | undefined): Json => {
  const byStatus = new Map<number, Set<string>>(
    Object.entries(otherTags).map(([at, tags]) => [Number(at), new Set(tags)]),
  )
  const asks = route.kind === "turn" ? contract["session/ask"].errors : []
  for (const tag of [...everywhere, ...(spec?.errors ?? (["Unsupported"] as const)), ...asks]) {
    const { http } = errorCodes[tag]
    byStatus.set(http, (byStatus.get(http) ?? new Set()).add(tag))
  }
  return Object.fromEntries(
    [...byStatus]
      .toSorted(([a], [b]) => a - b)
      .map(([status, tags]) => [
        status,
        {
          description: [...tags].join(", "),
          content: { [contentType]: { schema: { $ref: "#/components/schemas/Problem" } } },
        },
      ]),
  )
}

const operationId = ({ method, path }: Route): string => {
  const [scope = "", ...words] = method.split(/[/]/)
  const id = [scope, ...words.map((word) => word[0]!.toUpperCase() + word.slice(1))].join("")
  return path === "/v1/events" ? "runtimeEvents" : path.endsWith("/events") ? "sessionEvents" : id
}

const operation = (route: Route): Json => {
  const spec = specOf(route)
  const params = paramsOf(spec)
  const { scope, whole } = needs[route.method]
  const who = scope === null ? "" : ` Scope: ${scope}${whole === true ? ", not confined" : ""}.`
  const parameters = parametersOf(route, params)
  return {
    operationId: operationId(route),
    tags: [route.method.split("/")[0]],
    summary: route.method,
    description: `${spec?.doc ?? "Pinned by the protocol, not offered by this version."}${who}`,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...bodyOf(route, params),
    responses: { ...successOf(route, spec), ...problemsOf(route, spec) },
  }
}

export const openApi = (version: string): Json => {
  const paths: Record<string, Record<string, Json>> = {}
  // What this version does not offer is no part of it.
  for (const route of routes.filter((each) => specOf(each) !== undefined))
    (paths[route.path] ??= {})[route.verb.toLowerCase()] = operation(route)
  return {
    openapi: "3.1.0",
    info: {
      title: "creche",
      version,
      description: "Child processes as supervised sessions. The same contract over every transport.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: {
        Problem: {
          type: "object",
          description: "RFC 9457. tag, code and data are those of JSON-RPC.",
          properties: {
            type: { type: "string" },
            title: { type: "string" },
            status: { type: "integer" },
            detail: { type: "string" },
            tag: { type: "string" },
            code: { type: "integer" },
            data: { type: "object", properties: { tag: { type: "string" } }, required: ["tag"] },
          },
          required: ["type", "title", "status", "detail", "tag", "code", "data"],
        },
      },
    },
  }
}
