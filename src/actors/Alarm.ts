/**
 * The one timer of a session, at or before its next deadline. Deadlines mostly move later, so a timer is only replaced by an
 * earlier one; a tick that comes too early finds nothing due and sets the next. Owned by the session actor.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SessionHost } from "./SessionHost.ts"

/** setTimeout holds 31 bits; a longer one would fire at once. */
const longestTimerMs = 2 ** 31 - 1

export class Alarm {
  readonly #host: Pick<SessionHost, "now" | "run">
  readonly #tick: () => void
  #timer: Fiber.Fiber<unknown> | undefined
  #at = Infinity
  #closed = false

  constructor(host: Pick<SessionHost, "now" | "run">, tick: () => void) {
    this.#host = host
    this.#tick = tick
  }

  /** On the host's clock (ms); null: never. */
  set(due: number | null): void {
    if (due === null) return this.clear()
    if (due >= this.#at || this.#closed) return
    this.clear()
    this.#at = due
    const delay = Math.min(Math.max(0, due - this.#host.now()), longestTimerMs)
    this.#timer = this.#host.run(
      Effect.andThen(
        Effect.sleep(delay),
        Effect.sync(() => {
          this.#timer = undefined
          this.#at = Infinity
          this.#tick()
        }),
      ),
    )
  }

  /** For good: the actor may be in the middle of a step that sets it when it goes down. */
  close(): void {
    this.#closed = true
    this.clear()
  }

  clear(): void {
    this.#timer?.interruptUnsafe()
    this.#timer = undefined
    this.#at = Infinity
  }
}
