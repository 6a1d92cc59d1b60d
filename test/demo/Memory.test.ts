import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs"
import { appendFileSync, existsSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { Memory, ownDirectory } from "../../src/demo/Memory.ts"

let root: string
/** A session's own directory. */
let own: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "creche-memory-"))
  own = join(root, "sessions", "ses_1")
  mkdirSync(own, { recursive: true })
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const resume = (id: string, directory: string | null = own): Memory => {
  const memory = Memory.resume(id, directory)
  if (memory === undefined) throw new Error("no id of a conversation")
  return memory
}
const pathOf = (memory: Memory) => Buffer.from(memory.id, "base64url").toString()

describe("a memory", () => {
  it("is known again by its id, whole, after every single step", () => {
    const memory = Memory.begin(own)
    expect(memory.id).toMatch(/^[A-Za-z0-9_-]+$/)
    memory.heard("one\ntwo")
    expect(resume(memory.id).prompts).toEqual(["one\ntwo"])
    memory.remember("k", "v\n\u2028é😀")
    memory.remember("__proto__", "p")
    expect(resume(memory.id).recall("k")).toBe("v\n\u2028é😀")
    memory.remember("k", "w")
    const again = resume(memory.id)
    expect([again.id, again.recall("k"), again.recall("__proto__"), again.recall("constructor")]).toEqual([
      memory.id,
      "w",
      "p",
      undefined,
    ])
    again.heard("three")
    expect(resume(memory.id).prompts).toEqual(["one\ntwo", "three"])
  })

  it("makes no file before there is something to keep, and then one that only its owner reads", () => {
    const memory = Memory.begin(own)
    expect(readdirSync(own)).toEqual([])
    expect(resume(memory.id).prompts).toEqual([])
    resume(memory.id).fork(own)
    expect(readdirSync(own)).toEqual([])
    memory.heard("x")
    expect(readdirSync(own)).toEqual([basename(pathOf(memory))])
    expect(statSync(pathOf(memory)).mode & 0o777).toBe(0o600)
  })

  it("survives a line cut short at its end or in its middle", () => {
    const memory = Memory.begin(own)
    memory.remember("k", "v")
    appendFileSync(
      pathOf(memory),
      '{"prompt":"cut\nnull\n[1]\n{"key":1}\n{"prompt":"whole"}\n{"key":"k","text":"never ans',
    )
    const again = resume(memory.id)
    expect([again.recall("k"), again.prompts]).toEqual(["v", ["whole"]])
    again.heard("next")
    expect(resume(memory.id).prompts).toEqual(["whole", "next"])
    expect(
      readFileSync(pathOf(memory), "utf8")
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line)),
    ).toHaveLength(3)
    expect(readdirSync(own)).toHaveLength(1)
  })

  it("is bounded: the newest prompts, each cut, and a file that shrinks when it is gone on with", () => {
    const memory = Memory.begin(own)
    for (let turn = 1; turn <= 4500; turn++) memory.heard(`${turn} `.padEnd(2000, "x"))
    memory.remember("k", "y".repeat(5000))
    expect(memory.prompts.length).toBeLessThanOrEqual(2000)
    expect(statSync(pathOf(memory)).size).toBeGreaterThan(4_500_000)
    const again = resume(memory.id)
    expect(again.prompts.length).toBeGreaterThanOrEqual(1000)
    expect(again.prompts.at(-1)).toBe("4500 ".padEnd(1000, "x"))
    expect(again.recall("k")).toHaveLength(5000)
    expect(statSync(pathOf(memory)).size).toBeLessThan(2_200_000)
    expect(resume(memory.id).prompts).toEqual(again.prompts)
  })

  it("begins a fork of the same knowledge in the fork's own directory, each on its own from there", () => {
    const memory = Memory.begin(own)
    memory.remember("k", "v")
    memory.heard("shared")
    const others = join(root, "sessions", "ses_2")
    mkdirSync(others)
    const fork = resume(memory.id, others).fork(others)
    expect(fork.id).not.toBe(memory.id)
    fork.remember("k", "forked")
    memory.heard("mine")
    rmSync(own, { recursive: true })
    const back = resume(fork.id, others)
    expect([back.recall("k"), back.prompts]).toEqual(["forked", ["shared"]])
    expect(readdirSync(others)).toEqual([basename(pathOf(fork))])
    // The one that it came from is gone: its forks begin with nothing.
    expect(resume(memory.id, others).fork(others).prompts).toEqual([])
  })

  it("is found where the data directory was moved or copied to, also by a fork, and what was copied stays", () => {
    const memory = Memory.begin(own)
    memory.heard("before")
    renameSync(join(root, "sessions"), join(root, "moved"))
    const moved = resume(memory.id, join(root, "moved", "ses_1"))
    expect(moved.prompts).toEqual(["before"])
    moved.heard("after")
    expect(existsSync(own)).toBe(false)
    mkdirSync(join(root, "moved", "ses_2"))
    expect(resume(memory.id, join(root, "moved", "ses_2")).prompts).toEqual(["before", "after"])
    mkdirSync(own, { recursive: true })
    writeFileSync(pathOf(memory), '{"prompt":"original"}\n')
    expect(resume(memory.id, join(root, "moved", "ses_1")).prompts).toEqual(["before", "after"])
    expect(resume(memory.id, own).prompts).toEqual(["original"])
  })

  it("keeps nothing without a directory, and goes on with nothing", () => {
    const memory = Memory.begin(null)
    memory.remember("k", "v")
    memory.heard("x")
    expect([memory.recall("k"), memory.prompts]).toEqual(["v", ["x"]])
    const again = resume(memory.id, null)
    expect([again.id, again.recall("k"), again.prompts]).toEqual([memory.id, undefined, []])
    const forked = memory.fork(null)
    expect([forked.recall("k"), forked.prompts]).toEqual(["v", ["x"]])
    expect(readdirSync(root)).toEqual(["sessions"])
  })

  it("takes no other file for a conversation", () => {
    const id = (path: string) => Buffer.from(path).toString("base64url")
    const name = "demo-0123456789abcdef.jsonl"
    for (const path of ["", "/etc/passwd", `${own}/demo-x.jsonl`, `x/${name}`, `../${name}`, `${own}/${name}/..`]) {
      expect(Memory.resume(id(path), own)).toBeUndefined()
    }
    expect(Memory.resume("not an id", own)).toBeUndefined()
    expect(Memory.resume(id(`${own}/${name}`), own)?.prompts).toEqual([])
    expect(readdirSync(own)).toEqual([])
  })

  it("says what is wrong where it cannot be kept, and knows the prompt all the same", () => {
    const inTheWay = join(root, "file")
    writeFileSync(inTheWay, "")
    const memory = Memory.begin(join(inTheWay, "below"))
    expect(() => memory.remember("k", "v")).toThrow(/ENOTDIR/)
    expect(memory.recall("k")).toBeUndefined()
    expect(() => memory.heard("x")).toThrow(/ENOTDIR/)
    expect(memory.prompts).toEqual(["x"])
  })

  it("reads what it may not write", () => {
    const memory = Memory.begin(own)
    memory.heard("x")
    appendFileSync(pathOf(memory), "half")
    chmodSync(own, 0o500)
    try {
      expect(resume(memory.id).prompts).toEqual(["x"])
    } finally {
      chmodSync(own, 0o700)
    }
  })
})

describe("a memory's directory", () => {
  const session = { CRECHE_SESSION: "ses_1" }

  it("is the working directory where that is the session's own, else its TMPDIR, else none", () => {
    expect(ownDirectory({ ...session, TMPDIR: "/d/tmp/ses_1" }, "/d/sessions/ses_1")).toBe("/d/sessions/ses_1")
    expect(ownDirectory({ ...session, TMPDIR: "/d/tmp/ses_1" }, "/home/me")).toBe("/d/tmp/ses_1")
    expect(ownDirectory({ ...session, TMPDIR: "/tmp" }, "/home/me")).toBeNull()
    expect(ownDirectory({ ...session, TMPDIR: "ses_1" }, "/home/me")).toBeNull()
    expect(ownDirectory({ TMPDIR: "/tmp" }, "/d/sessions/ses_1")).toBeNull()
    expect(ownDirectory({ CRECHE_SESSION: "", TMPDIR: "/" }, "/")).toBeNull()
  })

  it("is DEMO_MEMORY before all, from the working directory on", () => {
    expect(ownDirectory({ ...session, DEMO_MEMORY: "/m" }, "/d/sessions/ses_1")).toBe("/m")
    expect(ownDirectory({ DEMO_MEMORY: "m" }, "/home/me")).toBe("/home/me/m")
    expect(ownDirectory({ ...session, DEMO_MEMORY: "" }, "/d/sessions/ses_1")).toBe("/d/sessions/ses_1")
  })
})
