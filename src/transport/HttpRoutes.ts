/**
 * Every route as data: which method of the contract it calls, and where that method's params stand in a request. The
 * HttpApi is made from it. Decodes nothing: the contract's decoders do.
 */
import type { Method, notOffered } from "./Contract.ts"

export type Verb = "GET" | "POST" | "PUT" | "DELETE"
export type RouteMethod = Method | (typeof notOffered)[number]

/** How a query parameter is written: `list`: separated by commas or repeated; `pairs`: NAME=VALUE, repeated. */
export type QueryKind = "text" | "integer" | "boolean" | "list" | "pairs"

export interface QueryField {
  readonly kind: QueryKind
  /** The field of the params; default the query's own name. */
  readonly field?: string
}

export interface Route {
  readonly verb: Verb
  /** `{name}` stands for one segment, percent-encoded; its value is the params' field of that name. */
  readonly path: string
  readonly method: RouteMethod
  readonly query: Readonly<Record<string, QueryField>>
  /** Whether the rest of the params is the JSON object in the body. */
  readonly body: boolean
  /** Of the answer; default 200. */
  readonly status?: 201 | 202 | 204
  /**
   * `turn`: `?wait=true` asks, `?stream=true` asks and answers as events, else tells. `events`: answers as events. `text`:
   * the answer is the result's `text`, of its `contentType`.
   */
  readonly kind?: "turn" | "events" | "text"
  /** Where the result can be had from then on. */
  readonly location?: (result: any) => string
}

type Options = Partial<Omit<Route, "verb" | "path" | "method">>

const route = (verb: Verb, path: string, method: RouteMethod, options: Options = {}): Route => ({
  verb,
  path,
  method,
  query: {},
  body: verb === "POST" || verb === "PUT",
  ...options,
})

const text: QueryField = { kind: "text" }
const integer: QueryField = { kind: "integer" }
const boolean: QueryField = { kind: "boolean" }
const list: QueryField = { kind: "list" }

const sessionAt = ({ id }: { readonly id: string }) => `/v1/sessions/${id}`
const turnAt = ({ id }: { readonly id: string }) => `/v1/turns/${id}`

const control = (verb: string) => route("POST", `/v1/sessions/{session}/${verb}`, `session/${verb}` as RouteMethod)

export const routes: ReadonlyArray<Route> = [
  route("GET", "/v1/info", "runtime/info"),
  route("GET", "/v1/stats", "runtime/stats"),
  route("GET", "/v1/health", "runtime/health"),
  route("GET", "/v1/tree", "runtime/tree"),
  route("GET", "/metrics", "runtime/metrics", { kind: "text" }),
  route("POST", "/v1/shutdown", "runtime/shutdown"),
  route("POST", "/v1/supervisors", "supervisor/start"),
  route("POST", "/v1/supervisors/stop", "supervisor/stop"),
  route("POST", "/v1/sessions", "session/start", { status: 201, location: sessionAt }),
  route("GET", "/v1/sessions", "session/list", {
    query: {
      status: list,
      tag: { kind: "pairs", field: "tags" },
      task: text,
      supervisor: text,
      limit: integer,
      cursor: text,
    },
  }),
  route("GET", "/v1/sessions/{session}", "session/get"),
  route("DELETE", "/v1/sessions/{session}", "session/remove", { status: 204 }),
  route("POST", "/v1/sessions/{session}/turns", "session/tell", { kind: "turn", status: 202, location: turnAt }),
  route("GET", "/v1/sessions/{session}/turns", "session/history", { query: { limit: integer, before: integer } }),
  route("GET", "/v1/turns/{turn}", "turn/get"),
  route("GET", "/v1/turns/{turn}/wait", "turn/wait", { query: { timeoutMs: integer } }),
  control("cancel"),
  control("suspend"),
  control("resume"),
  control("restart"),
  control("stop"),
  route("POST", "/v1/sessions/{session}/fork", "session/fork", { status: 201, location: sessionAt }),
  control("extend"),
  control("answer"),
  control("authenticate"),
  control("write"),
  control("resize"),
  control("signal"),
  route("GET", "/v1/sessions/{session}/transcript", "session/transcript", {
    query: { after: integer, limit: integer, types: list, turn: text, all: boolean },
  }),
  route("GET", "/v1/sessions/{session}/screen", "session/screen"),
  route("GET", "/v1/sessions/{session}/events", "session/subscribe", {
    kind: "events",
    query: { after: integer, types: list },
  }),
  route("GET", "/v1/events", "session/subscribe", { kind: "events", query: { types: list } }),
  route("GET", "/v1/search", "session/search", { query: { query: text, session: text, limit: integer } }),
  route("GET", "/v1/templates", "template/list"),
  route("GET", "/v1/templates/{name}", "template/get"),
  route("PUT", "/v1/templates/{name}", "template/put"),
  route("DELETE", "/v1/templates/{name}", "template/remove", { status: 204 }),
]

export type Match =
  | { readonly _tag: "Found"; readonly route: Route }
  | { readonly _tag: "WrongVerb"; readonly allow: ReadonlyArray<string> }
  | { readonly _tag: "Malformed" }
  | { readonly _tag: "Unknown" }

const compiled = routes.map((each) => ({ each, segments: each.path.split("/") }))

const fits = (pattern: ReadonlyArray<string>, segments: ReadonlyArray<string>): boolean =>
  pattern.length === segments.length &&
  pattern.every((part, at) => (part.startsWith("{") ? segments[at] !== "" : part === segments[at]))

/** `path`: as it stands in a request that goes there, well encoded. */
export const pathParams = (route: Route, path: string): Readonly<Record<string, string>> => {
  const segments = path.split("/")
  const given: Record<string, string> = {}
  for (const [index, part] of route.path.split("/").entries()) {
    if (part.startsWith("{")) given[part.slice(1, -1)] = decodeURIComponent(segments[index]!)
  }
  return given
}

/** Where a path would lead, for those that the router leads nowhere. HEAD is found as GET. */
export const match = (verb: string, path: string): Match => {
  const segments = path.split("/")
  const at = compiled.filter(({ segments: pattern }) => fits(pattern, segments))
  if (at.length === 0) return { _tag: "Unknown" }
  const found = at.find(({ each }) => each.verb === (verb === "HEAD" ? "GET" : verb))
  if (found === undefined) {
    return { _tag: "WrongVerb", allow: at.flatMap(({ each: { verb } }) => (verb === "GET" ? ["GET", "HEAD"] : [verb])) }
  }
  try {
    pathParams(found.each, path)
    return { _tag: "Found", route: found.each }
  } catch {
    return { _tag: "Malformed" }
  }
}
