/** Sessions of a recorded Codex in a runtime: what the protocol and the session make of it together. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime } from "../../src/index.ts"
import { eventually } from "../acceptance/Processes.ts"

const fixtures = new URL("../fixtures/agents/codex/", import.meta.url).pathname

describe("a session with a recorded Codex", () => {
  let runtime: EmbeddedRuntime
  let directory: string
  let count = 0
  let name: string
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "creche-codex-"))
    runtime = await openRuntime({ dataDirectory: join(directory, "data") })
  })
  afterAll(async () => {
    expect((await runtime.close()).survivors).toEqual([])
    rmSync(directory, { recursive: true })
  })
  beforeEach(() => {
    name = `codex-${++count}`
  })
  afterEach(async () => {
    for (const session of (await runtime.list()).sessions) await runtime.remove(session.name)
  })

  const start = (...recordings: ReadonlyArray<string>) =>
    runtime.start({
      name,
      cwd: directory,
      command: process.execPath,
      args: [
        join(fixtures, "incarnations.ts"),
        join(directory, `${name}.lives`),
        ...recordings.map((recording) => join(fixtures, `${recording}.jsonl`)),
        "--",
      ],
      protocol: "codex",
      backoff: { initialMs: 1 },
    })
  const request = async () => {
    await eventually("it asks", async () => (await runtime.get(name)).pendingRequests.length > 0)
    return (await runtime.get(name)).pendingRequests[0]!
  }

  it("answers, and knows its thread once it ran something", async () => {
    expect(await start("conversation.1")).toMatchObject({ status: "ready", agentSessionId: null })
    expect(await runtime.ask(name, "hello")).toMatchObject({
      status: "completed",
      text: "heard: hello",
      usage: { inputTokens: 6, outputTokens: 5, cacheReadTokens: 4 },
    })
    expect((await runtime.get(name)).agentSessionId).toMatch(/^[0-9a-f-]{36}$/)
    const { text, id } = await runtime.ask(name, "count 12 5")
    const { entries } = await runtime.transcript(name, { turn: id, types: ["turn/delta"] })
    expect(entries.map((entry) => (entry.type === "turn/delta" ? entry.text : "")).join("")).toBe(text)
  })

  it("goes on with its thread after its process was killed in the middle of an answer", async () => {
    const { pid } = await start("killed.1", "killed.2")
    await runtime.ask(name, "remember me")
    const { agentSessionId } = await runtime.get(name)
    const turn = await runtime.tell(name, "count 500 20")
    const deltas = async () => (await runtime.transcript(name, { turn: turn.id, types: ["turn/delta"] })).entries
    await eventually("it answers", async () => (await deltas()).length > 2)
    process.kill(pid!, "SIGKILL")
    expect(await runtime.wait(turn.id)).toMatchObject({ status: "failed", error: { tag: "ProcessExited" } })
    expect(await runtime.ask(name, "recall")).toMatchObject({ text: "remember me | count 500 20 | recall" })
    expect(await runtime.get(name)).toMatchObject({ agentSessionId, incarnation: 2 })
  })

  it("is suspended, and wakes in its thread", async () => {
    await start("forked.1", "forked.3")
    await runtime.ask(name, "the trunk")
    await runtime.suspend(name)
    expect(await runtime.ask(name, "recall")).toMatchObject({ text: "the trunk | recall" })
  })

  it("is forked into a thread of its own", async () => {
    await start("forked.1", "forked.2")
    await runtime.ask(name, "the trunk")
    const fork = await runtime.fork(name, `${name}-branch`)
    expect(await runtime.ask(fork.name, "the branch")).toMatchObject({ text: "heard: the branch" })
    expect(await runtime.ask(fork.name, "recall")).toMatchObject({ text: "the trunk | the branch | recall" })
    expect((await runtime.get(fork.name)).agentSessionId).not.toBe((await runtime.get(name)).agentSessionId)
  })

  it("does not begin another conversation where its own is gone: it says so", async () => {
    const resume = "01a1fde9-5a27-7623-9fdf-43fdffbd6f8e"
    const args = [join(fixtures, "../replay.ts"), join(fixtures, "unknown.1.jsonl"), "--"]
    await expect(
      runtime.start({ name, cwd: directory, command: process.execPath, args, protocol: { type: "codex", resume } }),
    ).rejects.toMatchObject({
      _tag: "NotReady",
      message: expect.stringContaining(`cannot go on with the conversation ${resume}: no rollout found`),
    })
  })

  it("asks its client for leave, which a client gives by a word or by an option", async () => {
    await start("permissions.1")
    const asked = async (prompt: string, outcome: string) => {
      const turn = await runtime.tell(name, prompt)
      const { request: id, tool, input } = await request()
      expect(tool).toBe("shell")
      expect(input).toMatchObject({ command: prompt.replace("run escalated ", "") })
      await runtime.answer(name, id, outcome)
      return await runtime.wait(turn.id)
    }
    expect(await asked("run escalated echo once", "allow")).toMatchObject({ status: "completed" })
    expect(await asked("run escalated echo never", "deny")).toMatchObject({ status: "completed" })
    expect(await asked("run escalated echo stop", "cancel")).toMatchObject({ status: "cancelled" })
    expect(await asked("run escalated echo always", "allow_always")).toMatchObject({ status: "completed" })
    expect(await runtime.ask(name, "run escalated echo always")).toMatchObject({ status: "completed" })
    const { entries } = await runtime.transcript(name, { types: ["permission/resolved"] })
    expect(entries).toHaveLength(4)
  })

  it("is asked nothing where a rule decides by the command", async () => {
    const args = [join(fixtures, "../replay.ts"), join(fixtures, "permissions.1.jsonl"), "--"]
    const rules = [
      { tool: "shell", input: { command: "echo once" }, decision: "allow" as const },
      { tool: "shell", input: { command: "echo n*" }, decision: "deny" as const },
    ]
    const spec = { name, cwd: directory, command: process.execPath, args, permissions: { rules } }
    await runtime.start({ ...spec, protocol: "codex" })
    expect(await runtime.ask(name, "run escalated echo once")).toMatchObject({ status: "completed" })
    expect((await runtime.ask(name, "run escalated echo never")).text).toMatch(/rejected by user/)
  })

  it("is cancelled while it waits for leave, and answers again", async () => {
    await start("cancelled-while-asking.1")
    const turn = await runtime.tell(name, "run escalated echo unheard")
    await request()
    await runtime.cancel(name)
    expect(await runtime.wait(turn.id)).toMatchObject({ status: "cancelled" })
    expect((await runtime.get(name)).pendingRequests).toEqual([])
    expect(await runtime.ask(name, "recall")).toMatchObject({ text: "run escalated echo unheard | recall" })
  })
})
