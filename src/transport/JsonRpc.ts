/**
 * JSON-RPC 2.0 by the letter, as pure functions over one received text: what it is (request, notification,
 * response, batch, or which error), and the messages that go back. It runs nothing; `Dispatcher` does.
 */
import type { RuntimeError } from "../domain/Errors.ts"
import * as ErrorCodes from "./ErrorCodes.ts"

export type Id = string | number | null

export type Member =
  | { readonly type: "request"; readonly id: Id; readonly method: string; readonly params: unknown }
  | { readonly type: "notification"; readonly method: string; readonly params: unknown }
  /** We ask nothing of clients, so an answer has no question; it is ignored. */
  | { readonly type: "response" }
  | { readonly type: "invalid"; readonly id: Id; readonly detail: string }

export type Incoming =
  | Member
  | { readonly type: "batch"; readonly members: ReadonlyArray<unknown> }
  | { readonly type: "unreadable"; readonly detail: string }

export interface ErrorObject {
  readonly code: number
  readonly message: string
  readonly data?: Readonly<Record<string, unknown>>
}
export type Answer =
  | { readonly jsonrpc: "2.0"; readonly id: Id; readonly result: unknown }
  | { readonly jsonrpc: "2.0"; readonly id: Id; readonly error: ErrorObject }
export interface Notification {
  readonly jsonrpc: "2.0"
  readonly method: string
  readonly params: unknown
}
export type Outgoing = Answer | ReadonlyArray<Answer> | Notification

const invalid = (id: Id, detail: string): Member => ({ type: "invalid", id, detail })

/** What one JSON value is. An error found in it is answered with its id where it has a usable one. */
export const classify = (value: unknown): Member => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return invalid(null, "a message is a JSON object")
  }
  const message = value as Readonly<Record<string, unknown>>
  const id = message["id"]
  const method = message["method"]
  if (method === undefined && ("result" in message || "error" in message)) return { type: "response" }
  if (typeof id === "number" ? !isExact(id) : id !== undefined && id !== null && typeof id !== "string") {
    return invalid(null, "id must be a string, null, or a number that keeps its digits (use a string beyond 2^53)")
  }
  const known = (id as Id | undefined) ?? null
  if (message["jsonrpc"] !== "2.0") return invalid(known, 'jsonrpc must be "2.0"')
  if (typeof method !== "string") return invalid(known, "method must be a string")
  const params = message["params"]
  if (params !== undefined && (typeof params !== "object" || params === null)) {
    return invalid(known, "params must be an object, or left out")
  }
  return id === undefined ? { type: "notification", method, params } : { type: "request", id: id as Id, method, params }
}

/** `1e400` parses as Infinity and 2^53 + 1 as its neighbour: such an id could not be given back as it came. */
const isExact = (id: number): boolean => Number.isFinite(id) && (!Number.isInteger(id) || Number.isSafeInteger(id))

export const parse = (text: string): Incoming => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // V8's own message quotes the input, which may hold a secret; only the place is passed on.
    const place = / at position \d+/.exec(String((error as Error).message))?.[0] ?? ""
    return { type: "unreadable", detail: `the message is not one JSON value${place}` }
  }
  if (!Array.isArray(value)) return classify(value)
  return value.length === 0
    ? { type: "invalid", id: null, detail: "a batch must not be empty" }
    : { type: "batch", members: value }
}

export const success = (id: Id, result: unknown): Answer => ({ jsonrpc: "2.0", id, result: result ?? null })

export const failure = (id: Id, error: ErrorObject): Answer => ({ jsonrpc: "2.0", id, error })

export const notification = (method: string, params: unknown): Notification => ({ jsonrpc: "2.0", method, params })

export const unreadable = (detail: string): ErrorObject => ({
  code: ErrorCodes.parseError,
  message: "Parse error",
  data: { tag: "ParseError", detail },
})

export const invalidRequest = (detail: string): ErrorObject => ({
  code: ErrorCodes.invalidRequest,
  message: "Invalid Request",
  data: { tag: "InvalidRequest", detail },
})

export const messageTooLarge = (limitBytes: number): ErrorObject => ({
  code: ErrorCodes.invalidRequest,
  message: `Invalid Request: a message may have at most ${limitBytes} bytes; this one was skipped`,
  data: { tag: "MessageTooLarge", limitBytes },
})

export const methodNotFound = (method: string): ErrorObject => ({
  code: ErrorCodes.methodNotFound,
  message: "Method not found",
  data: {
    tag: "MethodNotFound",
    method: method.slice(0, 200),
    detail: "initialize lists the methods under capabilities.methods",
  },
})

export const requestCancelled: ErrorObject = {
  code: ErrorCodes.requestCancelled,
  message: "Request cancelled",
  data: { tag: "RequestCancelled" },
}

export const internalError: ErrorObject = {
  code: ErrorCodes.internalError,
  message: "Internal error",
  data: { tag: "InternalError", detail: "a defect of the runtime; its log on stderr has the cause" },
}

export const runtimeError = (error: RuntimeError): ErrorObject => ({
  code: ErrorCodes.codeOf(error),
  message: error.message,
  data: ErrorCodes.errorData(error),
})
