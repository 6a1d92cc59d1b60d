import { execFileSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { HostAnswer } from "../../src/protocols/HostCall.ts"
import { performCall } from "../../src/supervisor/AgentFiles.ts"
import { seed } from "../support/Property.ts"

let directory: string
let root: string
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), "creche-agent-files-")))
  root = join(directory, "root")
  mkdirSync(root)
  writeFileSync(join(directory, "secret"), "secret")
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const read = (path: string, line: number | null = null, limit: number | null = null, maxBytes = 1000) =>
  Effect.runPromise(performCall({ type: "readTextFile", root, path, line, limit }, maxBytes))
const write = (path: string, content: string, maxBytes = 1000) =>
  Effect.runPromise(performCall({ type: "writeTextFile", root, path, content }, maxBytes))
const reasonOf = (answer: HostAnswer) => (answer.type === "done" ? `done: ${answer.text}` : answer.reason)

describe("a file that is read for an agent", () => {
  it("gives the lines that are wanted of it, for any text, line and limit", async () => {
    const pieces = fc.array(fc.constantFrom("a", "é", "💥", "\n", "\r\n", "\u2028", " "), { maxLength: 30 })
    const path = join(root, "text")
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.option(fc.nat({ max: 12 })),
        fc.option(fc.nat({ max: 12 })),
        async (parts, line, limit) => {
          const text = parts.join("")
          writeFileSync(path, text)
          const lines = text.split(/(?<=\n)/)
          const from = Math.max(1, line ?? 1) - 1
          const wanted = lines.slice(from, limit === null ? undefined : from + limit).join("")
          expect(await read(path, line, limit)).toEqual({ type: "done", text: wanted })
        },
      ),
      { seed, numRuns: 150 },
    )
  })

  it("is never in memory whole: of a huge one some lines are read, wherever they are", async () => {
    const path = join(root, "huge")
    writeFileSync(path, `first\n${"x".repeat(3_000_000)}\nsecond\nthird`)
    expect(await read(path, 1, 1)).toEqual({ type: "done", text: "first\n" })
    expect(await read(path, 3, 1)).toEqual({ type: "done", text: "second\n" })
    expect(await read(path, 4)).toEqual({ type: "done", text: "third" })
    for (const answer of [await read(path), await read(path, 2), await read(path, 2, 1)]) {
      expect(reasonOf(answer)).toBe("tooLarge")
    }
    truncateSync(path, 2 ** 40)
    expect(reasonOf(await read(path))).toBe("tooLarge")
  })

  it("is UTF-8 text and a regular file; nobody waits for a pipe", async () => {
    writeFileSync(join(root, "raw"), Buffer.from([0x61, 0xff, 0xfe]))
    execFileSync("mkfifo", [join(root, "fifo")])
    for (const [name, message] of [
      ["raw", "is no UTF-8 text"],
      ["fifo", "is no regular file"],
      [".", "is no regular file"],
    ] as const) {
      expect(await read(join(root, name))).toMatchObject({
        reason: "failed",
        message: expect.stringContaining(message),
      })
    }
    expect(await read(join(root, "none"))).toMatchObject({ reason: "missing", message: "is not there" })
  })
})

describe("a file that is written for an agent", () => {
  it("is there whole, with the directories that it lacked; one that was there keeps its mode and its other names", async () => {
    const path = join(root, "a", "b", "c.sh")
    expect(await write(path, "one")).toEqual({ type: "done", text: "" })
    chmodSync(path, 0o750)
    linkSync(path, join(directory, "other-name"))
    expect(await write(path, "two é")).toEqual({ type: "done", text: "" })
    expect(readFileSync(path, "utf8")).toBe("two é")
    expect(statSync(path).mode & 0o777).toBe(0o750)
    expect(readFileSync(join(directory, "other-name"), "utf8")).toBe("one")
    expect(readdirSync(join(root, "a", "b"))).toEqual(["c.sh"])
  })

  it("goes where a link within the directory leads, and the link stays one", async () => {
    writeFileSync(join(root, "real"), "old")
    symlinkSync("real", join(root, "link"))
    mkdirSync(join(root, "inner"))
    symlinkSync("inner", join(root, "alias"))
    expect(await write(join(root, "link"), "new")).toEqual({ type: "done", text: "" })
    expect(await write(join(root, "alias", "new"), "too")).toEqual({ type: "done", text: "" })
    expect(readFileSync(join(root, "real"), "utf8")).toBe("new")
    expect(readFileSync(join(root, "inner", "new"), "utf8")).toBe("too")
    expect(readdirSync(root).toSorted()).toEqual(["alias", "inner", "link", "real"])
  })

  it("also in a session's directory that is itself reached by a link", async () => {
    symlinkSync(root, join(directory, "by-link"))
    const call = { root: join(directory, "by-link"), path: join(directory, "by-link", "file") }
    expect(await Effect.runPromise(performCall({ type: "writeTextFile", ...call, content: "x" }))).toMatchObject({
      type: "done",
    })
    const back = performCall({ type: "readTextFile", ...call, path: join(root, "file"), line: null, limit: null })
    expect(await Effect.runPromise(back)).toEqual({ type: "done", text: "x" })
  })

  it("takes no place of what is no regular file, nor more than the limit", async () => {
    mkdirSync(join(root, "directory"))
    execFileSync("mkfifo", [join(root, "fifo")])
    symlinkSync("nowhere", join(root, "dangling"))
    expect(reasonOf(await write(join(root, "directory"), "x"))).toBe("failed")
    expect(reasonOf(await write(join(root, "fifo"), "x"))).toBe("failed")
    expect(reasonOf(await write(join(root, "dangling"), "x"))).toBe("missing")
    expect(reasonOf(await write(root, "x"))).toBe("failed")
    expect(reasonOf(await write(join(root, "large"), "é".repeat(501)))).toBe("tooLarge")
    expect(reasonOf(await write(join(root, "large"), "é".repeat(500)))).toBe("done: ")
    writeFileSync(join(root, "file"), "")
    expect(reasonOf(await write(join(root, "file", "below"), "x"))).toBe("failed")
    expect(readdirSync(root).toSorted()).toEqual(["dangling", "directory", "fifo", "file", "large"])
  })
})

describe("the way out of the directory", () => {
  it("is closed to paths that climb and to links that lead there, for reading and for writing", async () => {
    symlinkSync("../secret", join(root, "escape"))
    symlinkSync("..", join(root, "up"))
    symlinkSync(directory, join(root, "far"))
    mkdirSync(join(directory, "root-too"))
    writeFileSync(join(directory, "root-too", "secret"), "secret")
    for (const path of [
      join(directory, "secret"),
      `${root}/../secret`,
      join(root, "escape"),
      join(root, "up", "secret"),
      join(root, "far", "root-too", "secret"),
      join(directory, "root-too", "secret"),
    ]) {
      expect(reasonOf(await read(path)), path).toBe("outside")
      expect(reasonOf(await write(path, "x")), path).toBe("outside")
    }
    for (const path of [join(root, "up", "new"), join(root, "far", "new", "deep"), join(directory, "new", "deep")]) {
      expect(reasonOf(await read(path)), path).toBe("outside")
      expect(reasonOf(await write(path, "x")), path).toBe("outside")
    }
    expect(readdirSync(directory).toSorted()).toEqual(["root", "root-too", "secret"])
    expect(readFileSync(join(directory, "secret"), "utf8")).toBe("secret")
  })

  it("stays closed while directories are exchanged for links as fast as they can be", async () => {
    // The same names outside: whatever is touched there is an escape.
    const outside = join(directory, "outside")
    mkdirSync(outside)
    writeFileSync(join(outside, "file"), "secret")
    mkdirSync(join(root, "here"))
    writeFileSync(join(root, "here", "file"), "inside")
    const here = join(root, "here")
    /** The writer may just have made the directory that it missed. */
    const place = (put: () => void) => {
      for (;;) {
        try {
          return put()
        } catch {
          rmSync(here, { recursive: true, force: true })
        }
      }
    }
    let over = false
    const exchanging = (async () => {
      for (let n = 0; !over; n++) {
        renameSync(here, join(root, "there"))
        place(() => symlinkSync(outside, here))
        if (n % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
        rmSync(here)
        place(() => renameSync(join(root, "there"), here))
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    const seen = new Set<string>()
    for (let n = 0; n < 150; n++) {
      const path = join(root, "here", ["file", `new-${n}`, `new-${n}/deep/er`][n % 3]!)
      const [got, put] = await Promise.all([read(join(root, "here", "file")), write(path, `inside ${n}`)])
      seen.add(reasonOf(got).slice(0, 12)).add(reasonOf(put))
    }
    over = true
    await exchanging
    expect([...seen].filter((each) => each.includes("secret"))).toEqual([])
    expect(readdirSync(outside)).toEqual(["file"])
    expect(readFileSync(join(outside, "file"), "utf8")).toBe("secret")
    // It was a race: both sides had their turns.
    expect(seen).toContain("done: ")
    expect(existsSync(join(root, "here"))).toBe(true)
  })
})
