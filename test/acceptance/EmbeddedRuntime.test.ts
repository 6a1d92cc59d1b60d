import { describe, expect, it } from "vitest"
import { openRuntime } from "../../src/index.ts"

describe("a runtime in one's own process", () => {
  it("tells a reader which entries the limits of the session had dropped before it came", async () => {
    await using runtime = await openRuntime()
    const { id } = await runtime.start({ name: "short", command: "cat", limits: { transcriptEntries: 20 } })
    for (let i = 0; i < 50; i++) await runtime.ask("short", `line ${i}`)
    const { seq } = await runtime.get("short")
    const missed: Array<unknown> = []
    const seen: Array<number> = []
    for await (const entry of runtime.subscribe({ session: "short", after: 3 }, (range) => missed.push(range))) {
      seen.push(entry.seq)
      if (entry.seq === seq) break
    }
    expect(missed).toEqual([{ session: id, after: 3, through: seq - 20 }])
    expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => seq - 19 + index))
  })

  it("ends the loop of a reader whose session is removed", async () => {
    await using runtime = await openRuntime()
    await runtime.start({ name: "gone", command: "cat" })
    const types: Array<string> = []
    const reading = (async () => {
      for await (const entry of runtime.subscribe({ session: "gone", after: 0 })) types.push(entry.type)
    })()
    await runtime.ask("gone", "x")
    await runtime.remove("gone")
    await reading
    expect(types).toContain("turn/ended")
    expect(types.at(-1)).toBe("status")
  })
})
