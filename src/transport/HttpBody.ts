/** What is in a request's body: text, or the JSON object that it is, within a size. How long it may take to come is the server's own limit. Called by the HTTP server. */
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

const refused = (problem: Problem): { readonly _tag: "Refused"; readonly problem: Problem } => ({
  _tag: "Refused",
  problem,
})

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

export type BodyText = { readonly _tag: "Read"; readonly text: string } | Exclude<Body, { readonly _tag: "Read" }>

/** The JSON object in the body; no body is an empty one. `then` is called once, also where the peer goes. */
export const readBody = (request: IncomingMessage, options: BodyOptions, then: (body: Body) => void): void =>
  readText(request, options, (body) => then(body._tag === "Read" ? parsed(body.text) : body))

/** The text in the body. `then` is called once, also where the peer goes. */
export const readText = (
  request: IncomingMessage,
  { maxBodyBytes: limitBytes, beforeRead, hold }: BodyOptions,
  then: (body: BodyText) => void,
): void => {
  const length = request.headers["content-length"]
  const isEmpty = request.headers["transfer-encoding"] === undefined && (length === undefined || length === "0")
  if (isEmpty) return then({ _tag: "Read", text: "" })
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
  const done = (body: BodyText) => {
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
  request.on("end", () => done(decoded(Buffer.concat(chunks))))
  request.on("error", () => done({ _tag: "Cut" }))
  request.on("close", () => done({ _tag: "Cut" }))
}

const unreadable = (detail: string) => refused(problem(400, "ParseError", detail, { code: parseError }))

const decoded = (bytes: Buffer): BodyText =>
  isUtf8(bytes) ? { _tag: "Read", text: bytes.toString("utf8") } : unreadable("the body is not valid UTF-8")

const parsed = (text: string): Body => {
  if (text === "") return { _tag: "Read", fields: {} }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's own message quotes the input, which may hold a secret.
    return unreadable("the body is not one JSON value")
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return unreadable("the body is a JSON object")
  return { _tag: "Read", fields: value as Readonly<Record<string, unknown>> }
}
