/** How real children of each protocol are asked to end, in which order, and that one that listens to nothing is gone all the same. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime, type SessionSpecInput } from "../../src/index.ts"
import { eventually, isGone } from "./Processes.ts"

const child = fileURLToPath(new URL("../fixtures/politeChild.ts", import.meta.url))
const replay = fileURLToPath(new URL("../fixtures/agents/replay.ts", import.meta.url))
const recordings = fileURLToPath(new URL("../fixtures/agents/", import.meta.url))

let runtime: EmbeddedRuntime
let directory = ""
let names = 0
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-polite-"))
  runtime = await openRuntime()
})
afterAll(async () => {
  expect((await runtime.close()).survivors).toEqual([])
  rmSync(directory, { recursive: true, maxRetries: 5 })
})

type Protocol = "claude" | "codex" | "acp" | "lsp" | "mcp"

const start = async (protocol: Protocol, mode: "obey" | "ignore", fields: SessionSpecInput = {}) => {
  const name = `${protocol}-${++names}`
  const list = join(directory, name)
  writeFileSync(list, "")
  const { pid } = await runtime.start({
    name,
    command: process.execPath,
    args: [child, protocol, list, mode],
    protocol,
    ...fields,
  })
  const heard = () => readFileSync(list, "utf8").split("\n").filter(Boolean)
  const busy = async () => {
    const isRpc = protocol === "lsp" || protocol === "mcp"
    await runtime.tell(name, isRpc ? '{"method":"hang"}' : "work")
    await eventually("it has its prompt", () => heard().includes("prompt"))
  }
  return { name, pid: pid!, heard, busy }
}

describe.each([
  ["claude", ["interrupt", "eof"], ["eof"]],
  ["codex", ["interrupt", "eof"], ["eof"]],
  ["acp", ["cancel", "eof"], ["eof"]],
  ["lsp", ["shutdown", "exit"], ["shutdown", "exit"]],
  ["mcp", ["eof"], ["eof"]],
] as const)("a child of %s", (protocol, busySteps, idleSteps) => {
  it("that works is asked in its own words, and ends by itself", async () => {
    const { name, pid, heard, busy } = await start(protocol, "obey")
    await busy()
    expect(await runtime.stop(name)).toMatchObject({ status: "stopped", exit: { kind: "exited", code: 0 } })
    expect(isGone(pid)).toBe(true)
    expect(heard()).toEqual(["prompt", ...busySteps])
  })

  it("that does nothing is told only what is needed", async () => {
    const { name, pid, heard } = await start(protocol, "obey")
    expect(await runtime.suspend(name)).toMatchObject({ status: "suspended", exit: { kind: "exited", code: 0 } })
    expect(isGone(pid)).toBe(true)
    expect(heard()).toEqual(idleSteps)
  })

  it("that listens to nothing has met every step and the signal, and is gone after the grace", async () => {
    const { name, pid, heard, busy } = await start(protocol, "ignore", { shutdown: { graceMs: 2_000 } })
    await busy()
    expect(await runtime.stop(name)).toMatchObject({
      status: "stopped",
      exit: { kind: "killedByRuntime", signal: "SIGKILL" },
    })
    expect(isGone(pid)).toBe(true)
    // Its steps had half of the grace together: the first of two may have used up all of that.
    expect(heard()).toEqual(["prompt", ...busySteps.slice(0, 1), "SIGTERM"])
  })

  it("that listens to nothing is killed by a kill that comes meanwhile", async () => {
    const { name, pid, heard, busy } = await start(protocol, "ignore", { shutdown: { graceMs: 600_000 } })
    await busy()
    const stop = runtime.stop(name)
    await eventually("it is asked", () => heard().length > 1)
    await runtime.stop(name, "kill")
    expect((await stop).status).toBe("stopped")
    expect(isGone(pid)).toBe(true)
    expect(heard()).not.toContain("SIGTERM")
  })
})

it("a child that listens to no step of a long grace meets them all in their order", async () => {
  const { name, heard, busy } = await start("claude", "ignore", { shutdown: { graceMs: 5_000 } })
  await busy()
  const stop = runtime.stop(name)
  await eventually("it is signalled", () => heard().includes("SIGTERM"))
  await runtime.stop(name, "kill")
  await stop
  expect(heard()).toEqual(["prompt", "interrupt", "eof", "SIGTERM"])
})

/** The recorded CLI up to its answer to what interrupts it, and then the end of its stdin. */
const interruptedThenEnded = (recording: string, isOver: (line: string) => boolean): string => {
  const lines = readFileSync(join(recordings, recording), "utf8").split("\n").filter(Boolean)
  const interrupt = lines.findIndex((line) => /"interrupt"|turn\/interrupt|session\/cancel/.test(line))
  const last = lines.findIndex((line, at) => at > interrupt && isOver(line))
  expect(last).toBeGreaterThan(interrupt)
  const path = join(directory, `${++names}.jsonl`)
  writeFileSync(path, [...lines.slice(0, last + 1), '{"dir":"eof"}', '{"dir":"exit","code":0}', ""].join("\n"))
  return path
}

describe("a recorded CLI that is stopped in the middle of an answer", () => {
  it.each([
    ["claude", "claude/interrupt.jsonl", "count 1000 20", /"type":"result"|terminal_reason/],
    ["codex", "codex/interrupted.1.jsonl", undefined, /turn\/completed/],
    ["acp", "acp/interrupted.1.jsonl", undefined, /"stopReason":"cancelled"/],
  ] as const)("was interrupted and saw the end of its stdin: %s", async (protocol, recording, given, over) => {
    const path = interruptedThenEnded(recording, (line) => over.test(line))
    const prompt =
      given ??
      /"type":"text","text":"([^"]*)"/.exec(
        readFileSync(path, "utf8")
          .split("\n")
          .find((line) => /turn\/start"|session\/prompt"/.test(line))!,
      )![1]!
    const name = `recorded-${++names}`
    const cwd = mkdtempSync(join(directory, "cwd-"))
    const { pid } = await runtime.start({ name, command: process.execPath, args: [replay, path, "--"], protocol, cwd })
    const turn = await runtime.tell(name, prompt)
    const deltas = async () => (await runtime.transcript(name, { turn: turn.id, types: ["turn/delta"] })).entries
    await eventually("it answers", async () => (await deltas()).length > 2)
    // The replay ends with 97 where it is told anything else.
    expect(await runtime.stop(name)).toMatchObject({ status: "stopped", exit: { kind: "exited", code: 0 } })
    expect(isGone(pid!)).toBe(true)
    expect(await runtime.turn(turn.id)).toMatchObject({ status: "cancelled", stopReason: "stopped" })
  })
})
