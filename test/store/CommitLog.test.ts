import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { CommitLog, readLog } from "../../src/store/CommitLog.ts"

let directory = ""
let file = ""
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-log-"))
  file = join(directory, "log")
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const write = (epoch: number, ...texts: ReadonlyArray<string>) => {
  const log = new CommitLog(file, epoch, false)
  for (const text of texts) log.append(text)
  log.close(false)
}

describe("the log of commits", () => {
  it("gives back what was appended, in order, whatever the text", () => {
    const texts = ["a", "", "\n\n", "creche 1 1 1\nx", "é💥".repeat(1_000), "x".repeat(1_000_000)]
    write(0, ...texts)
    expect(readLog(file, 0)).toEqual(texts)
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it("holds nothing where there is none, and nothing for a database that has it all or misses something before", () => {
    expect(readLog(file, 0)).toEqual([])
    write(6, "seven")
    expect(readLog(file, 6)).toEqual(["seven"])
    for (const epoch of [0, 5, 7, 8]) expect(readLog(file, epoch)).toEqual([])
  })

  it("begins anew over the old, of which nothing comes back, also where records have the same length", () => {
    const log = new CommitLog(file, 0, false)
    for (const text of ["a1", "a2", "a3"]) log.append(text)
    log.startOver()
    expect(log.epoch).toBe(2)
    expect(readLog(file, 1)).toEqual([])
    log.append("b1")
    expect(readLog(file, 0)).toEqual([])
    expect(readLog(file, 1)).toEqual(["b1"])
    log.startOver()
    log.startOver()
    expect(log.epoch).toBe(3)
    log.close(true)
    expect(readLog(file, 2)).toEqual([])
  })

  it("stops before the first record that is not whole, wherever it was cut off or changed", () => {
    const texts = ["first", "second, which is longer", "third"]
    write(0, ...texts)
    const whole = readFileSync(file)
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(file, whole)
      truncateSync(file, length)
      const found = readLog(file, 0)
      expect(found).toEqual(texts.slice(0, found.length))
      expect(found.length).toBeLessThan(3)
    }
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(whole)
        changed[at]! ^= flip
        writeFileSync(file, changed)
        const found = readLog(file, 0)
        expect(found.length).toBeLessThan(3)
        expect(found).toEqual(texts.slice(0, found.length))
      }),
    )
  })

  it("writes the next record over one that could not be written whole", () => {
    write(0, "one")
    const { size } = statSync(file)
    write(0, "one", "two that is long")
    truncateSync(file, size + 20)
    expect(readLog(file, 0)).toEqual(["one"])
    write(0, "one", "2")
    expect(readLog(file, 0)).toEqual(["one", "2"])
  })
})
