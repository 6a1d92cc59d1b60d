/** The JSON object in a request's body, within a size. How long it may take to come is the server's own limit. Called by the HTTP server. */
import { isUtf8 } from "node:buffer"
import type { IncomingMessage } from "node:http"
import type { LimitReached } from "../domain/Errors.ts"
import { parseError } from "./ErrorCodes.ts"
import { ofError, type Problem, problem } from "./Problem.ts"

export type Body =
  | { readonly _tag: "Read"; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly _tag: "Refused"; readonly problem: Problem }
  /** The peer went away before it was whole. */
  | { readonly _tag: "Cut" }

const refused = (problem: Problem): Body => ({ _tag: "Refused", problem })

export const tooLarge = (limitBytes: number): Problem =>
  problem(413, "MessageTooLarge", `a body may have at most ${limitBytes} bytes`, { data: { limitBytes } })

const isJson = (type: string | undefined): boolean => /^application\/json\s*(?:;|$)/i.test(type ?? "")

export interface BodyOptions {
  readonly maxBodyBytes: number
  /** What a peer that expects 100 waits for. */
  readonly beforeRead: () => void
  /** Asks for room. */
  readonly hold: (bytes: number) => LimitReached | undefined
}

/** `then` is called once, also where the peer goes. */
export const readBody = (
  request: IncomingMessage,
  { maxBodyBytes: limitBytes, beforeRead, hold }: BodyOptions,
  then: (body: Body) => void,
): void => {
  const length = request.headers["content-length"]
  const isEmpty = request.headers["transfer-encoding"] === undefined && (length === undefined || length === "0")
  if (isEmpty) return then({ _tag: "Read", fields: {} })
  // No page can send this type to another origin without asking first, and nobody allows it here.
  if (!isJson(request.headers["content-type"])) {
    const detail = "a body is JSON: Content-Type: application/json"
    return then(refused(problem(415, "UnsupportedMediaType", detail)))
  }
  if (request.headers["content-encoding"] !== undefined) {
    return then(refused(problem(415, "UnsupportedMediaType", "a body is sent as it is, without Content-Encoding")))
  }
  if (Number(length) > limitBytes) return then(refused(tooLarge(limitBytes)))
  beforeRead()
  let chunks: Array<Buffer> = []
  let bytes = 0
  let isDone = false
  const done = (body: Body) => {
    if (isDone) return
    isDone = true
    chunks = []
    then(body)
  }
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length
    if (isDone) return
    if (bytes > limitBytes) return done(refused(tooLarge(limitBytes)))
    const limit = hold(chunk.length)
    if (limit === undefined) chunks.push(chunk)
    else done(refused(ofError(limit)))
  })
  request.on("end", () => done(parsed(Buffer.concat(chunks))))
  request.on("error", () => done({ _tag: "Cut" }))
  request.on("close", () => done({ _tag: "Cut" }))
}

const parsed = (bytes: Buffer): Body => {
  const unreadable = (detail: string) => refused(problem(400, "ParseError", detail, { code: parseError }))
  if (!isUtf8(bytes)) return unreadable("the body is not valid UTF-8")
  let value: unknown
  try {
    value = JSON.parse(bytes.toString("utf8"))
  } catch {
    // The parser's own message quotes the input, which may hold a secret.
    return unreadable("the body is not one JSON value")
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return unreadable("the body is a JSON object")
  return { _tag: "Read", fields: value as Readonly<Record<string, unknown>> }
}
