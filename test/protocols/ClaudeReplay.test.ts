/** Claude Code as it was recorded, replayed by a fake CLI to a real runtime. The fake one ends with 97 on what was not told then. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import type { Client, WireEntry, WireTurn } from "../../src/client/index.ts"
import { eventually } from "../acceptance/Processes.ts"
import { ServedRuntime } from "../acceptance/ServedRuntime.ts"
import { heardOf, of, recorded, said } from "./ClaudeSteps.ts"

const fixtures = fileURLToPath(new URL("../fixtures/agents/", import.meta.url))

let directory = ""
let runtime: ServedRuntime
let client: Client
let session = ""
let count = 0

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-claude-"))
  runtime = new ServedRuntime(directory)
  client = await runtime.connect()
})
afterAll(async () => {
  expect(await client.request("runtime/shutdown", {})).toEqual({ survivors: [] })
  await client.close()
  await runtime.ended
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})
beforeEach(() => {
  session = `s${++count}`
})

const start = (...names: ReadonlyArray<string>) =>
  client.start({
    name: session,
    command: process.execPath,
    args: [join(fixtures, "replay.ts"), ...names.map((name) => join(fixtures, "claude", `${name}.jsonl`)), "--"],
    protocol: "claude",
    restart: "temporary",
  })
type Prompt = Parameters<Client["ask"]>[0]["prompt"]
const ask = (prompt: Prompt): Promise<WireTurn> => client.ask({ session, prompt, timeoutMs: 20_000 })
const tell = (prompt: Prompt): Promise<WireTurn> => client.tell({ session, prompt })
const get = () => client.request("session/get", { session })
const wait = (turn: WireTurn): Promise<WireTurn> => client.request("turn/wait", { turn: turn.id, timeoutMs: 20_000 })
const entries = async (types: ReadonlyArray<WireEntry["type"]>, turn?: WireTurn): Promise<ReadonlyArray<WireEntry>> => {
  const query = { session, types, limit: 1000, ...(turn === undefined ? {} : { turn: turn.id }) }
  return (await client.request("session/transcript", query)).entries
}
/** The request that the agent waits with; fails where its process is gone instead. */
const request = async () => {
  await eventually("it asks", async () => (await get()).pendingRequests.length > 0)
  return (await get()).pendingRequests[0]!
}
const answer = async (outcome: string, result?: unknown): Promise<void> => {
  const { request: id } = await request()
  await client.request("session/answer", {
    session,
    request: id,
    outcome,
    ...(result === undefined ? {} : { result }),
  } as never)
}

describe("the recorded Claude Code", () => {
  it("answers, thinks, uses a tool, fails and goes on, in one process", async () => {
    const { pid } = await start("turns")
    expect(await ask("the first")).toMatchObject({ status: "completed", text: "heard: the first" })
    const thoughtful = await ask("think of numbers")
    expect(thoughtful).toMatchObject({ status: "completed", text: "thought it over", stopReason: "end_turn" })
    expect(await entries(["turn/thought"], thoughtful)).toMatchObject([{ text: "of numbers" }])
    const counted = await ask("count 6 5")
    expect(counted.text).toBe("1 2 3 4 5 6 ")
    expect((await entries(["turn/delta"], counted)).map((entry) => "text" in entry && entry.text)).toEqual([
      "1 ",
      "2 ",
      "3 ",
      "4 ",
      "5 ",
      "6 ",
    ])
    const ran = await ask("run echo hi")
    expect(ran.text).toBe("a tool: \n\nran: hi")
    expect(await entries(["turn/tool"], ran)).toMatchObject([
      { name: "Bash", input: { command: "echo hi" }, status: "in_progress" },
      { name: "Bash", output: "hi", status: "completed" },
    ])
    expect(await ask("fail 400")).toMatchObject({
      status: "failed",
      text: "",
      error: { tag: "AgentError", apiStatus: 400 },
    })
    const last = await ask([
      { type: "text", text: "look at this" },
      { type: "resource", name: "dot.png", mimeType: "image/png", data: dot() },
      { type: "resource", name: "notes.txt", mimeType: "text/plain", data: "some notes" },
    ])
    expect(last.status).toBe("completed")
    expect(await get()).toMatchObject({ pid, incarnation: 1, status: "ready", agentSessionId: expect.any(String) })
    const costs = [counted, ran, thoughtful].map(({ usage }) => usage?.["costUsd"] ?? 0)
    expect(costs[1]).toBeCloseTo(2 * costs[0]!, 9)
    expect(costs[2]).toBeCloseTo(costs[0]!, 9)
  })

  it("asks for leave, and is allowed, denied, answered, interrupted and allowed for good", async () => {
    await start("permissions")
    let turn = await tell("run touch allowed")
    expect(await request()).toMatchObject({ tool: "Bash", input: { command: "touch allowed" } })
    await answer("allow")
    expect(await wait(turn)).toMatchObject({ status: "completed" })
    turn = await tell("run touch denied")
    await answer("deny", "not today")
    expect(await wait(turn)).toMatchObject({ status: "completed", text: "a tool: \n\nran: not today" })
    const options = ["Red", "Blue"].map((label) => ({ label, description: label }))
    const questions = [{ question: "Which?", header: "Colour", multiSelect: false, options }]
    turn = await tell(`use AskUserQuestion ${JSON.stringify({ questions })}`)
    await answer("allow", { answers: { "Which?": "Blue" } })
    expect((await wait(turn)).text).toContain('"Which?"="Blue"')
    turn = await tell("run touch withdrawn")
    await request()
    await client.request("session/cancel", { session })
    expect(await wait(turn)).toMatchObject({ status: "cancelled" })
    expect((await get()).pendingRequests).toEqual([])
    turn = await tell("run touch always")
    expect((await request()).options).toMatchObject([{ id: "allow" }, { id: "allow_always" }, { id: "deny" }])
    await answer("allow_always")
    expect(await wait(turn)).toMatchObject({ status: "completed" })
    expect(await ask("run touch always")).toMatchObject({ status: "completed" })
    expect(await entries(["permission/requested"])).toHaveLength(5)
    expect(await get()).toMatchObject({ incarnation: 1, status: "ready" })
  })

  it("is interrupted in the middle of an answer, and answers again", async () => {
    await start("interrupt")
    const turn = await tell("count 1000 20")
    await eventually("it answers", async () => (await entries(["turn/delta"], turn)).length >= 4)
    await client.request("session/cancel", { session })
    const { status, text } = await wait(turn)
    expect(status).toBe("cancelled")
    expect(text).toMatch(/^1 2 3 4 /)
    expect(await ask("after")).toMatchObject({ status: "completed", text: "heard: after" })
  })

  it("is resumed after it was suspended, under the same id", async () => {
    await start("resumed", "once")
    expect(await ask("hello")).toMatchObject({ text: "hello yourself" })
    const { agentSessionId } = await get()
    await client.request("session/suspend", { session })
    expect((await ask("recall")).text).toMatch(/^the first \| /)
    expect(await get()).toMatchObject({ agentSessionId, incarnation: 2 })
  })

  it("is forked under an id of its own", async () => {
    await start("forked", "once")
    await ask("hello")
    const parent = await get()
    const fork = await client.request("session/fork", { session, name: "fork" })
    expect(fork.name).toBe("fork")
    expect((await client.ask({ session: "fork", prompt: "recall" })).text).toMatch(/^the first \| /)
    const child = await client.request("session/get", { session: "fork" })
    expect(child.agentSessionId).not.toBeNull()
    expect(child.agentSessionId).not.toBe(parent.agentSessionId)
  })

  it("that knows no such conversation says so in the failed start", async () => {
    const args = [join(fixtures, "replay.ts"), join(fixtures, "claude", "unknown.jsonl"), "--"]
    const spec = {
      name: session,
      command: process.execPath,
      args,
      protocol: { type: "claude", resume: "gone" },
    } as const
    await expect(client.start(spec)).rejects.toMatchObject({
      tag: "NotReady",
      message: expect.stringContaining("No conversation found"),
    })
  })

  it("keeps a turn of its own apart from what it is asked meanwhile", () => {
    const prompts = recorded("aside").filter(
      ({ dir, data }) => dir === "in" && (data as { type: string }).type === "user",
    )
    expect(prompts).toHaveLength(2)
    // The pure steps, over a recording where the second prompt came while the CLI spoke on its own.
    const events = heardOf("aside")
    expect(of(events, "ended").map(({ text }) => text)).toEqual([
      expect.stringMatching(/^a tool: /),
      "heard: meanwhile",
    ])
    expect(said(events)).not.toContain("a task has ended")
    expect(JSON.stringify(of(events, "native"))).toContain("a task has ended")
  })
})

function dot(): string {
  for (const { dir, data } of recorded("turns")) {
    const content = (data as { message?: { content?: unknown } }).message?.content
    if (dir !== "in" || !Array.isArray(content)) continue
    const image = (content as ReadonlyArray<{ type: string; source?: { data: string } }>).find(
      ({ type }) => type === "image",
    )
    if (image?.source !== undefined) return image.source.data
  }
  throw new Error("no picture was recorded")
}
