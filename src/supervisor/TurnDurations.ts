/**
 * How long turns took, in a histogram of fixed size: buckets whose bounds grow by 4 %, so that a quantile is off by 2 % at
 * most, and exact up to 25 ms. Knows nothing of turns; the runtime adds each completed one and reads it for `runtime/stats`.
 */
import type { TurnDurations as Durations } from "./Runtime.ts"

const growth = 1.04
const perBucket = 1 / Math.log(growth)
/** The last bucket takes all that is longer than this, which is some 25 days. */
const longestMs = 2 ** 31
const buckets = 3 + Math.floor(Math.log(longestMs) * perBucket)

export class TurnDurations {
  /** The first bucket holds what took no time at all. */
  readonly #counts = new Float64Array(buckets)
  #count = 0
  #sumMs = 0
  #maxMs = 0

  /** Whole milliseconds; what is negative, or no number, counts as 0. */
  add(durationMs: number): void {
    const ms = durationMs > 0 ? durationMs : 0
    // A hair more: a bound that is a whole number must not fall below itself by the rounding of its logarithm.
    const bucket = ms < 1 ? 0 : 1 + Math.floor(Math.log(ms + 1e-9 * ms) * perBucket)
    this.#counts[bucket < buckets ? bucket : buckets - 1]!++
    this.#count++
    this.#sumMs += ms
    if (ms > this.#maxMs) this.#maxMs = ms
  }

  summary(): Durations {
    const count = this.#count
    if (count === 0) return { count, meanMs: null, p50Ms: null, p90Ms: null, p99Ms: null, maxMs: null }
    const [p50Ms, p90Ms, p99Ms] = this.#quantiles([0.5, 0.9, 0.99])
    return {
      count,
      meanMs: Math.round(this.#sumMs / count),
      p50Ms: p50Ms!,
      p90Ms: p90Ms!,
      p99Ms: p99Ms!,
      maxMs: this.#maxMs,
    }
  }

  /** By nearest rank: of ten durations the ninth is p90. `shares` ascend. */
  #quantiles(shares: ReadonlyArray<number>): ReadonlyArray<number> {
    const found: Array<number> = []
    let below = 0
    for (let bucket = 0; bucket < buckets && found.length < shares.length; bucket++) {
      below += this.#counts[bucket]!
      while (found.length < shares.length && below >= Math.ceil(shares[found.length]! * this.#count)) {
        found.push(Math.min(this.#maxMs, middleOf(bucket)))
      }
    }
    return found
  }
}

const middleOf = (bucket: number): number => {
  if (bucket === 0) return 0
  if (bucket === buckets - 1) return Infinity
  const low = growth ** (bucket - 1)
  const high = low * growth
  const first = Math.ceil(low - 1e-6)
  // As long as a bucket holds one whole number, that is the one.
  return first + 1 >= high ? first : Math.round(low * Math.sqrt(growth))
}
