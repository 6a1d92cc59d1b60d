import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Histogram } from "../../src/domain/Histogram.ts"
import { checked } from "../support/Property.ts"

describe("a histogram", () => {
  it("counts each value under every bound that it is not above", () => {
    const values = fc.array(fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: -3, max: 12 })), { maxLength: 200 })
    const bounds = fc
      .uniqueArray(fc.integer({ min: 0, max: 10 }), { minLength: 1 })
      .map((all) => all.toSorted((a, b) => a - b))
    checked(bounds, values, (ascending, observed) => {
      const histogram = new Histogram(ascending)
      for (const value of observed) histogram.observe(value)
      const counted = observed.map((value) => Math.max(0, value))
      expect(histogram.value.count).toBe(observed.length)
      expect(histogram.value.buckets).toEqual(
        ascending.map((bound) => [bound, counted.filter((value) => value <= bound).length]),
      )
    })
  })

  it("takes what is no number for 0", () => {
    const histogram = new Histogram([1])
    histogram.observe(Number.NaN)
    expect(histogram.value).toEqual({ type: "histogram", buckets: [[1, 1]], count: 1, sum: 0 })
  })
})
