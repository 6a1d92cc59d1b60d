/**
 * Which requests can be made again when nobody knows whether they were done: those that only read, and those that name what
 * they make, so that it is made once. Pure. Used by `ReconnectingLink`.
 */
import type { Method, Params } from "../transport/Contract.ts"

/** Not `session/subscribe`: its subscription belongs to one connection. */
const reads: ReadonlySet<Method> = new Set<Method>([
  "initialize",
  "runtime/info",
  "runtime/stats",
  "runtime/health",
  "runtime/metrics",
  "runtime/tree",
  "session/get",
  "session/list",
  "session/transcript",
  "session/history",
  "session/search",
  "session/screen",
  "turn/get",
  "turn/wait",
  "template/list",
  "template/get",
])

const isTurn = (method: Method): method is "session/ask" | "session/tell" =>
  method === "session/ask" || method === "session/tell"

/** Asks and tells are, by the key that `withKey` gives them; a start is where an existing session will do. */
export const isRepeatable = <M extends Method>(method: M, params: Params<M>): boolean => {
  if (reads.has(method) || isTurn(method)) return true
  if (method !== "session/start") return false
  const { ifExists, name, task } = params as Params<"session/start">
  return ifExists === "return" && (name !== undefined || (task !== undefined && task !== null))
}

/** The params, with an idempotency key where the method takes one and the caller gave none. */
export const withKey = <M extends Method>(method: M, params: Params<M>, makeKey: () => string): Params<M> =>
  isTurn(method) && (params as Params<"session/tell">).idempotencyKey === undefined
    ? { ...params, idempotencyKey: makeKey() }
    : params
