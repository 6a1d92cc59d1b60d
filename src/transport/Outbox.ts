/**
 * The way out of one connection: messages in order, written as few and large writes as may be, made into text
 * only when the peer has room for them. While the peer does not read, messages wait as the values they are
 * and `onBlocked` says so; who makes messages without being asked waits for `room` first.
 */
import * as Effect from "effect/Effect"
import type { Writable } from "node:stream"
import { jsonLine } from "../domain/JsonLine.ts"
import * as JsonRpc from "./JsonRpc.ts"
import type { Framing } from "./MessageDecoder.ts"

const joinedChars = 65_536

export interface OutboxOptions {
  readonly writable: Writable
  readonly framing: () => Framing | undefined
  /** The peer stopped or began again to read. */
  readonly onBlocked: (blocked: boolean) => void
}

const toText = (message: JsonRpc.Outgoing): string => {
  try {
    return jsonLine(message)
  } catch {
    // What a child or a client nested too deeply for the stack.
    const id = "id" in message ? message.id : null
    return JSON.stringify(JsonRpc.failure(id, JsonRpc.internalError))
  }
}

export class Outbox {
  readonly #options: OutboxOptions
  #queue: Array<JsonRpc.Outgoing> = []
  #blocked = false
  #scheduled = false
  #closed = false
  #written = 0
  #waiting: Array<() => void> = []

  constructor(options: OutboxOptions) {
    this.#options = options
    options.writable.on("drain", () => this.#drained())
  }

  /** Characters so far. */
  get written(): number {
    return this.#written
  }

  send(message: JsonRpc.Outgoing): void {
    if (this.#closed) return
    this.#queue.push(message)
    if (this.#scheduled || this.#blocked) return
    this.#scheduled = true
    // Answers made by one event, in its callback or its microtasks, leave in one write.
    queueMicrotask(this.#flushScheduled)
  }

  readonly #flushScheduled = (): void => {
    this.#scheduled = false
    this.flush()
  }

  flush(): void {
    const { writable, framing } = this.#options
    const queue = this.#queue
    let next = 0
    while (next < queue.length && !this.#blocked && !this.#closed) {
      let text = ""
      do {
        const json = toText(queue[next++] as JsonRpc.Outgoing)
        text +=
          framing() === "contentLength" ? `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}` : `${json}\n`
      } while (next < queue.length && text.length < joinedChars)
      this.#written += text.length
      if (!writable.write(text)) {
        this.#blocked = true
        this.#options.onBlocked(true)
      }
    }
    if (next === queue.length) this.#queue = []
    else if (next > 0) queue.splice(0, next)
    if (this.#queue.length === 0 && !this.#blocked) this.#wake()
  }

  #drained(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.flush()
    if (!this.#blocked) this.#options.onBlocked(false)
  }

  #wake(): void {
    if (this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const resume of waiting) resume()
  }

  /** Calls back once all that was sent is with the operating system, or the connection is over. */
  whenEmpty(then: () => void): void {
    if (!this.#blocked) this.flush()
    if (this.#closed || (!this.#blocked && this.#queue.length === 0)) then()
    else this.#waiting.push(then)
  }

  /** `whenEmpty` to wait for. */
  readonly room: Effect.Effect<void> = Effect.callback<void>((resume) => {
    this.whenEmpty(() => resume(Effect.void))
  })

  /** Nothing is sent any more; who waits for room goes on, to find the connection over. */
  close(): void {
    this.#closed = true
    this.#queue = []
    this.#wake()
  }
}
