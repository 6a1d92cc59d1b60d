/** Files that an ACP agent has read and written by creche: an agent over the official SDK, through a whole runtime. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime, type SessionSpecInput, type Turn } from "../../src/index.ts"
import { eventually } from "../acceptance/Processes.ts"

const agent = new URL("../fixtures/agents/acp/sdkAgent.ts", import.meta.url).pathname

interface Outcome {
  readonly result?: { readonly content?: string }
  readonly code?: number
  readonly message?: string
}
type Request = readonly [method: string, params: Readonly<Record<string, unknown>>]

const read = (path: string, more: object = {}): Request => ["fs/read_text_file", { path, ...more }]
const write = (path: string, content: string): Request => ["fs/write_text_file", { path, content }]

describe("files of an ACP agent", () => {
  let runtime: EmbeddedRuntime
  let directory: string
  let cwd: string
  let count = 0
  let name: string
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "creche-acp-files-"))
    runtime = await openRuntime()
  })
  afterAll(async () => {
    expect((await runtime.close()).survivors).toEqual([])
    rmSync(directory, { recursive: true, maxRetries: 5 })
  })
  beforeEach(() => {
    name = `files-${++count}`
    cwd = join(directory, name)
    mkdirSync(cwd)
  })

  const start = (files?: "read" | "write", fields: SessionSpecInput = {}) =>
    runtime.start({
      name,
      command: process.execPath,
      args: [agent],
      cwd,
      protocol: files === undefined ? "acp" : { type: "acp", files },
      backoff: { initialMs: 10 },
      ...fields,
    })
  const outcomesOf = ({ status, text, error }: Turn): ReadonlyArray<Outcome> => {
    if (status !== "completed") throw new Error(`the turn ended as ${status}: ${error?.message}`)
    return JSON.parse(text) as ReadonlyArray<Outcome>
  }
  const ask = async (...requests: ReadonlyArray<Request>) =>
    outcomesOf(await runtime.ask(name, JSON.stringify(requests), { timeoutMs: 30_000 }))
  const request = async () => {
    await eventually("it asks", async () => (await runtime.get(name)).pendingRequests.length > 0)
    return (await runtime.get(name)).pendingRequests[0]!
  }
  const tools = async () => {
    const { entries } = await runtime.transcript(name, { types: ["turn/tool"], limit: 1000 })
    return entries.flatMap((entry) => (entry.type === "turn/tool" ? [entry] : []))
  }

  it("are offered and served only as far as the spec says, and everything is by the official schemas", async () => {
    for (const [files, readTextFile, writeTextFile] of [
      [undefined, false, false],
      ["read", true, false],
      ["write", true, true],
    ] as const) {
      await start(files)
      const said = await runtime.ask(name, "capabilities", { timeoutMs: 30_000 })
      expect(JSON.parse(said.text)).toMatchObject({ fs: { readTextFile, writeTextFile }, terminal: false })
      writeFileSync(join(cwd, "a"), "one\n")
      const [one, other] = await ask(read(join(cwd, "a")), write(join(cwd, "b"), "two\n"))
      expect(one).toMatchObject(readTextFile ? { result: { content: "one\n" } } : { code: -32601 })
      expect(other).toMatchObject(writeTextFile ? { result: {} } : { code: -32601 })
      expect(existsSync(join(cwd, "b"))).toBe(writeTextFile)
      await runtime.remove(name)
    }
  })

  it("are read whole or by lines, and what was done is in the transcript without what was in them", async () => {
    await start("write")
    const path = join(cwd, "deep", "er", "note.txt")
    const text = "first\nsecond é\u2028\nthird\n"
    expect(await ask(write(path, text))).toEqual([{ result: {} }])
    expect(readFileSync(path, "utf8")).toBe(text)
    const outcomes = await ask(
      read(path),
      read(path, { line: 2, limit: 1 }),
      read(path, { line: 3 }),
      read(path, { limit: 0 }),
      read(path, { line: 9 }),
    )
    expect(outcomes.map(({ result }) => result?.content)).toEqual([text, "second é\u2028\n", "third\n", "", ""])
    const [written, , part] = await tools()
    const name = "fs/write_text_file"
    expect(written).toMatchObject({ name, input: { path, bytes: Buffer.byteLength(text) }, status: "completed" })
    expect(part).toMatchObject({ name: "fs/read_text_file", input: { path, line: 2, limit: 1 }, output: { bytes: 13 } })
    expect(JSON.stringify(await tools())).not.toContain("second")
  })

  it("are no way out of the session's directory, and what is asked wrongly is refused with the reason", async () => {
    await start("write")
    const outside = join(directory, `outside-${name}`)
    writeFileSync(outside, "secret")
    symlinkSync(outside, join(cwd, "link"))
    symlinkSync("/etc", join(cwd, "etc"))
    const outcomes = await ask(
      read("/etc/passwd"),
      read(join(cwd, "..", `outside-${name}`)),
      read(join(cwd, "link")),
      read(join(cwd, "etc/passwd")),
      write(outside, "x"),
      write(join(cwd, "link"), "x"),
      write(join(cwd, "etc", "creche-test"), "x"),
      write(join(cwd, "..", "new"), "x"),
      read("relative"),
      read(join(cwd, "none")),
      read(join(cwd, "none"), { line: -1 }),
      read(join(cwd, "none"), { sessionId: "another" }),
      read(cwd),
    )
    expect(outcomes.map(({ code }) => code)).toEqual([
      ...Array.from({ length: 8 }, () => -32602),
      ...[-32602, -32002, -32602, -32602, -32603],
    ])
    expect(outcomes[0]?.message).toBe(`"/etc/passwd" is not below ${JSON.stringify(cwd)}`)
    expect(outcomes[9]?.message).toContain("is not there")
    expect(readFileSync(outside, "utf8")).toBe("secret")
    expect(existsSync("/etc/creche-test")).toBe(false)
    // The session is as good as before.
    expect(await ask(write(join(cwd, "a"), "x"), read(join(cwd, "a")))).toHaveLength(2)
  })

  it("are subject to the rules: what none speaks of is done, the others are denied or asked for", async () => {
    await start("write", {
      permissions: {
        default: "deny",
        rules: [
          { tool: "fs/*", input: { path: "*.secret" }, decision: "deny" },
          { tool: "fs/*", input: { path: `${cwd}/closed/*` }, decision: "deny" },
          { tool: "fs/write_text_file", input: { path: "*.md" }, decision: "ask" },
        ],
      },
    })
    writeFileSync(join(cwd, "my.secret"), "s")
    const [denied, done] = await ask(read(join(cwd, "my.secret")), write(join(cwd, "a.txt"), "a"))
    expect(denied).toMatchObject({ code: -32602, message: expect.stringContaining("is not allowed here") })
    expect(done).toEqual({ result: {} })
    mkdirSync(join(cwd, "closed"))
    const ways = ["/closed/x", "/a/../closed/x", "/./closed//x", "//closed/x", "/closed/../a/../closed/./x"]
    for (const answer of await ask(...ways.map((way) => write(`${cwd}${way}`, "x")))) {
      expect(answer).toMatchObject({ code: -32602, message: expect.stringContaining("is not allowed here") })
    }
    expect(existsSync(join(cwd, "closed", "x"))).toBe(false)
    for (const outcome of ["allow", "deny"] as const) {
      const path = join(cwd, `${outcome}.md`)
      const turn = await runtime.tell(name, JSON.stringify([write(path, "# hi")]))
      const open = await request()
      expect(open).toMatchObject({ tool: "fs/write_text_file", input: { path, content: "# hi" } })
      expect(existsSync(path)).toBe(false)
      await runtime.answer(name, open.request, outcome)
      const [answer] = outcomesOf(await runtime.wait(turn.id, 30_000))
      expect(answer).toMatchObject(outcome === "allow" ? { result: {} } : { code: -32602 })
      expect(existsSync(path)).toBe(outcome === "allow")
    }
  })

  it("that nobody allowed in time, or before the turn was cancelled, are not written", async () => {
    await start("write", { permissions: { timeoutMs: 200, rules: [{ tool: "fs/*", decision: "ask" }] } })
    const path = join(cwd, "late")
    expect(await ask(write(path, "x"))).toMatchObject([{ code: -32602 }])
    await runtime.remove(name)
    await start("write", { permissions: { rules: [{ tool: "fs/*", decision: "ask" }] } })
    const turn = await runtime.tell(name, JSON.stringify([write(path, "x")]))
    await request()
    await runtime.cancel(name)
    const ended = await runtime.wait(turn.id, 20_000)
    expect(ended).toMatchObject({ status: "cancelled", text: expect.stringContaining("-32800") })
    expect((await runtime.get(name)).pendingRequests).toEqual([])
    expect(existsSync(path)).toBe(false)
  })

  it("are bounded: in size, and in how many are asked for at once", async () => {
    await start("write")
    const big = "x".repeat(11 * 1024 * 1024)
    const path = join(cwd, "big")
    writeFileSync(path, `first\n${big}\nlast\n`)
    const [whole, some, written] = await ask(read(path), read(path, { limit: 1 }), write(join(cwd, "too-big"), big))
    expect(whole).toMatchObject({ code: -32602, message: expect.stringContaining("ask for fewer lines") })
    expect(some).toEqual({ result: { content: "first\n" } })
    expect(written).toMatchObject({ code: -32602, message: expect.stringContaining("is the most") })
    const many = await ask(...Array.from({ length: 200 }, () => read(path, { limit: 1 })))
    const done = many.filter(({ result }) => result?.content === "first\n").length
    expect(done).toBeGreaterThanOrEqual(64)
    expect(many.filter(({ message }) => message?.includes("at a time"))).toHaveLength(200 - done)
  })

  it("leave the next process alone when the one that asked is killed meanwhile", async () => {
    await start("write", { permissions: { rules: [{ tool: "fs/*", input: { path: "*asked" }, decision: "ask" }] } })
    const path = join(cwd, "asked")
    const { pid } = await runtime.get(name)
    const turn = await runtime.tell(name, JSON.stringify([write(path, "x")]))
    const open = await request()
    process.kill(pid!, "SIGKILL")
    expect(await runtime.wait(turn.id, 30_000)).toMatchObject({ status: "failed" })
    await expect(runtime.answer(name, open.request, "allow")).rejects.toThrow(open.request)
    expect(await ask(write(join(cwd, "other"), "y"))).toEqual([{ result: {} }])
    expect(existsSync(path)).toBe(false)
  })

  it("an agent that asks on and on and never reads an answer is given up, in bounded memory", async () => {
    const asks = `
      let id = 0
      const ask = () => {
        while (process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id: id++, method: "x".repeat(1 << 20) }) + "\\n"));
        process.stdout.once("drain", ask)
      }
      ask()`
    const args = ["--input-type=module", "-e", asks]
    await expect(start("read", { args, restart: "temporary", limits: { transcriptEntries: 10 } })).rejects.toThrow(
      /does not read its stdin/,
    )
  })
})
