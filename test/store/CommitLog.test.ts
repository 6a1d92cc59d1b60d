import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { CommitLog, logSuffixes, readLog } from "../../src/store/CommitLog.ts"

let directory = ""
let file = ""
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-log-"))
  file = join(directory, "db")
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

/** The file that holds an epoch. */
const fileOf = (epoch: number) => file + logSuffixes[epoch % 2]

const write = (epoch: number, ...texts: ReadonlyArray<string>) => {
  const log = new CommitLog(file, epoch, false)
  for (const text of texts) log.append(text)
  log.close(false)
}
const read = (epoch: number) => readLog(file, epoch).records

describe("the log of commits", () => {
  it("gives back what was appended, in order, whatever the text", () => {
    const texts = [
      "a",
      "",
      "\n\n",
      "creche 1 1 1 0\nx",
      "é💥".repeat(1_000),
      "x".repeat(1_000_000),
      "é".repeat(2_000_000),
    ]
    write(0, ...texts)
    expect(readLog(file, 0)).toEqual({ records: texts, epoch: 1 })
    for (const suffix of logSuffixes) expect(statSync(file + suffix).mode & 0o777).toBe(0o600)
  })

  it("holds nothing where there is none, and nothing for a database that has it all or misses something before", () => {
    expect(readLog(file, 0)).toEqual({ records: [], epoch: 0 })
    write(6, "seven")
    expect(read(6)).toEqual(["seven"])
    for (const epoch of [0, 5, 7, 8]) expect(readLog(file, epoch)).toEqual({ records: [], epoch: Math.max(7, epoch) })
  })

  it("goes on in the other file, and both are read as long as the database has neither", () => {
    const log = new CommitLog(file, 0, false)
    for (const text of ["a1", "a2"]) log.append(text)
    expect(log.turnOver()).toBe(1)
    expect(read(0)).toEqual(["a1", "a2"])
    log.append("b1")
    expect(read(0)).toEqual(["a1", "a2", "b1"])
    expect(read(1)).toEqual(["b1"])
    log.turnOver()
    expect(log.epoch).toBe(3)
    // Over the old, of which nothing comes back, also where records have the same length.
    log.append("c1")
    expect(read(1)).toEqual(["b1", "c1"])
    expect(read(2)).toEqual(["c1"])
    expect(readLog(file, 3)).toEqual({ records: [], epoch: 3 })
    log.close(true)
    expect(readLog(file, 2)).toEqual({ records: [], epoch: 2 })
  })

  it("reads nothing of an epoch when something of the one before it is missing", () => {
    const log = new CommitLog(file, 0, false)
    for (const text of ["a1", "a2"]) log.append(text)
    log.turnOver()
    log.append("b1")
    log.close(false)
    const whole = readFileSync(fileOf(1))
    for (let length = 0; length < whole.length; length++) {
      truncateSync(fileOf(1), 0)
      writeFileSync(fileOf(1), whole.subarray(0, length))
      const found = readLog(file, 0)
      expect(found.records).toEqual(["a1", "a2"].slice(0, found.records.length))
      expect(found.records.length).toBeLessThan(2)
      // What is written from here on is never taken for what stands there.
      expect(found.epoch).toBe(2)
    }
    rmSync(fileOf(1))
    expect(readLog(file, 0)).toEqual({ records: [], epoch: 2 })
  })

  it("stops before the first record that is not whole, wherever it was cut off or changed", () => {
    const texts = ["first", "second, which is longer", "third"]
    write(0, ...texts)
    const whole = readFileSync(fileOf(1))
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(fileOf(1), whole.subarray(0, length))
      const found = read(0)
      expect(found).toEqual(texts.slice(0, found.length))
      expect(found.length).toBeLessThan(3)
    }
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(whole)
        changed[at]! ^= flip
        writeFileSync(fileOf(1), changed)
        const found = read(0)
        expect(found).toEqual(texts.slice(0, found.length))
      }),
    )
  })

  it("writes the next record over one that could not be written whole", () => {
    write(0, "one")
    const { size } = statSync(fileOf(1))
    write(0, "one", "two that is long")
    truncateSync(fileOf(1), size + 20)
    expect(read(0)).toEqual(["one"])
    write(0, "one", "2")
    expect(read(0)).toEqual(["one", "2"])
  })
})
