/**
 * A link over a WebSocket: its frames as the byte stream that `StreamLink` reads, held back where nobody takes them. Says who it
 * is in the upgrade. Loaded only by who connects to a URL.
 */
import { Duplex } from "node:stream"
import { WebSocket } from "@effect/platform-node-shared/NodeWS"
import { CrecheError } from "./CrecheError.ts"
import type { Link } from "./Link.ts"
import { streamLink } from "./StreamLink.ts"
import type { Remote } from "./Target.ts"

/** A runtime sends something every 15 s, a ping where there is nothing else: one that is silent for so long is gone. */
const silentMs = 60_000
const closeMs = 500
/** Of an answer that refuses the upgrade. */
const problemChars = 65_536

export interface WebSocketLinkOptions extends Remote {
  /** Until it is open. */
  readonly timeoutMs: number
  /** For tests; default 60 s. */
  readonly silentMs?: number
}

/** Fails with the runtime's own error where it refuses, with `NoRuntime` where nobody answers. */
export const openWebSocket = (options: WebSocketLinkOptions): Promise<Link> =>
  new Promise((resolve, reject) => {
    const { url, token, timeoutMs } = options
    const socket = new WebSocket(url, {
      headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
      handshakeTimeout: timeoutMs,
      perMessageDeflate: false,
      // The runtime bounds its pages, and this side believes it.
      maxPayload: 0,
    })
    const refuse = (detail: string, errno: string) =>
      reject(new CrecheError(0, `no runtime answers on ${url}: ${detail}`, { tag: "NoRuntime", url, errno }))
    socket.once("error", (error: NodeJS.ErrnoException) => {
      const errno = error.code ?? (/timed out/.test(error.message) ? "ETIMEDOUT" : "unknown")
      refuse(reasons[errno] ?? error.message, errno)
    })
    socket.once("unexpected-response", (_request, response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        if (text.length < problemChars) text += chunk
      })
      response.on("error", () => {})
      response.on("close", () => {
        socket.on("error", () => {})
        socket.terminate()
        const problem = problemOf(text)
        if (problem === undefined) refuse(`it answered with the status ${response.statusCode}`, "EPROTO")
        else reject(new CrecheError(problem.code, problem.detail, problem.data))
      })
    })
    socket.once("open", () => {
      socket.removeAllListeners("error")
      const link = streamLink(new FrameStream(socket, options.silentMs ?? silentMs))
      if (token !== undefined) return resolve(link)
      // Without a token it is let in to say who it is: whether anybody may come in is to be known now, not with the first request.
      link.request("initialize", { protocolVersion: 1 }).then(
        () => resolve(link),
        (error) => {
          reject(error)
          void link.close()
        },
      )
    })
  })

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there; `creche serve --http` does",
  ENOTFOUND: "the name is not known",
  ETIMEDOUT: "it did not answer in time",
}

interface Problem {
  readonly code: number
  readonly detail: string
  readonly data: { readonly tag: string }
}

const problemOf = (text: string): Problem | undefined => {
  try {
    const problem = JSON.parse(text)
    return typeof problem?.code === "number" && typeof problem.data?.tag === "string" ? problem : undefined
  } catch {
    return undefined
  }
}

/** A message a frame on one side, a message a line on the other. */
class FrameStream extends Duplex {
  readonly #socket: WebSocket
  readonly #watch: NodeJS.Timeout
  #heardAt = performance.now()

  constructor(socket: WebSocket, silentMs: number) {
    super({ decodeStrings: false })
    this.#socket = socket
    const heard = () => (this.#heardAt = performance.now())
    socket.on("ping", heard)
    socket.on("message", (data: Buffer) => {
      heard()
      const line = Buffer.allocUnsafe(data.length + 1)
      data.copy(line)
      line[data.length] = newline
      if (!this.push(line)) socket.pause()
    })
    socket.on("error", (error) => this.destroy(error))
    socket.on("close", (code: number, reason: Buffer) => {
      if (this.destroyed) return
      this.destroy(new Error(`the runtime closed it (${code}${reason.length === 0 ? "" : `, ${reason.toString()}`})`))
    })
    let lookedAt = performance.now()
    this.#watch = setInterval(() => {
      const now = performance.now()
      // What stood still was this process, or it does not read: neither says anything of the other side.
      if (socket.isPaused || now - lookedAt > silentMs / 2) heard()
      lookedAt = now
      if (now - this.#heardAt > silentMs) this.destroy(new Error(`nothing was heard for ${silentMs} ms`))
    }, silentMs / 4)
    this.#watch.unref()
  }

  override _read(): void {
    if (!this.#socket.isPaused) return
    this.#heardAt = performance.now()
    this.#socket.resume()
  }

  override _write(line: string, _encoding: BufferEncoding, then: (error?: Error | null) => void): void {
    this.#socket.send(line.slice(0, -1), then)
  }

  override _destroy(error: Error | null, then: (error?: Error | null) => void): void {
    clearInterval(this.#watch)
    const cut = setTimeout(() => this.#socket.terminate(), closeMs)
    this.#socket.once("close", () => clearTimeout(cut))
    // What was not read would hold up the peer's goodbye.
    this.#socket.resume()
    if (this.#socket.readyState === WebSocket.CLOSED) clearTimeout(cut)
    else this.#socket.close(1000)
    then(error)
  }
}

const newline = 10
