import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { firstLimit, nextLimit } from "../../src/transport/PullSize.ts"
import { checked } from "../support/Property.ts"

describe("how many entries are pulled at a time", () => {
  it("grows to a few hundred where they are short, and is one where they are very long", () => {
    let [limit, pulls] = [firstLimit, 0]
    for (; limit < 256; pulls++) limit = nextLimit(limit, limit, limit * 300)
    expect([limit, pulls]).toEqual([256, 3])
    expect(nextLimit(256, 256, 256 * 1024)).toBe(256)
    expect(nextLimit(256, 16, 16 * 16_777_216)).toBe(1)
    expect(nextLimit(1, 1, 16_777_216)).toBe(1)
    expect(nextLimit(64, 0, 0)).toBe(64)
  })

  it("is what fits into a quarter of a million characters, if all were as those before", () => {
    checked(
      fc.integer({ min: 1, max: 256 }),
      fc.integer({ min: 1, max: 256 }),
      fc.integer({ min: 0, max: 1e9 }),
      (limit, entries, chars) => {
        const next = nextLimit(limit, entries, chars)
        expect(next >= 1 && next <= 256).toBe(true)
        if (next > 1) expect(next * (chars / entries)).toBeLessThanOrEqual(262_144)
      },
    )
  })
})
