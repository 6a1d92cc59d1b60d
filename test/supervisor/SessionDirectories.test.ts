/** A session's own directories against children that plant links in them and in their place. */
import { execFile, spawn } from "node:child_process"
import { once } from "node:events"
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Effect from "effect/Effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { directoryOf, make, remove, sweep, temporaryOf } from "../../src/supervisor/SessionDirectories.ts"

const [id, other] = ["ses_abc1", "ses_abc2"] as const
let root: string
let data: string
/** What a child wants to see removed. */
let outside: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "creche-directories-"))
  data = join(root, "data")
  outside = join(root, "outside")
  mkdirSync(join(outside, "deep"), { recursive: true })
  writeFileSync(join(outside, "deep", "precious"), "kept")
})
afterEach(() => {
  if (existsSync(join(outside, "deep"))) chmodSync(join(outside, "deep"), 0o700)
  rmSync(root, { recursive: true, force: true })
})

const isIntact = () => {
  expect(readFileSync(join(outside, "deep", "precious"), "utf8")).toBe("kept")
  expect(readdirSync(outside)).toEqual(["deep"])
}

/** A child that works in the session's directory, with its TMPDIR: links inside both, and optionally in their place. */
const plants = async (inPlace: boolean) => {
  const { cwd, temporary } = make(data, id)
  const script = `
    mkdir -p a/b && ln -s "$1" a/b/absolute && ln -s ../../../../../outside a/b/relative && ln -s "$1/deep/precious" file
    ln -s "$1" "$TMPDIR/link" && ln -s . "$TMPDIR/loop" && ln "$1/deep/precious" "$TMPDIR/hard"
    mkfifo "$TMPDIR/pipe" && touch "$TMPDIR/-rf" "$TMPDIR/$(printf 'new\\nline')"
    ${inPlace ? 'd=$(pwd) && rm -rf "$TMPDIR" "$d" && ln -s "$1" "$d" && ln -s "$1/" "$TMPDIR"' : ""}`
  const child = spawn("/bin/sh", ["-ec", script, "sh", outside], { cwd, env: { ...process.env, TMPDIR: temporary } })
  expect(await once(child, "exit")).toEqual([0, null])
}

describe("a session's own directories", () => {
  it("are private, apart for each session, and made once", () => {
    const made = make(data, id)
    expect(made).toEqual({ cwd: join(data, "sessions", id), temporary: join(data, "tmp", id) })
    expect(made).toEqual({ cwd: directoryOf(data, id), temporary: temporaryOf(data, id) })
    for (const path of [made.cwd, made.temporary]) expect(statSync(path).mode & 0o777).toBe(0o700)
    writeFileSync(join(made.temporary, "kept"), "")
    expect(make(data, id)).toEqual(made)
    expect(readdirSync(made.temporary)).toEqual(["kept"])
    expect(readdirSync(make(data, other).temporary)).toEqual([])
  })

  it("are the temporary one alone where the session has a cwd, which stays as it is", async () => {
    expect(make(data, id, outside)).toEqual({ cwd: outside, temporary: temporaryOf(data, id) })
    expect(readdirSync(data)).toEqual(["tmp"])
    await remove(data, id)
    expect(readdirSync(join(data, "tmp"))).toEqual([])
    isIntact()
  })

  it("are removed with everything in them, and another's stay", async () => {
    make(data, id)
    make(data, other)
    mkdirSync(join(temporaryOf(data, id), "a", "b"), { recursive: true })
    writeFileSync(join(directoryOf(data, id), "f"), "")
    await remove(data, id)
    for (const parent of ["sessions", "tmp"]) expect(readdirSync(join(data, parent))).toEqual([other])
    await remove(data, id)
    await remove(join(root, "never-made"), id)
    expect(existsSync(join(root, "never-made"))).toBe(false)
  })

  it("are made anew where the child left something else in their place", async () => {
    await plants(true)
    const { cwd, temporary } = make(data, id)
    for (const path of [cwd, temporary]) {
      expect(lstatSync(path).isDirectory()).toBe(true)
      expect(readdirSync(path)).toEqual([])
    }
    rmSync(temporary, { recursive: true })
    writeFileSync(temporary, "a file")
    expect(readdirSync(make(data, id).temporary)).toEqual([])
    isIntact()
  })
})

describe("removing a session's directories", () => {
  for (const inPlace of [false, true]) {
    it(`follows no link that its child planted ${inPlace ? "in their place" : "in them"}`, async () => {
      await plants(inPlace)
      await remove(data, id)
      for (const parent of ["sessions", "tmp"]) expect(readdirSync(join(data, parent))).toEqual([])
      isIntact()
    })
  }

  it("is refused, as making and sweeping are, where a link stands in the place of all of them", async () => {
    for (const parent of ["sessions", "tmp"]) {
      mkdirSync(data)
      mkdirSync(join(outside, id))
      symlinkSync(outside, join(data, parent))
      expect(() => make(data, other)).toThrow("is no directory")
      await expect(remove(data, id)).rejects.toThrow("is no directory")
      await Effect.runPromise(sweep(data, new Set()))
      expect(readdirSync(outside)).toEqual(["deep", id])
      rmSync(join(outside, id), { recursive: true })
      rmSync(data, { recursive: true })
    }
    isIntact()
  })

  it("empties also what its owner may not write in, and changes no mode outside", async () => {
    const { cwd, temporary } = make(data, id)
    for (const path of [cwd, temporary]) {
      mkdirSync(join(path, "cache", "module"), { recursive: true })
      writeFileSync(join(path, "cache", "module", "source"), "")
      symlinkSync(join(outside, "deep"), join(path, "cache", "module", "link"))
      chmodSync(join(path, "cache", "module"), 0o555)
      chmodSync(join(path, "cache"), 0o000)
    }
    chmodSync(temporary, 0o000)
    chmodSync(join(outside, "deep"), 0o500)
    // Nothing is read-only for root: a process of another user removes them.
    const owner = process.getuid?.() === 0 ? 65_534 : undefined
    if (owner !== undefined) await promisify(execFile)("chown", ["-hR", `${owner}:${owner}`, root])
    const script = `
      const { remove } = await import(process.argv[1])
      if (process.argv[4] !== "") process.setgroups([]), process.setgid(+process.argv[4]), process.setuid(+process.argv[4])
      await remove(process.argv[2], process.argv[3])`
    const source = new URL("../../src/supervisor/SessionDirectories.ts", import.meta.url).href
    const args = ["--input-type=module", "-e", script, source, data, id, String(owner ?? "")]
    await promisify(execFile)(process.execPath, args)
    for (const parent of ["sessions", "tmp"]) expect(readdirSync(join(data, parent))).toEqual([])
    expect(statSync(join(outside, "deep")).mode & 0o777).toBe(0o500)
    isIntact()
  })

  it("goes nowhere else by name", async () => {
    make(data, id)
    for (const name of [
      "..",
      ".",
      "",
      "../..",
      `../sessions/${id}`,
      `${id}/..`,
      `${id}/`,
      "/etc",
      "ses_/x",
      "ses_",
      "x",
    ]) {
      expect(() => make(data, name)).toThrow("is no id of a session")
      expect(() => directoryOf(data, name)).toThrow("is no id of a session")
      expect(() => temporaryOf(data, name)).toThrow("is no id of a session")
      await expect(remove(data, name)).rejects.toThrow("is no id of a session")
    }
    expect(() => make(data, `${id}\0`)).toThrow("is no id of a session")
    expect(() => make(data, `${id}\n`)).toThrow("is no id of a session")
    expect(existsSync(directoryOf(data, id))).toBe(true)
  })
})

describe("the sweep", () => {
  it("removes the directories of all sessions but those given, and nothing else", async () => {
    await plants(false)
    make(data, other)
    for (const parent of ["sessions", "tmp"]) {
      mkdirSync(join(data, parent, "ses_left3", "deep"), { recursive: true })
      symlinkSync(outside, join(data, parent, "ses_link4"))
      writeFileSync(join(data, parent, "ses_file5"), "")
      mkdirSync(join(data, parent, "theirs"))
      writeFileSync(join(data, parent, ".hidden"), "")
    }
    await Effect.runPromise(sweep(data, new Set([other])))
    for (const parent of ["sessions", "tmp"]) {
      expect(readdirSync(join(data, parent)).toSorted()).toEqual([".hidden", other, "theirs"])
    }
    isIntact()
  })

  it("has nothing to do where there is nothing", async () => {
    await Effect.runPromise(sweep(data, new Set()))
    expect(existsSync(data)).toBe(false)
  })
})
