/** The three ways to answer a request at once: text, text that need not be sent twice, a problem. */
import { createHash } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as Problem from "./Problem.ts"

export const answerJson = (response: ServerResponse, status: number, text: string, contentType: string): void => {
  response.writeHead(status, headOf(text, contentType))
  response.end(text)
}

const headOf = (text: string, contentType: string) => ({
  "Content-Type": contentType,
  "Content-Length": Buffer.byteLength(text),
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
})

/** Beyond this, making the tag costs more than it saves. */
export const mostTagged = 1024 * 1024

/** With an ETag; to who has it already it is not sent again. */
export const answerTagged = (
  request: IncomingMessage,
  response: ServerResponse,
  text: string,
  contentType: string,
): void => {
  const etag = `"${createHash("sha1").update(text).digest("base64url")}"`
  const headers = { ETag: etag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff" }
  const known = request.headers["if-none-match"]
  if (known !== undefined && (known.trim() === "*" || known.includes(etag))) {
    response.writeHead(304, headers).end()
  } else {
    response.writeHead(200, {
      ...headers,
      "Content-Type": contentType,
      "Content-Length": Buffer.byteLength(text),
    })
    response.end(text)
  }
}

const lingerMs = 1000

export const answerProblem = (response: ServerResponse, { status, headers, body }: Problem.Problem): void => {
  if (response.headersSent || response.destroyed) return
  for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value)
  const text = JSON.stringify(body)
  const { req } = response
  const isRead =
    req.complete || (req.headers["transfer-encoding"] === undefined && !Number(req.headers["content-length"]))
  if (isRead) return answerJson(response, status, text, Problem.contentType)
  // What was not read of the body is not waited for. But a connection that is closed with something unread is reset, and a
  // peer that still writes would lose the answer: so it is read on for a moment, and thrown away.
  response.setHeader("Connection", "close")
  response.writeHead(status, headOf(text, Problem.contentType))
  response.write(text)
  const end = () => {
    clearTimeout(timer)
    response.end()
  }
  const timer = setTimeout(end, lingerMs)
  req.once("close", end)
  req.once("end", end)
  req.resume()
}
