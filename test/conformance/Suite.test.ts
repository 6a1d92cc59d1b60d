import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { gaps } from "./Suite.ts"
import { reasons, table, unprovoked } from "./Table.ts"

const page = readFileSync(fileURLToPath(new URL("../../docs/conformance.md", import.meta.url)), "utf8")

describe("the suite", () => {
  it("has a case for every method and every error, and excuses nothing in vain", () => {
    expect(gaps()).toEqual([])
  })

  it("is the one of the page, all of it passed; sh scripts/run test/conformance/writeTable.ts writes the page", () => {
    const partOf = (name: string) =>
      new RegExp(`<!-- generated: ${name} -->\\n\\n([^]*?)\\n<!-- end -->`).exec(page)?.[1]
    expect(partOf("table")).toBe(table(() => "passed"))
    expect(partOf("reasons")).toBe(reasons())
    expect(partOf("unprovoked")).toBe(unprovoked())
  })
})
