import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"

/**
 * A whole life of a runtime allocates some 600 KB. Where a call makes a generator function, or a class, of its own, the
 * engine makes hidden classes for it in the old generation, and those keep alive whatever the function closes over until a
 * full collection: over 100 KB of each life, and a third of all time.
 */
const mostKeptBytes = 30_000

it("leaves nothing of a life that a look at the young generation would not find", () => {
  const lives = fileURLToPath(new URL("Garbage.ts", import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, ["--expose-gc", "--max-semi-space-size=64", lives], {
    encoding: "utf8",
  })
  expect(stderr).toBe("")
  const { seeds, kept } = JSON.parse(stdout) as { readonly seeds: number; readonly kept: number }
  expect(kept / seeds).toBeLessThan(mostKeptBytes)
})
