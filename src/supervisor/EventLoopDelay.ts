/**
 * How late the event loop of this process was: Node's own sampling, whose timer runs outside of JavaScript. Quantiles are of
 * the last one to two minutes, count and sum of all the time. Started by who serves; until then it costs and tells nothing.
 */
import { monitorEventLoopDelay } from "node:perf_hooks"
import type { MetricValue } from "../domain/Telemetry.ts"

/** One look every so often (ms): what is shorter than that between two looks may go unnoticed. */
const resolutionMs = 20
const windowMs = 60_000
const quantiles = [0.5, 0.9, 0.99, 1] as const

type IntervalHistogram = ReturnType<typeof monitorEventLoopDelay>

interface Window {
  readonly histogram: IntervalHistogram
  readonly since: number
}

export class EventLoopDelay {
  readonly #now: () => number
  #current: Window | undefined
  #last: Window | undefined
  /** Of windows that are over. */
  #count = 0
  #sum = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  start(): void {
    this.#current ??= this.#open()
  }

  stop(): void {
    this.#current?.histogram.disable()
    this.#current = undefined
    this.#last = undefined
  }

  /** In seconds; undefined where it was not started. */
  get value(): Extract<MetricValue, { readonly type: "summary" }> | undefined {
    if (this.#current === undefined) return undefined
    if (this.#now() - this.#current.since >= windowMs) this.#turnOver(this.#current)
    // A window that has just begun says nothing yet.
    const told = this.#last !== undefined && this.#current.histogram.count === 0 ? this.#last : this.#current
    const { histogram } = this.#current
    return {
      type: "summary",
      quantiles: quantiles.map((quantile) => [quantile, seconds(told.histogram, quantile)] as const),
      count: this.#count + histogram.count,
      sum: this.#sum + sumOf(histogram),
    }
  }

  #open(): Window {
    const histogram = monitorEventLoopDelay({ resolution: resolutionMs })
    histogram.enable()
    return { histogram, since: this.#now() }
  }

  #turnOver(over: Window): void {
    over.histogram.disable()
    this.#count += over.histogram.count
    this.#sum += sumOf(over.histogram)
    this.#last = over
    this.#current = this.#open()
  }
}

/** Node counts from one look to the next, which is late only by what is above the time between them. */
const late = (nanoseconds: number): number => Math.max(0, nanoseconds - resolutionMs * 1e6) / 1e9

const seconds = (histogram: IntervalHistogram, quantile: number): number =>
  histogram.count === 0 ? 0 : late(quantile === 1 ? histogram.max : histogram.percentile(quantile * 100))

const sumOf = (histogram: IntervalHistogram): number =>
  histogram.count === 0 ? 0 : late(histogram.mean) * histogram.count
