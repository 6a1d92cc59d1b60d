import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { run as runPs } from "../../src/cli/commands/ps.ts"
import type { Io } from "../../src/cli/Io.ts"
import { fastParse } from "../../src/cli/FastParse.ts"
import type { Invocation } from "../../src/cli/Commands.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { makeStub } from "../transport/StubRuntime.ts"
import { Home } from "./Cli.ts"

/** 100,000 sessions, and one of 100,000 entries of which its ring holds 10,000: more than fits into the heap that the CLI gets here. */
const many = 100_000
const smallHeap = { NODE_OPTIONS: "--max-old-space-size=40" }

const home = new Home()
const directory = mkdtempSync(join(tmpdir(), "creche-many-"))
const socket = join(directory, "s")
const scope = Scope.makeUnsafe()
const pages = { asked: 0 }

beforeAll(async () => {
  const stub = makeStub({ total: many, text: "x".repeat(1000), ring: 10_000, gone: 0 })
  stub.session({ name: "flood" })
  for (let n = 1; n < many; n++) stub.session({ name: `s${n}` })
  const { list } = stub.service
  const counted: typeof stub.service = Object.assign(stub.service, {
    list: (query: Parameters<typeof list>[0]) => {
      pages.asked++
      return list(query)
    },
  })
  // What is there now, as `session/get` tells it.
  const { get } = counted
  Object.assign(counted, { get: (name: string) => Effect.map(get(name), (found) => ({ ...found, seq: many })) })
  await Effect.runPromise(
    UnixSocket.serve({ path: socket, closeMs: 50 }).pipe(Scope.provide(scope), Effect.provide(stub.layer)),
  )
})
afterAll(async () => {
  await home.dispose()
  await Effect.runPromise(Scope.close(scope, Exit.void))
  rmSync(directory, { recursive: true, force: true })
})

const lineCount = (text: string) => text.split("\n").length - 1

describe("100,000 records", () => {
  it("are listed in a heap that could not hold them, each once", async () => {
    const listed = await home.run(["ps", "-q", "--socket", socket], { env: smallHeap })
    expect(listed).toMatchObject({ code: 0, stderr: "" })
    expect(lineCount(listed.stdout)).toBe(many)
    expect(new Set(listed.stdout.split("\n")).size).toBe(many + 1)
  })

  it("are listed page by page: no page is asked for before the one before was written", async () => {
    let release!: () => void
    const held = new Promise<void>((resolve) => (release = resolve))
    const first: Array<string> = []
    let wrote!: () => void
    const written = new Promise<void>((resolve) => (wrote = resolve))
    const io: Io = {
      stdout: async (text) => {
        first.push(text)
        wrote()
        await held
      },
      stderr: () => {},
      stdin: async () => "",
      env: {},
      cwd: directory,
      terminal: false,
      colours: false,
      onInterrupt: () => {},
    }
    pages.asked = 0
    const listing = runPs(fastParse(["ps", "--limit", "1200", "--socket", socket]) as Invocation<"ps">, io)
    await written
    expect(first.join("")).toMatch(/^NAME +STATUS/)
    expect(pages.asked).toBe(1)
    release()
    expect(await listing).toBe(0)
    expect(pages.asked).toBe(3)
    expect(lineCount(first.join(""))).toBe(1201)
  })

  it("are asked for no longer than their reader reads", async () => {
    pages.asked = 0
    const reading = home.spawn(["ps", "-q", "--socket", socket])
    reading.child.stdout!.once("data", () => reading.child.stdout!.destroy())
    expect(await reading.ended).toMatchObject({ code: 0, stderr: "" })
    expect(pages.asked).toBeLessThan(many / 500)
  })

  it.each(["ndjson", "markdown"])("are exported as %s in a heap that could not hold them", async (format) => {
    const output = join(directory, format)
    const exported = await home.run(
      ["export", "flood", "--format", format, "--output", output, "--json", "--socket", socket],
      { env: smallHeap },
    )
    expect(exported).toMatchObject({ code: 0, stderr: "" })
    expect(JSON.parse(exported.stdout)).toMatchObject({ entries: many })
    if (format === "ndjson") expect(statSync(output).size).toBeGreaterThan(many * 1000)
  })

  it("are printed by logs --all in a heap that could not hold them, and without --all from the ring on", async () => {
    const all = await home.run(["logs", "--all", "flood", "--socket", socket], { env: smallHeap })
    expect(all).toMatchObject({ code: 0, stderr: "" })
    expect(lineCount(all.stdout)).toBe(many)
    const kept = await home.run(["logs", "flood", "--socket", socket])
    expect(lineCount(kept.stdout)).toBe(10_000)
    expect(kept.stderr).toContain("entries 1 to 90000 ")
  })
})
