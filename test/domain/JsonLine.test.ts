import { createInterface } from "node:readline"
import { Readable } from "node:stream"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { jsonLine } from "../../src/domain/JsonLine.ts"
import { seed } from "../support/Property.ts"

describe("JSON on one line", () => {
  it("is one line to Node's readline, and the same value", async () => {
    const texts = fc.string({ unit: fc.constantFrom("a", "ü", "𝄞", "\u2028", "\u2029", "\n", "\r", '"', "\\") })
    await fc.assert(
      fc.asyncProperty(texts, texts, async (key, value) => {
        const lines: Array<string> = []
        for await (const line of createInterface({ input: Readable.from([`${jsonLine({ [key]: value })}\n`]) }))
          lines.push(line)
        expect(lines.map((line) => JSON.parse(line))).toEqual([{ [key]: value }])
      }),
      { seed },
    )
  })
})
