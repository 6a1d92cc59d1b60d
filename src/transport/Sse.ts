/**
 * One answer as a stream of server-sent events: text in order, made only while the peer reads, with a comment now and then
 * so that proxies keep it open and the dead are noticed. Holds no cursor: who sends waits for `room`, and what was not
 * taken stays in the transcript. Used by the HTTP server for events and for turns that stream.
 */
import * as Effect from "effect/Effect"
import type { ServerResponse } from "node:http"

/** What an `EventSource` waits before it comes back, in ms. */
const retryMs = 1000

const toText = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? "null"
  } catch {
    // What a child nested too deeply for the stack.
    return "null"
  }
}

/** An answer that goes on, as the server looks after it. */
export interface Stream {
  readonly tick: (now: number, heartbeatMs: number, stalledMs: number) => void
  readonly close: (event?: string, data?: unknown) => void
}

export class Sse implements Stream {
  readonly #response: ServerResponse
  #text = ""
  #scheduled = false
  #blocked = false
  /** Epoch milliseconds: the last time that the peer took something. */
  #takenAt: number
  #sentAt: number
  #isOver = false
  #written = 0
  #waiting: Array<() => void> = []

  constructor(response: ServerResponse, now: number) {
    this.#response = response
    this.#takenAt = now
    this.#sentAt = now
    response.on("drain", () => this.#drained())
    response.on("close", () => this.#end())
    response.writeHead(200, {
      "Content-Type": "text/event-stream; charset=utf-8",
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
      "X-Accel-Buffering": "no",
    })
    this.#write(`retry: ${retryMs}\n\n`)
  }

  /** Characters so far. */
  get written(): number {
    return this.#written
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** From here on a reconnecting client says that it has all up to this `seq`. */
  mark(seq: number): void {
    this.#write(`id: ${seq}\n\n`)
  }

  /** `event`: undefined for the entries themselves, which an `EventSource` hands to `onmessage`. */
  send(event: string | undefined, data: unknown, seq?: number): void {
    const id = seq === undefined ? "" : `id: ${seq}\n`
    // JSON holds no newline of its own.
    this.#write(`${id}${event === undefined ? "" : `event: ${event}\n`}data: ${toText(data)}\n\n`)
  }

  /** Looks after the peer: a comment after `heartbeatMs` without a word, the end after `stalledMs` in which it took nothing. */
  tick(now: number, heartbeatMs: number, stalledMs: number): void {
    if (this.#isOver) return
    if (this.#blocked) {
      if (now - this.#takenAt >= stalledMs) this.#response.destroy()
    } else if (now - this.#sentAt >= heartbeatMs) this.#write(": heartbeat\n\n")
  }

  /** Ends the stream, with a last event that says why. */
  close(event?: string, data?: unknown): void {
    if (this.#isOver) return
    if (event !== undefined) this.send(event, data)
    this.#flush()
    this.#end()
    this.#response.end()
  }

  /** Waits until what was sent is with the operating system, or the stream is over. */
  readonly room: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (!this.#blocked) this.#flush()
    if (this.#isOver || !this.#blocked) resume(Effect.void)
    else this.#waiting.push(() => resume(Effect.void))
  })

  #write(text: string): void {
    if (this.#isOver) return
    this.#text += text
    this.#written += text.length
    if (this.#scheduled || this.#blocked) return
    this.#scheduled = true
    // What one event makes leaves in one write.
    queueMicrotask(() => {
      this.#scheduled = false
      if (!this.#blocked) this.#flush()
    })
  }

  #flush(): void {
    if (this.#text === "" || this.#isOver) return
    const text = this.#text
    this.#text = ""
    this.#sentAt = Date.now()
    this.#takenAt = this.#sentAt
    if (!this.#response.write(text)) this.#blocked = true
  }

  #drained(): void {
    this.#blocked = false
    this.#takenAt = Date.now()
    this.#flush()
    if (!this.#blocked) this.#wake()
  }

  #end(): void {
    this.#isOver = true
    this.#text = ""
    this.#wake()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resume of waiting) resume()
  }
}
