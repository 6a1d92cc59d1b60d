/** How often what was measured fell under each of some bounds. Counting costs a search and an addition, and no memory. */
import type { MetricValue } from "./Telemetry.ts"

export class Histogram {
  readonly #bounds: ReadonlyArray<number>
  /** The last one counts what is above every bound. */
  readonly #counts: Float64Array
  #sum = 0

  /** `bounds` ascend. */
  constructor(bounds: ReadonlyArray<number>) {
    this.#bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  /** What is below nothing, or no number, counts as 0. */
  observe(value: number): void {
    const measured = value > 0 ? value : 0
    const bounds = this.#bounds
    let from = 0
    let to = bounds.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (measured <= bounds[middle]!) to = middle
      else from = middle + 1
    }
    this.#counts[from]!++
    this.#sum += measured
  }

  get value(): Extract<MetricValue, { readonly type: "histogram" }> {
    let count = 0
    const buckets = this.#bounds.map((bound, at) => [bound, (count += this.#counts[at]!)] as const)
    return { type: "histogram", buckets, count: count + this.#counts[this.#bounds.length]!, sum: this.#sum }
  }
}
