/**
 * Does what a session's process asks its host for, one after the other: of all that it asks at once no more than one answer
 * is in memory. What a process asked for that is gone by then is not begun.
 */
import * as Effect from "effect/Effect"
import type { HostAnswer, HostCall } from "../protocols/HostCall.ts"
import type { SessionHost } from "./SessionHost.ts"

interface Waiting {
  readonly incarnation: number
  readonly call: string
  readonly what: HostCall
}

export class HostCallQueue {
  readonly #host: Pick<SessionHost, "run" | "perform">
  readonly #post: (incarnation: number, call: string, answer: HostAnswer) => void
  #waiting: Array<Waiting> = []
  #busy = false

  constructor(
    host: Pick<SessionHost, "run" | "perform">,
    post: (incarnation: number, call: string, answer: HostAnswer) => void,
  ) {
    this.#host = host
    this.#post = post
  }

  add(waiting: Waiting): void {
    this.#waiting.push(waiting)
    this.#next()
  }

  /** Another process is to come: nobody waits for these any more. */
  drop(): void {
    this.#waiting = []
  }

  #next(): void {
    if (this.#busy) return
    const next = this.#waiting.shift()
    if (next === undefined) return
    this.#busy = true
    const settled = (answer: HostAnswer) =>
      Effect.sync(() => {
        this.#busy = false
        this.#post(next.incarnation, next.call, answer)
        this.#next()
      })
    const failed = (cause: unknown): HostAnswer => ({ type: "refused", reason: "failed", message: String(cause) })
    this.#host.run(
      Effect.matchCauseEffect(this.#host.perform(next.what), {
        onFailure: (cause) => settled(failed(cause)),
        onSuccess: settled,
      }),
    )
  }
}
