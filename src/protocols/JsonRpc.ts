/**
 * `jsonrpc`: any child that speaks JSON-RPC 2.0 over its stdin and stdout, one message a line or with Content-Length. The
 * prompt is JSON text `{"method", "params"?}`, the answer's text the JSON of `result`; an `error` fails the turn as `RpcError`
 * with its code, message and data. With `"notify": true` a notification is sent, and the turn is over.
 *
 * `handshake.request` must be answered before the session is ready; `handshake.notify` is notified after it. `cancel` is the
 * notification that takes a request back, `{id}` in its params replaced by the request's id; without it the session actor
 * replaces the incarnation.
 */
import type { JsonRpcOptions } from "../domain/ProtocolSpec.ts"
import { fieldsOf, isRpcId, wholeResult, type CancelPolicy, type JsonRpcDialect } from "./JsonRpcDialect.ts"
import { makeJsonRpcChild } from "./JsonRpcChild.ts"
import { readPrompt } from "./JsonRpcPrompt.ts"

/** A value with `{id}` replaced: by the number where it is the whole string, by its digits within one. */
const withId = (value: unknown, id: number): unknown => {
  if (value === "{id}") return id
  if (typeof value === "string") return value.replaceAll("{id}", String(id))
  if (Array.isArray(value)) return value.map((each) => withId(each, id))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withId(each, id)]))
}

const cancelPolicy = ({ method, params, answered = true }: NonNullable<JsonRpcOptions["cancel"]>): CancelPolicy => ({
  call: (id) => (params === undefined ? { method } : { method, params: withId(params, id) }),
  until: answered ? "answer" : "sent",
})

/** The child takes a request of its own back, in the words of language servers; it gets the error that they expect. */
export const cancelRequest: NonNullable<JsonRpcDialect["withdrawal"]> = (method, params) => {
  if (method !== "$/cancelRequest") return undefined
  const { id } = fieldsOf(params)
  return isRpcId(id) ? { id, reply: { error: { code: -32800, message: "the request was cancelled" } } } : undefined
}

export const makeJsonRpc = ({ framing = "lines", handshake, cancel, version = true }: JsonRpcOptions = {}) =>
  makeJsonRpcChild({
    name: "jsonrpc",
    framing,
    isMarked: version,
    ask: readPrompt,
    outcome: wholeResult,
    withdrawal: cancelRequest,
    ...(handshake === undefined
      ? undefined
      : {
          handshake: () => ({
            request: handshake.request,
            ...(handshake.notify === undefined ? undefined : { after: handshake.notify }),
          }),
        }),
    ...(cancel === undefined ? undefined : { cancel: cancelPolicy(cancel) }),
  })
