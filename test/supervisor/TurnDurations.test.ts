import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { TurnDurations } from "../../src/supervisor/TurnDurations.ts"
import { checked } from "../support/Property.ts"

const summaryOf = (durations: ReadonlyArray<number>) => {
  const histogram = new TurnDurations()
  for (const ms of durations) histogram.add(ms)
  return histogram.summary()
}
const rank = (durations: ReadonlyArray<number>, share: number) =>
  durations.toSorted((a, b) => a - b)[Math.ceil(share * durations.length) - 1]!

describe("the durations of turns", () => {
  it("are null before the first", () => {
    expect(summaryOf([])).toEqual({ count: 0, meanMs: null, p50Ms: null, p90Ms: null, p99Ms: null, maxMs: null })
  })

  it("of one turn are that turn's", () => {
    for (const ms of [0, 1, 2, 3, 7, 24, 25]) {
      expect(summaryOf([ms])).toEqual({ count: 1, meanMs: ms, p50Ms: ms, p90Ms: ms, p99Ms: ms, maxMs: ms })
    }
  })

  it("are exact up to 25 ms", () => {
    const all = Array.from({ length: 26 }, (_, ms) => ms)
    for (let length = 1; length <= all.length; length++) {
      const some = all.slice(0, length)
      const { p50Ms, p90Ms, p99Ms } = summaryOf(some)
      expect([p50Ms, p90Ms, p99Ms]).toEqual([rank(some, 0.5), rank(some, 0.9), rank(some, 0.99)])
    }
  })

  it("are off by 2 % and a rounding at most, whatever they are", () => {
    const duration = fc.oneof(fc.nat({ max: 100 }), fc.nat({ max: 100_000 }), fc.nat({ max: 2 ** 31 - 1 }))
    checked(fc.array(duration, { minLength: 1, maxLength: 200 }), (durations) => {
      const { count, meanMs, maxMs, p50Ms, p90Ms, p99Ms } = summaryOf(durations)
      expect(count).toBe(durations.length)
      expect(maxMs).toBe(Math.max(...durations))
      expect(meanMs).toBe(Math.round(durations.reduce((a, b) => a + b, 0) / durations.length))
      for (const [share, said] of [
        [0.5, p50Ms],
        [0.9, p90Ms],
        [0.99, p99Ms],
      ] as const) {
        const exact = rank(durations, share)
        expect(Math.abs(said! - exact), `p${share} ${said} for ${exact}`).toBeLessThanOrEqual(exact * 0.02 + 0.5)
      }
    })
  })

  it("are off by no more at the end of what is told apart", () => {
    const [short, long] = [2 ** 31 - 80_000_000, 2 ** 31 - 1]
    expect(Math.abs(summaryOf([short, long]).p50Ms! - short)).toBeLessThanOrEqual(short * 0.02)
  })

  it("take in what no clock should say: negative, no number, without end", () => {
    const { p50Ms, maxMs, count } = summaryOf([-5, Number.NaN, Infinity, 2 ** 40])
    expect([count, p50Ms, maxMs]).toEqual([4, 0, Infinity])
  })

  it("cost the same whatever came before: a million and more do not make it larger", () => {
    const histogram = new TurnDurations()
    for (let i = 0; i < 1_000_000; i++) histogram.add(i % 1000)
    const { count, p50Ms, p99Ms } = histogram.summary()
    expect(count).toBe(1_000_000)
    expect(Math.abs(p50Ms! - 500)).toBeLessThanOrEqual(11)
    expect(Math.abs(p99Ms! - 990)).toBeLessThanOrEqual(21)
  })
})
