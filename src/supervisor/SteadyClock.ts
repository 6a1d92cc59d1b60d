/**
 * The two clocks of a runtime: a steady one that no correction of the wall clock moves, for everything that has to pass,
 * and the wall clock, for the record.
 */
import type * as Clock from "effect/Clock"

export class SteadyClock {
  readonly #clock: Clock.Clock
  /** Brings the steady clock near the wall clock, so that its times mean something to a reader. */
  readonly #origin: number

  constructor(clock: Clock.Clock) {
    this.#clock = clock
    this.#origin = this.wall() - this.#monotonic()
  }

  #monotonic(): number {
    return Math.floor(Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6)
  }

  /** The steady clock (ms). */
  now(): number {
    return this.#origin + this.#monotonic()
  }

  /** The time of day (epoch ms). */
  wall(): number {
    return this.#clock.currentTimeMillisUnsafe()
  }

  /** Wall clock minus steady clock (ms). */
  skewMs(): number {
    return this.wall() - this.now()
  }
}
