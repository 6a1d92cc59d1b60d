import { execFileSync } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { readFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { openOutput } from "../../src/cli/OutputFile.ts"

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "creche-output-"))))
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const at = (name: string) => join(directory, name)
const names = () => readdirSync(directory).toSorted()

describe("an output file", () => {
  it("is there, whole and private, once it is kept, and not before", async () => {
    const file = await openOutput(at("a"), false)
    await file.write("one ")
    await file.write("two")
    expect(names()).not.toContain("a")
    await file.keep()
    expect(names()).toEqual(["a"])
    expect(readFileSync(at("a"), "utf8")).toBe("one two")
    expect(statSync(at("a")).mode & 0o777).toBe(0o600)
  })

  it("leaves nothing when it is discarded", async () => {
    const file = await openOutput(at("a"), false)
    await file.write("one")
    await file.discard()
    expect(names()).toEqual([])
  })

  it("never takes the place of another one unless told to, also of one that came meanwhile", async () => {
    writeFileSync(at("a"), "mine")
    await expect(openOutput(at("a"), false)).rejects.toThrow("--force")
    const file = await openOutput(at("b"), false)
    writeFileSync(at("b"), "mine too")
    await expect(file.keep()).rejects.toThrow("--force")
    expect(names()).toEqual(["a", "b"])
    expect([readFileSync(at("a"), "utf8"), readFileSync(at("b"), "utf8")]).toEqual(["mine", "mine too"])
  })

  it("replaces one when told to, at the end, with its mode, and where a link leads", async () => {
    writeFileSync(at("a"), "old")
    chmodSync(at("a"), 0o640)
    symlinkSync("a", at("link"))
    const file = await openOutput(at("link"), true)
    await file.write("new")
    expect(readFileSync(at("a"), "utf8")).toBe("old")
    await file.keep()
    expect(names()).toEqual(["a", "link"])
    expect(readFileSync(at("a"), "utf8")).toBe("new")
    expect(statSync(at("a")).mode & 0o777).toBe(0o640)
  })

  it("goes straight into what is no file", async () => {
    execFileSync("mkfifo", [at("pipe")])
    const read = readFile(at("pipe"), "utf8")
    const file = await openOutput(at("pipe"), false)
    await file.write("through")
    await file.keep()
    expect(await read).toBe("through")
    expect(statSync(at("pipe")).isFIFO()).toBe(true)
  })

  it("says what is wrong with a path", async () => {
    mkdirSync(at("d"))
    await expect(openOutput(at("d"), true)).rejects.toThrow("it is a directory")
    await expect(openOutput(at("no/such"), false)).rejects.toThrow(`cannot write ${at("no/such")}`)
    writeFileSync(at("f"), "")
    await expect(openOutput(at("f/x"), false)).rejects.toThrow("cannot write")
  })
})
