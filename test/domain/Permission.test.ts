import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decidePermission, optionFor } from "../../src/domain/Permission.ts"
import { specDefaults, type PermissionsSpec } from "../../src/domain/SessionSpec.ts"
import { checked } from "../support/Property.ts"

const rules = (...given: PermissionsSpec["rules"]): PermissionsSpec => ({ ...specDefaults.permissions, rules: given })

describe("permission rules", () => {
  it("decide by the first that fits, and else by the default", () => {
    const spec = rules(
      { tool: "Bash", input: { command: "git push*" }, decision: "deny" },
      { tool: "Bash", input: { command: "git *" }, decision: "allow" },
      { tool: "mcp__*__read", decision: "allow" },
    )
    expect(decidePermission(spec, "Bash", { command: "git push --force" })).toBe("deny")
    expect(decidePermission(spec, "Bash", { command: "git status" })).toBe("allow")
    expect(decidePermission(spec, "Bash", { command: "rm -rf git " })).toBe("ask")
    expect(decidePermission(spec, "mcp__files__read", null)).toBe("allow")
    expect(decidePermission(spec, "mcp__files__write", null)).toBe("ask")
    expect(decidePermission({ ...spec, default: "deny" }, "Edit", {})).toBe("deny")
  })

  it("look into the input by paths, and an input without that path fits nothing", () => {
    const spec = rules({ tool: "*", input: { "file.path": "/tmp/*", mode: "7" }, decision: "allow" })
    expect(decidePermission(spec, "Edit", { file: { path: "/tmp/a" }, mode: 7 })).toBe("allow")
    for (const input of [{ file: { path: "/tmp/a" } }, { file: "/tmp/a", mode: 7 }, "/tmp/a", null, undefined, 7]) {
      expect(decidePermission(spec, "Edit", input)).toBe("ask")
    }
    // What every object has by birth is no part of the input.
    expect(decidePermission(rules({ tool: "*", input: { constructor: "*" }, decision: "allow" }), "x", {})).toBe("ask")
  })

  it("match patterns as their pieces in order, without stumbling over long ones", () => {
    const piece = fc.string({ maxLength: 4 }).map((text) => text.replaceAll("*", ""))
    checked(fc.array(piece, { minLength: 1, maxLength: 5 }), fc.array(piece, { maxLength: 5 }), (pieces, between) => {
      const text = pieces.map((part, i) => (i === 0 ? part : (between[i] ?? "") + part)).join("")
      expect(decidePermission(rules({ tool: pieces.join("*"), decision: "allow" }), text, {})).toBe("allow")
    })
    const hard = rules({ tool: `${"a*".repeat(50)}b`, decision: "allow" })
    expect(decidePermission(hard, "a".repeat(100_000), {})).toBe("ask")
    for (const [pattern, text] of [
      ["a*a", "a"],
      ["ab*b", "ab"],
      ["", "x"],
      ["a", "ab"],
    ]) {
      expect(decidePermission(rules({ tool: pattern!, decision: "allow" }), text!, {})).toBe("ask")
    }
  })
})

describe("an outcome", () => {
  const options = [
    { id: "deny", name: "No, never", kind: "reject_always" },
    { id: "1", name: "Yes", kind: "allow_once" },
  ]
  it("means the option of its id, or the first of its kind", () => {
    expect(optionFor(options, "1")?.id).toBe("1")
    expect(optionFor(options, "allow")?.id).toBe("1")
    expect(optionFor(options, "allow_always")?.id).toBe("1")
    expect(optionFor(options, "deny")?.id).toBe("deny")
    expect(optionFor([options[1]!], "deny")).toBeUndefined()
    expect(optionFor(options, "perhaps")).toBeUndefined()
  })
})
