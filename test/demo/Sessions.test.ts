/** The demo agent as sessions of a runtime: its memory through suspension, deaths and forks, and what stays of it. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime } from "../../src/index.ts"

let root: string
let dataDirectory: string
let runtime: EmbeddedRuntime
let runtimes: Array<EmbeddedRuntime> = []
let children: Array<ChildProcess> = []

const open = async () => {
  runtime = await openRuntime({ dataDirectory })
  runtimes.push(runtime)
}
beforeEach(async () => {
  root = mkdtempSync(join(realpathSync(tmpdir()), "creche-remember-"))
  dataDirectory = join(root, "data")
  mkdirSync(dataDirectory)
})
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill("SIGKILL")
    await once(child, "exit")
  }
  await Promise.all(runtimes.map((each) => each.close()))
  runtimes = []
  children = []
  rmSync(root, { recursive: true, force: true })
})

const answer = async (session: string, prompt: string) => {
  const { status, text, error } = await runtime.ask(session, prompt)
  expect({ status, error }).toEqual({ status: "completed", error: null })
  return text
}

/** Every path that a session still has below the data directory. */
const left = (): ReadonlyArray<string> =>
  ["sessions", "tmp"].flatMap((parent) => {
    const path = join(dataDirectory, parent)
    return existsSync(path) ? readdirSync(path).map((name) => `${parent}/${name}`) : []
  })

describe("a demo session", () => {
  it("remembers through suspension, restart, its own kill -9, and the end of the runtime", async () => {
    await open()
    await runtime.start({ name: "a", template: "demo" })
    await answer("a", "/remember k v")
    const { agentSessionId } = await runtime.get("a")
    await runtime.suspend("a")
    expect(await answer("a", "/recall k")).toBe("v")
    await runtime.restart("a")
    expect(await answer("a", "/recall k")).toBe("v")
    expect(await runtime.ask("a", "/kill")).toMatchObject({ status: "failed" })
    expect(await answer("a", "/recall k")).toBe("v")
    await runtime.close()
    await open()
    expect(await answer("a", "/recall k")).toBe("v")
    expect(await runtime.get("a")).toMatchObject({ agentSessionId, forkedFrom: null })
    expect(await answer("a", "/history")).toBe(
      ["/remember k v", "/recall k", "/recall k", "/kill", "/recall k", "/recall k"].join("\n"),
    )
    await runtime.remove("a")
    expect(left()).toEqual([])
  })

  it("remembers what it answered before the runtime was killed with SIGKILL", async () => {
    const script = `
      const { openRuntime } = await import(process.argv[1])
      const runtime = await openRuntime({ dataDirectory: process.argv[2] })
      await runtime.start({ name: "a", template: "demo" })
      await runtime.ask("a", "/remember k v")
      console.log(JSON.stringify(await runtime.get("a")))
      setInterval(() => {}, 1000)`
    const args = [
      "--input-type=module",
      "-e",
      script,
      new URL("../../src/index.ts", import.meta.url).href,
      dataDirectory,
    ]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    children.push(child)
    const died = once(child, "exit").then(([code]) => [JSON.stringify({ died: code })])
    const [line = ""] = await Promise.race([once(createInterface({ input: child.stdout }), "line"), died])
    const before = JSON.parse(line) as { readonly id: string; readonly agentSessionId: string }
    expect(before.agentSessionId).toMatch(/^[\w-]+$/)
    child.kill("SIGKILL")
    await died
    await open()
    expect(await answer("a", "/recall k")).toBe("v")
    expect(await runtime.get("a")).toMatchObject({ id: before.id, agentSessionId: before.agentSessionId })
  })

  it("is forked into one that knows the same and goes its own way, also when the first is removed", async () => {
    await open()
    await runtime.start({ name: "a", template: "demo" })
    await answer("a", "/remember k shared")
    await runtime.fork("a", "b")
    expect(await answer("b", "/recall k")).toBe("shared")
    await answer("b", "/remember k forked")
    expect(await answer("a", "/recall k")).toBe("shared")
    const [a, b] = [await runtime.get("a"), await runtime.get("b")]
    expect(b).toMatchObject({ forkedFrom: null, agentSessionId: expect.any(String) })
    expect(b.agentSessionId).not.toBe(a.agentSessionId)
    await runtime.remove("a")
    await runtime.restart("b")
    expect(await answer("b", "/recall k")).toBe("forked")
    await runtime.remove("b")
    expect(left()).toEqual([])
  })

  it("that works in a directory of the caller's leaves nothing there", async () => {
    await open()
    const cwd = join(root, "project")
    mkdirSync(cwd)
    const { id } = await runtime.start({ name: "a", template: "demo", cwd })
    expect(left()).toEqual([`tmp/${id}`])
    await answer("a", "/remember k v")
    expect(await runtime.ask("a", "/kill")).toMatchObject({ status: "failed" })
    expect(await answer("a", "/recall k")).toBe("v")
    await runtime.remove("a")
    expect([readdirSync(cwd), left()]).toEqual([[], []])
  })
})

describe("a session's TMPDIR", () => {
  it("is its own, also with a cwd, unless its env says otherwise", async () => {
    await open()
    const a = await runtime.start({ name: "a", template: "demo" })
    const own = join(dataDirectory, "tmp", a.id)
    expect(await answer("a", "/env TMPDIR")).toBe(own)
    writeFileSync(join(own, "kept"), "")
    await runtime.suspend("a")
    expect(await answer("a", "/env TMPDIR")).toBe(own)
    expect(readdirSync(own)).toEqual(["kept"])
    const b = await runtime.start({ name: "b", template: "demo", cwd: root, inheritEnv: "all" })
    expect(await answer("b", "/env TMPDIR")).toBe(join(dataDirectory, "tmp", b.id))
    await runtime.start({ name: "c", template: "demo", env: { TMPDIR: root } })
    expect(await answer("c", "/env TMPDIR")).toBe(root)
    await runtime.start({ name: "d", template: "demo", env: { TMPDIR: null }, inheritEnv: "all" })
    expect(await answer("d", "/env TMPDIR")).toBe("TMPDIR is not set")
    for (const name of ["a", "b", "c", "d"]) await runtime.remove(name)
    expect(left()).toEqual([])
  })

  it("is gone with its session, whatever the child put in its place, and nothing outside is", async () => {
    await open()
    const outside = join(root, "outside")
    mkdirSync(join(outside, "deep"), { recursive: true })
    writeFileSync(join(outside, "deep", "precious"), "")
    const script = `d=$(pwd); cd /; rm -rf "$d" "$TMPDIR"; ln -s "$0" "$d"; ln -s "$0/" "$TMPDIR"; exec cat`
    await runtime.start({ name: "a", command: "/bin/sh", args: ["-c", script, outside] })
    expect(await answer("a", "planted")).toBe("planted")
    // A new process gets directories again.
    await runtime.restart("a")
    expect(await answer("a", "again")).toBe("again")
    await runtime.remove("a")
    expect([left(), readdirSync(join(outside, "deep"))]).toEqual([[], ["precious"]])
  })

  it("is swept by the next runtime where no record speaks of it, and kept where one does", async () => {
    await open()
    const { id } = await runtime.start({ name: "a", template: "demo" })
    await answer("a", "/remember k v")
    await runtime.close()
    for (const parent of ["sessions", "tmp"]) {
      mkdirSync(join(dataDirectory, parent, "ses_left"))
      symlinkSync(root, join(dataDirectory, parent, "ses_link"))
    }
    await open()
    expect(left().toSorted()).toEqual([`sessions/${id}`, `tmp/${id}`])
    expect(await answer("a", "/recall k")).toBe("v")
  })
})
