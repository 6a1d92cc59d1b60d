/**
 * The params of a method, gathered from a request's path, query, headers and body. Says where one is written twice or is
 * no such text; everything else is for the contract's decoders, which get what they get from any other transport. Pure.
 */
import type { QueryKind, Route } from "./HttpRoutes.ts"

type Fields = Readonly<Record<string, unknown>>
interface Issue {
  readonly path: string
  readonly message: string
}

const integer = /^-?(?:0|[1-9][0-9]{0,15})$/

/** One value of the query as JSON would have it; what does not fit stays text, and the decoder says what it must be. */
const valueOf = (kind: QueryKind, given: ReadonlyArray<string>): unknown => {
  const [text = ""] = given
  switch (kind) {
    case "text":
      return text
    case "integer":
      return integer.test(text) ? Number(text) : text
    case "boolean":
      return text === "true" || text === "" ? true : text === "false" ? false : text
    case "list":
      return given.flatMap((each) => each.split(",")).filter((each) => each !== "")
    case "pairs":
      // No prototype: a pair may be called anything.
      return Object.fromEntries(given.map((each) => each.split(/=(.*)/s, 2) as [string, string]))
  }
}

/** How a turn is to be answered. */
export type TurnMode = "tell" | "ask" | "stream"

export interface Gathered {
  readonly params: Record<string, unknown>
  readonly mode: TurnMode
  /** What is wrong with the request as a request; what is wrong with the params besides is the decoder's to say. */
  readonly issues: ReadonlyArray<Issue>
}

export interface RequestParts {
  readonly path: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly body: Fields
  readonly idempotencyKey: string | undefined
  readonly lastEventId: string | undefined
}

export const gather = (route: Route, parts: RequestParts): Gathered => {
  const issues: Array<Issue> = []
  const params: Record<string, unknown> = { ...parts.body }
  const put = (field: string, value: unknown, where: string) => {
    if (Object.hasOwn(params, field)) issues.push({ path: field, message: `is given by the ${where}; leave it out` })
    else params[field] = value
  }
  for (const [field, value] of Object.entries(parts.path)) put(field, value, "path")
  const mode = route.kind === "turn" ? modeOf(parts.query, issues) : "tell"
  for (const name of new Set(parts.query.keys())) {
    if (route.kind === "turn" && (name === "wait" || name === "stream")) continue
    const spec = Object.hasOwn(route.query, name) ? route.query[name] : undefined
    if (spec === undefined) {
      issues.push({ path: name, message: unknownQuery(route) })
      continue
    }
    const given = parts.query.getAll(name)
    if (given.length > 1 && spec.kind !== "list" && spec.kind !== "pairs") {
      issues.push({ path: name, message: "is given more than once" })
    } else if (spec.kind === "pairs" && !given.every((each) => each.includes("="))) {
      issues.push({ path: name, message: "must be NAME=VALUE" })
    } else put(spec.field ?? name, valueOf(spec.kind, given), "query")
  }
  if (route.kind === "turn") {
    if (parts.idempotencyKey !== undefined) put("idempotencyKey", parts.idempotencyKey, "header Idempotency-Key")
    if (Object.hasOwn(params, "stream")) issues.push({ path: "stream", message: "is given by the query: ?stream=true" })
  }
  if (route.kind === "events" && parts.lastEventId !== undefined && parts.lastEventId !== "") {
    if (!/^(?:0|[1-9][0-9]{0,15})$/.test(parts.lastEventId)) {
      issues.push({ path: "Last-Event-ID", message: "must be a seq, as the id of an event" })
      // A browser that reconnects repeats the address it began with: what came last is further on.
    } else params["after"] = Number(parts.lastEventId)
  }
  return { params, mode, issues }
}

const unknownQuery = ({ query, kind }: Route): string => {
  const names = [...Object.keys(query), ...(kind === "turn" ? ["wait", "stream"] : [])]
  return `is not a known query parameter; ${names.length === 0 ? "there are none" : `known are ${names.join(", ")}`}`
}

const modeOf = (query: URLSearchParams, issues: Array<Issue>): TurnMode => {
  const is = (name: string): boolean => {
    const given = query.getAll(name)
    const value = given.length === 0 ? false : given.length > 1 ? undefined : valueOf("boolean", given)
    if (typeof value === "boolean") return value
    issues.push({ path: name, message: "must be true or false" })
    return false
  }
  const [wait, stream] = [is("wait"), is("stream")]
  return stream ? "stream" : wait ? "ask" : "tell"
}
