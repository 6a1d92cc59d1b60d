/**
 * What waits for a child to read its stdin: in order, and bounded. A client's write is answered when the pipe has taken it,
 * and refused where too much waits already. What the runtime itself writes cannot be refused: a child that asks and asks, and
 * never reads the answers, is beyond help. Owned by the session actor; made anew for every process.
 */
import * as Exit from "effect/Exit"
import { LimitReached, type RuntimeError } from "../domain/Errors.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionReply } from "./SessionState.ts"

/** How much of clients' writes may wait for one child (bytes). */
export const stdinBytes = 16 * 1024 * 1024
/** How much may wait in all: then the child is given up (UTF-16 units, or bytes). */
export const stdinLimit = 64 * 1024 * 1024

interface Waiting {
  readonly data: string | Uint8Array
  readonly reply: SessionReply | null
}

export class StdinBacklog {
  readonly #write: (data: string | Uint8Array) => boolean
  readonly #session: () => Session
  readonly #overflown: (waitingBytes: number) => void
  #full = false
  #waiting: Array<Waiting> = []
  #waitingBytes = 0
  /** Of writes that the pipe has in part. */
  #handed: Array<SessionReply> = []

  /** `write` answers false when the pipe is full; `overflown` is called with what waits beyond the limit. */
  constructor(
    write: (data: string | Uint8Array) => boolean,
    session: () => Session,
    overflown: (waitingBytes: number) => void,
  ) {
    this.#write = write
    this.#session = session
    this.#overflown = overflown
  }

  offer(data: string | Uint8Array, reply: SessionReply | null): void {
    if (!this.#full) return this.#hand({ data, reply })
    if (reply !== null && this.#waitingBytes + data.length > stdinBytes) {
      return reply(Exit.fail(new LimitReached({ limit: "stdinBytes", value: stdinBytes })))
    }
    const before = this.#waitingBytes
    // One message alone may be larger, and is then the only one that waits.
    if (before > 0 && before + data.length > stdinLimit) return this.#overflown(before + data.length)
    this.#waitingBytes += data.length
    this.#waiting.push({ data, reply })
  }

  #hand({ data, reply }: Waiting): void {
    if (!this.#write(data)) {
      this.#full = true
      if (reply !== null) this.#handed.push(reply)
    } else reply?.(Exit.succeed(this.#session()))
  }

  /** The pipe has room again. */
  drained(): void {
    const handed = this.#handed
    this.#handed = []
    this.#full = false
    while (!this.#full) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      this.#waitingBytes -= next.data.length
      this.#hand(next)
    }
    for (const reply of handed) reply(Exit.succeed(this.#session()))
  }

  /** The process is gone: what it did not read, it never got. */
  close(error: () => RuntimeError): void {
    const replies = [...this.#handed, ...this.#waiting.map(({ reply }) => reply)]
    this.#handed = []
    this.#waiting = []
    this.#waitingBytes = 0
    for (const reply of replies) reply?.(Exit.fail(error()))
  }
}
