/**
 * The contract as an HttpApi: each route an endpoint, with the params of its method where they stand in a request, its result
 * and its failures. Made from `HttpRoutes` and `Contract`; nothing about a method is written here a second time. The server
 * routes by it, the OpenAPI document and the docs page are made from it. It answers nothing.
 */
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { contract, type Method } from "./Contract.ts"
import { errorCodes, type ErrorTag } from "./ErrorCodes.ts"
import { needs } from "./HttpAccess.ts"
import { type QueryField, type Route, routes } from "./HttpRoutes.ts"
import * as Problem from "./Problem.ts"

type Fields = Readonly<Record<string, Schema.Top>>

/** A route whose method this version has. */
export type ServedRoute = Route & { readonly method: Method }

const isServed = (route: Route): route is ServedRoute => Object.hasOwn(contract, route.method)
export const servedRoutes: ReadonlyArray<ServedRoute> = routes.filter(isServed)

/** `/v1/sessions/{session}` as the router writes it. */
const routerPath = (path: string): `/${string}` => path.replace(/\{(\w+)\}/g, ":$1") as `/${string}`
const namesIn = (path: string): ReadonlyArray<string> => [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!)

const optional = (schema: Schema.Top): Schema.Top => Schema.optionalKey(schema)
const say = (schema: Schema.Top, description: string): Schema.Top => schema.annotate({ description })

/** As it is written in a query: `gather` reads it, and the contract decodes what it read. */
const queryField = ({ kind, field }: QueryField, name: string, given: Schema.Top): Schema.Top => {
  switch (kind) {
    case "text":
    case "integer":
      return given
    case "boolean":
      return optional(Schema.Literals(["true", "false", ""]))
    case "list":
      return optional(say(Schema.Array(Schema.String), "separated by commas, or repeated"))
    case "pairs":
      return optional(say(Schema.Array(Schema.String), `NAME=VALUE, repeated: ${field ?? name}`))
  }
}

const flag = (description: string) => optional(say(Schema.Literals(["true", "false", ""]), description))
const turnQuery: Fields = {
  wait: flag("answer once the turn ended"),
  stream: flag("answer with the turn's entries as events, and last the turn as an event of type turn"),
}
const text = Schema.String.check(Schema.isMinLength(1))
const turnHeaders: Fields = {
  "idempotency-key": optional(say(text, "the same key in the same session gives the first turn again")),
}
const eventHeaders: Fields = {
  "last-event-id": optional(say(Schema.String, "the seq of the last entry that was seen; goes before after")),
}

/** What only HTTP says, by status. */
const httpTags: Readonly<Record<number, ReadonlyArray<string>>> = {
  400: ["ParseError", "InvalidRequest"],
  413: ["MessageTooLarge"],
  415: ["UnsupportedMediaType"],
  500: ["InternalError"],
}
/** What every request can meet, whatever it asks for. */
const everywhere: ReadonlyArray<ErrorTag> = ["InvalidParams", "Unauthorized", "Forbidden", "LimitReached"]

const { Int, Literal, Record, String: Text, Struct, StructWithRest, Unknown } = Schema
const problems = new Map<string, Schema.Top>()
/** One schema for each tag, named after it. */
const problemSchema = (tag: string, status: number): Schema.Top => {
  let schema = problems.get(tag)
  if (schema === undefined) {
    schema = Struct({
      type: Literal("about:blank"),
      title: Text,
      status: Literal(status),
      detail: Text,
      tag: Literal(tag),
      code: Int,
      data: StructWithRest(Struct({ tag: Literal(tag) }), [Record(Text, Unknown)]),
    })
      .annotate({ identifier: tag })
      .pipe(HttpApiSchema.asJson({ contentType: Problem.contentType }), HttpApiSchema.status(status))
    problems.set(tag, schema)
  }
  return schema
}

const problemsOf = (route: ServedRoute): ReadonlyArray<Schema.Top> => {
  const asks = route.kind === "turn" ? contract["session/ask"].errors : []
  const tags = new Map<string, number>(
    Object.entries(httpTags).flatMap(([status, names]) => names.map((name) => [name, Number(status)] as const)),
  )
  for (const tag of [...everywhere, ...contract[route.method].errors, ...asks]) tags.set(tag, errorCodes[tag].http)
  return [...tags].toSorted(([, a], [, b]) => a - b).map(([tag, status]) => problemSchema(tag, status))
}

const events = Schema.String.annotate({
  description: "server-sent events: data is an entry, id its seq; named ones are missed, ended, closing, turn, problem",
}).pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))

const successOf = (route: ServedRoute): ReadonlyArray<Schema.Top> => {
  const { result } = contract[route.method] as { readonly result: Schema.Top }
  if (route.status === 204) return [HttpApiSchema.NoContent]
  switch (route.kind) {
    case "text":
      return [Schema.String.pipe(HttpApiSchema.asText())]
    case "events":
      return [events]
    case "turn":
      return [result.pipe(HttpApiSchema.status(200)), events, result.pipe(HttpApiSchema.status(202))]
    default:
      return [result.pipe(HttpApiSchema.status(route.status ?? 200))]
  }
}

export const endpointId = ({ method, path }: Route): string => {
  const [scope = "", ...words] = method.split(/[/]/)
  const id = [scope, ...words.map((word) => word[0]!.toUpperCase() + word.slice(1))].join("")
  return path === "/v1/events" ? "runtimeEvents" : path.endsWith("/events") ? "sessionEvents" : id
}

/** Params of the method that stand neither in the path nor in the query. */
const bodyFields = (route: ServedRoute): Fields => {
  const elsewhere = new Set(namesIn(route.path))
  if (route.kind === "turn") elsewhere.add("stream")
  const { fields } = contract[route.method].params as { readonly fields: Fields }
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !elsewhere.has(name)))
}

const isOptional = (schema: Schema.Top): boolean => schema.ast.context?.isOptional === true

interface Described {
  readonly type?: string
  readonly anyOf?: ReadonlyArray<Described>
  readonly description?: string
}

/** What a query's text stands for, which says more than that it is text. */
const meant = (kind: QueryField["kind"], given: Schema.Top | undefined): Described | undefined => {
  if (kind === "boolean") return { type: "boolean" }
  if (given === undefined || (kind !== "integer" && kind !== "list")) return undefined
  const { schema } = Schema.toJsonSchemaDocument(given)
  const made = schema as Described
  // Of a union of one and several, the several.
  return kind === "integer" ? made : (made.anyOf?.find(({ type }) => type === "array") ?? made)
}

/** What the document says besides what HttpApi makes of an endpoint. */
const finished =
  (route: ServedRoute, body: Fields) =>
  (operation: object): object => {
    const made = operation as OpenApi.OpenAPISpecOperation
    const { fields } = contract[route.method].params as { readonly fields: Fields }
    const flags: Readonly<Record<string, QueryField>> =
      route.kind === "turn" ? { wait: { kind: "boolean" }, stream: { kind: "boolean" } } : {}
    for (const parameter of made.parameters) {
      const { name, schema } = parameter as { readonly name: string; readonly schema: Described }
      const description = name === "session" ? "name, task or id" : schema.description
      if (description !== undefined) parameter.description = description
      const spec = parameter.in === "query" ? { ...route.query, ...flags }[name] : undefined
      if (spec === undefined) continue
      Object.assign(parameter, { schema: meant(spec.kind, fields[spec.field ?? name]) ?? schema })
      if (spec.kind === "list") Object.assign(parameter, { style: "form", explode: false })
    }
    if (made.parameters.length === 0) delete (made as { parameters?: unknown }).parameters
    if (made.requestBody !== undefined && Object.values(body).every(isOptional)) {
      Object.assign(made.requestBody, { required: false })
    }
    return { ...made, security: [{ bearer: [] }] }
  }

const descriptionOf = ({ method }: ServedRoute): string => {
  const { scope, whole } = needs[method]
  const who = scope === null ? "" : ` Scope: ${scope}${whole === true ? ", not confined" : ""}.`
  return `${contract[method].doc} Gives: ${contract[method].gives}.${who}`
}

const endpointOf = (route: ServedRoute): HttpApiEndpoint.Top => {
  const { fields } = contract[route.method].params as { readonly fields: Fields }
  const inPath = namesIn(route.path)
  const query = {
    ...Object.fromEntries(
      Object.entries(route.query).map(([name, spec]) => [
        name,
        queryField(spec, name, fields[spec.field ?? name] ?? Schema.String),
      ]),
    ),
    ...(route.kind === "turn" ? turnQuery : {}),
  }
  const body = bodyFields(route)
  const hasBody = route.body && Object.keys(body).length > 0
  const headers =
    route.kind === "turn" ? turnHeaders : route.kind === "events" && inPath.length > 0 ? eventHeaders : undefined
  const options = {
    ...(inPath.length === 0 ? {} : { params: Object.fromEntries(inPath.map((name) => [name, fields[name] ?? text])) }),
    ...(Object.keys(query).length === 0 ? {} : { query }),
    ...(headers === undefined ? {} : { headers }),
    ...(hasBody ? { payload: Schema.Struct(body) } : {}),
    success: successOf(route),
    error: problemsOf(route),
  }
  // Made by a function, its types are those of every endpoint.
  const make = HttpApiEndpoint.make(route.verb) as unknown as (
    identifier: string,
    path: string,
    options: object,
  ) => HttpApiEndpoint.Top
  return make(endpointId(route), routerPath(route.path), options)
    .annotate(OpenApi.Identifier, endpointId(route))
    .annotate(OpenApi.Summary, route.method)
    .annotate(OpenApi.Description, descriptionOf(route))
    .annotate(OpenApi.Transform, finished(route, body)) as HttpApiEndpoint.Top
}

export const groupNames = ["runtime", "session", "turn", "template", "supervisor"] as const
export type GroupName = (typeof groupNames)[number]
const groupOf = ({ method }: ServedRoute): string => method.split("/")[0]!

export const routesOf = (group: GroupName): ReadonlyArray<ServedRoute> =>
  servedRoutes.filter((route) => groupOf(route) === group)

type AnyGroup<Name extends GroupName> = HttpApiGroup.HttpApiGroup<Name, any>

interface GroupMaker<Name extends GroupName> {
  readonly add: (...all: ReadonlyArray<HttpApiEndpoint.Top>) => AnyGroup<Name>
}
const makeGroup = <Name extends GroupName>(name: Name): AnyGroup<Name> =>
  (HttpApiGroup.make(name) as unknown as GroupMaker<Name>).add(...routesOf(name).map(endpointOf))

export const httpApi = HttpApi.make("creche").add(
  makeGroup("runtime"),
  makeGroup("session"),
  makeGroup("turn"),
  makeGroup("template"),
  makeGroup("supervisor"),
)
export type CrecheApi = typeof httpApi

/** `version`: of the runtime. */
export const documented = (version: string): CrecheApi =>
  httpApi
    .annotate(OpenApi.Title, "creche")
    .annotate(OpenApi.Version, version)
    .annotate(OpenApi.Description, "Child processes as supervised sessions. The same contract over every transport.")
    .annotate(OpenApi.License, { name: "MIT", identifier: "MIT" })
    .annotate(OpenApi.Servers, [{ url: "/" }])
    .annotate(OpenApi.Transform, (spec) => {
      const made = spec as unknown as OpenApi.OpenAPISpec
      made.components.securitySchemes = { bearer: { type: "http", scheme: "bearer" } }
      made.security = [{ bearer: [] }]
      return made as never
    })
