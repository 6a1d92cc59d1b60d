import { describe, expect, it } from "vitest"
import { Registry } from "../../src/actors/Registry.ts"

describe("a registry", () => {
  it("gives a name to one bearer at a time, and to another once it was given back", () => {
    const registry = new Registry<string, object>()
    const [first, second] = [{}, {}]
    expect(registry.register("a", first)).toBe(true)
    expect(registry.register("a", second)).toBe(false)
    expect(registry.whereIs("a")).toBe(first)
    registry.unregister("a", first)
    expect(registry.whereIs("a")).toBe(undefined)
    expect(registry.register("a", second)).toBe(true)
  })

  it("does not let a late goodbye unname the successor", () => {
    const registry = new Registry<string, object>()
    const [first, second] = [{}, {}]
    registry.register("a", first)
    registry.unregister("a", first)
    registry.register("a", second)
    registry.unregister("a", first)
    expect(registry.whereIs("a")).toBe(second)
  })

  it("lists in order of registration", () => {
    const registry = new Registry<string, number>()
    for (const n of [3, 1, 2]) registry.register(`n${n}`, n)
    expect([...registry.values()]).toEqual([3, 1, 2])
    expect(registry.size).toBe(3)
  })
})
