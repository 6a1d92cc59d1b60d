import * as Cause from "effect/Cause"
import { describe, expect, it } from "vitest"
import { placeOf, placesOf } from "../../src/domain/Defect.ts"
import { SessionNotFound } from "../../src/domain/Errors.ts"

const caught = (run: () => unknown): unknown => {
  try {
    return run()
  } catch (error) {
    return error
  }
}

describe("what is said of a bug", () => {
  it("is its class and where it happened, and nothing of its message", () => {
    const wrong = caught(() => JSON.parse("secret words of an agent"))
    const said = placeOf(wrong)
    expect((wrong as Error).message).toContain("secret")
    expect(said).toMatch(/^SyntaxError\n {4}at /)
    expect(said).toContain("Defect.test.ts")
    expect(said).not.toContain("secret")
  })

  it("is nothing of a message of many lines either, nor of one that looks like a stack, nor of one that was changed", () => {
    expect(placeOf(new Error("one\n    at secret (two)\nthree"))).not.toContain("secret")
    const changed = new Error("before secret")
    void changed.stack
    changed.message = "after"
    expect(placeOf(changed)).not.toContain("secret")
    expect(placeOf("a secret")).toBe("a thrown string")
    expect(placeOf(null)).toBe("a thrown null")
  })

  it("is the tag of what may fail", () => {
    expect(placesOf(Cause.fail(new SessionNotFound({ session: "secret" })))).toBe("SessionNotFound")
    expect(placesOf(Cause.die("a secret"))).toBe("a thrown string")
  })
})
