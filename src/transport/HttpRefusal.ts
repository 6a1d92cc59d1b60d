/** What the HTTP server says to requests that lead to no route, or that are none: the problems, and a way to say them without a response. */
import type { Duplex } from "node:stream"
import { methodNotFound } from "./ErrorCodes.ts"
import { maxHeaderBytes } from "./HttpLimits.ts"
import type { match } from "./HttpRoutes.ts"
import * as Problem from "./Problem.ts"

export const webSocketPath = "/v1/ws"

export const unknownRoute = (path: string): Problem.Problem =>
  Problem.problem(404, "RouteNotFound", "there is no such route; /openapi.json lists them", {
    code: methodNotFound,
    data: { path: path.slice(0, 200) },
  })

export const problemOfMatch = (
  found: Exclude<ReturnType<typeof match>, { readonly _tag: "Found" }>,
  path: string,
  verb: string,
): Problem.Problem => {
  switch (found._tag) {
    case "Unknown":
      return path === webSocketPath
        ? Problem.problem(426, "UpgradeRequired", "a WebSocket is opened here", { headers: { Upgrade: "websocket" } })
        : unknownRoute(path)
    case "Malformed":
      return Problem.problem(400, "InvalidRequest", "the path is not well percent-encoded")
    case "WrongVerb": {
      const allow = found.allow.join(", ")
      return Problem.problem(405, "MethodNotAllowed", `${verb} is not for this route; it takes ${allow}`, {
        code: methodNotFound,
        headers: { Allow: allow },
      })
    }
  }
}

export const problemOfClientError = ({ code }: NodeJS.ErrnoException): Problem.Problem => {
  if (code === "HPE_HEADER_OVERFLOW") {
    return Problem.problem(431, "HeadersTooLarge", `headers may have at most ${maxHeaderBytes} bytes`)
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return Problem.problem(408, "RequestTimeout", "the request took too long")
  return Problem.problem(400, "InvalidRequest", "the request is not well-formed HTTP")
}

/** An answer where there is no response to give it with; the connection ends with it. */
export const refuseRaw = (socket: Duplex, { status, headers, body }: Problem.Problem): void => {
  if (!socket.writable) return void socket.destroy()
  const text = JSON.stringify(body)
  const lines = Object.entries({
    ...headers,
    "Content-Type": Problem.contentType,
    "Content-Length": String(Buffer.byteLength(text)),
    Connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  const cut = setTimeout(() => socket.destroy(), 1000)
  socket.once("close", () => clearTimeout(cut))
  socket.end(`HTTP/1.1 ${status} ${body.title}\r\n${lines.join("")}\r\n${text}`, () => socket.destroy())
}
