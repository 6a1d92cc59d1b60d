/**
 * A body of server-sent events for one response of MCP: messages go in as they come, text comes out as fast as the client
 * reads. Who makes messages without being asked waits for `room`. Made by `McpHttp`.
 */
import type * as JsonRpc from "./JsonRpc.ts"
import type { McpChannel } from "./McpProgress.ts"

/** Comments keep proxies from taking a silent stream for a dead one. */
const heartbeatMs = 15_000

export class McpEventStream implements McpChannel, AsyncIterable<string> {
  #queue: Array<string> = []
  #phase: "open" | "ended" | "left" = "open"
  #wake: (() => void) | undefined
  #waiting: Array<() => void> = []
  readonly #heartbeat: NodeJS.Timeout
  readonly #onLeft: () => void

  /** `onLeft`: nobody reads any more, though there was more to say. */
  constructor(onLeft: () => void) {
    this.#onLeft = onLeft
    this.#heartbeat = setInterval(() => {
      if (this.#queue.length === 0) this.#push(": still here\n\n")
    }, heartbeatMs)
    this.#heartbeat.unref()
  }

  get isOpen(): boolean {
    return this.#phase === "open"
  }

  readonly send = (message: JsonRpc.Outgoing): void => {
    if (this.#phase === "open") this.#push(`event: message\ndata: ${JSON.stringify(message)}\n\n`)
  }

  readonly room = (): Promise<void> =>
    new Promise((go) => {
      if (this.#queue.length === 0 || this.#phase !== "open") go()
      else this.#waiting.push(go)
    })

  /** What was sent is still read; then the body is over. */
  end(): void {
    if (this.#phase === "open") this.#phase = "ended"
    this.#settle()
  }

  /** The connection is gone. */
  leave(): void {
    if (this.#phase === "left") return
    const early = this.#phase === "open"
    this.#phase = "left"
    this.#queue = []
    this.#settle()
    if (early) this.#onLeft()
  }

  #push(text: string): void {
    this.#queue.push(text)
    this.#wake?.()
  }

  #settle(): void {
    clearInterval(this.#heartbeat)
    for (const go of this.#waiting.splice(0)) go()
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void> {
    try {
      while (true) {
        while (this.#queue.length > 0) {
          const text = this.#queue.join("")
          this.#queue = []
          yield text
        }
        for (const go of this.#waiting.splice(0)) go()
        if (this.#phase !== "open") return
        if (this.#queue.length === 0) await new Promise<void>((wake) => (this.#wake = wake))
        this.#wake = undefined
      }
    } finally {
      this.leave()
    }
  }
}
