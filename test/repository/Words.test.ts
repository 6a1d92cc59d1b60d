import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
// @ts-expect-error plain JavaScript without declarations
import { findings } from "../../scripts/words.mjs"

const found = findings as (root: string) => ReadonlyArray<string>

describe("words that must not be in the tree", () => {
  it("are not in this repository", () => {
    expect(found(fileURLToPath(new URL("../..", import.meta.url)))).toEqual([])
  })

  it("are found: a path of one machine, a host of a registry, a private key", () => {
    const root = mkdtempSync(join(tmpdir(), "creche-words-"))
    try {
      const join2 = (...parts: ReadonlyArray<string>) => parts.join("")
      writeFileSync(join(root, "a.txt"), `fine\n${join2("/wo", "rk/main")}\n`)
      writeFileSync(join(root, "b.txt"), join2("https://regis", "try.npmjs.org/x"))
      writeFileSync(join(root, "c.txt"), join2("-----BEGIN PRIVATE", " KEY-----"))
      writeFileSync(join(root, "d.txt"), "root/tenant-a, network/main, registry.get(name)")
      expect(
        found(root)
          .toSorted()
          .map((line) => line.split(":").slice(0, 2).join(":")),
      ).toEqual(["a.txt:2", "b.txt:1", "c.txt:1"])
    } finally {
      rmSync(root, { recursive: true, force: true })
    }
  })
})
