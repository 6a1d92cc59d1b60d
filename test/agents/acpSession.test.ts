/** ACP agents through a whole runtime, with an agent of our own that has the habits of others. Nothing to install. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime, type SessionSpecInput, type Turn } from "../../src/index.ts"
import { eventually, isGone, pidsWithArgument } from "../acceptance/Processes.ts"

const agent = new URL("../fixtures/agents/acp/agent.ts", import.meta.url).pathname

describe("a session with an ACP agent", () => {
  let runtime: EmbeddedRuntime
  let directory: string
  let count = 0
  let name: string
  let store: string
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "creche-acp-"))
    runtime = await openRuntime()
  })
  afterAll(async () => {
    expect((await runtime.close()).survivors).toEqual([])
    rmSync(directory, { recursive: true, maxRetries: 5 })
  })
  beforeEach(() => {
    name = `acp-${++count}`
    store = join(directory, name)
  })

  const start = (flags: ReadonlyArray<string> = [], fields: SessionSpecInput = {}) =>
    runtime.start({
      name,
      command: process.execPath,
      args: [agent, "--store", store, ...flags],
      protocol: "acp",
      backoff: { initialMs: 10 },
      ...fields,
    })
  const ask = (prompt: Parameters<EmbeddedRuntime["ask"]>[1]) => runtime.ask(name, prompt, { timeoutMs: 30_000 })
  const talking = async (): Promise<Turn> => {
    const turn = await runtime.tell(name, "count 1000 20")
    const deltas = () => runtime.transcript(name, { turn: turn.id, types: ["turn/delta"] })
    await eventually("it answers", async () => (await deltas()).entries.length > 2)
    return turn
  }
  const request = async () => {
    await eventually("it asks", async () => (await runtime.get(name)).pendingRequests.length > 0)
    return (await runtime.get(name)).pendingRequests[0]!
  }

  it("answers, streams, thinks, and forgets nothing that the agent said besides", async () => {
    await start(["--noise", "--string-ids"])
    expect(await ask("hello")).toMatchObject({ status: "completed", text: "heard: hello", stopReason: "end_turn" })
    const turn = await ask("think twice")
    expect(turn).toMatchObject({ text: "thought it over", usage: { inputTokens: 11, outputTokens: 7, costUsd: 0.5 } })
    const { entries } = await runtime.transcript(name, { turn: turn.id })
    expect(entries.filter(({ type }) => type === "turn/thought")).toMatchObject([{ text: "twice" }])
    const natives = entries.flatMap((entry) => (entry.type === "native" ? [JSON.stringify(entry.message)] : []))
    expect(natives.some((message) => message.includes("usage_update"))).toBe(true)
    const outputs = entries.flatMap((entry) => (entry.type === "output" ? [entry.data] : []))
    expect(outputs.join("")).toContain("warning: not json\n")
  })

  it("waits for somebody to log in, and goes on then", async () => {
    const waits = await start(["--auth", "key,browser", "--auth-refuses", "1"], { readyTimeoutMs: 20_000 })
    expect(waits.status).toBe("authenticating")
    // The first attempt fails, and it waits once more.
    expect((await runtime.authenticate(name, "browser")).status).toBe("authenticating")
    expect((await runtime.authenticate(name)).status).toBe("ready")
    expect(await ask("hello")).toMatchObject({ status: "completed", text: "heard: hello" })
  })

  it("says why it does not start", async () => {
    await expect(start(["--version", "2"])).rejects.toMatchObject({
      message: expect.stringContaining("version 2 of ACP"),
    })
    await expect(start([], { protocol: { type: "acp", model: "big" } })).rejects.toMatchObject({
      message: expect.stringContaining("no choice of a model"),
    })
    await expect(runtime.get(name)).rejects.toMatchObject({ _tag: "SessionNotFound" })
  })

  it("starts with the model that it is given", async () => {
    await start(["--models", "small,big"], { protocol: { type: "acp", model: "big" } })
    expect((await ask("hello")).status).toBe("completed")
  })

  it("is woken anew where nothing was said in it, and where it was, remembers", async () => {
    await start()
    expect((await runtime.get(name)).agentSessionId).toBeNull()
    await runtime.suspend(name)
    expect((await ask("the first")).text).toBe("heard: the first")
    const { agentSessionId } = await runtime.get(name)
    expect(agentSessionId).not.toBeNull()
    await runtime.suspend(name)
    expect((await ask("recall")).text).toBe("the first | recall")
    expect(await runtime.get(name)).toMatchObject({ agentSessionId, incarnation: 3 })
  })

  it("does not go on as if nothing was where the agent has lost the conversation", async () => {
    await start(["--no-load"], { intensity: { maxRestarts: 1, withinMs: 60_000 } })
    await ask("the first")
    await runtime.suspend(name)
    rmSync(store, { recursive: true })
    const turn = await ask("recall").catch((error: unknown) => error)
    expect(JSON.stringify(turn)).not.toContain('"recall"}')
    await eventually("it gives up", async () => (await runtime.get(name)).status === "failed")
    const { entries } = await runtime.transcript(name, { types: ["note"] })
    expect(entries.map((entry) => (entry.type === "note" ? entry.text : "")).join("\n")).toContain("Resource not found")
  })

  it("is another conversation after its death where the agent keeps none", async () => {
    const { pid } = await start(["--no-load", "--no-resume"])
    await ask("the first")
    const { agentSessionId } = await runtime.get(name)
    process.kill(pid!, "SIGKILL")
    await eventually("it is back", async () => {
      const { status, incarnation } = await runtime.get(name)
      return status === "ready" && incarnation === 2
    })
    expect((await ask("recall")).text).toBe("recall")
    expect((await runtime.get(name)).agentSessionId).not.toBe(agentSessionId)
  })

  it("remembers through resume, and through load, after a kill in the middle of an answer", async () => {
    for (const flags of [[], ["--no-resume"], ["--no-resume", "--late-history"]]) {
      name = `acp-${++count}`
      const { pid } = await start(flags)
      await ask("the first")
      const turn = await talking()
      process.kill(pid!, "SIGKILL")
      expect(await runtime.wait(turn.id, 20_000)).toMatchObject({ status: "failed" })
      const again = await ask("recall")
      expect(again.text).toBe("the first | count 1000 20 | recall")
      // The past is no part of the turn that loaded it.
      const { entries } = await runtime.transcript(name, { turn: again.id, types: ["turn/delta", "turn/thought"] })
      expect(entries.map((entry) => ("text" in entry ? entry.text : "")).join("")).toBe(again.text)
    }
  })

  it("is forked where the agent can, and says so where it cannot", async () => {
    await start()
    await ask("the first")
    await runtime.fork(name, `${name}-fork`)
    expect((await runtime.ask(`${name}-fork`, "recall")).text).toBe("the first | recall")
    expect((await ask("recall")).text).toBe("the first | recall")
    name = `acp-${++count}`
    await start(["--no-fork"])
    await ask("the first")
    await expect(runtime.fork(name, `${name}-fork`)).rejects.toMatchObject({
      message: expect.stringContaining("cannot fork"),
    })
    expect((await ask("still there?")).status).toBe("completed")
  })

  it("runs what it is allowed by a rule, by a client, and by the clock, and nothing else", async () => {
    const rules = [{ tool: "shell", input: { command: "touch by-rule*" }, decision: "allow" as const }]
    await start([], { cwd: directory, permissions: { timeoutMs: 300, rules } })
    expect((await ask("run touch by-rule")).status).toBe("completed")
    const turn = await runtime.tell(name, "run touch by-client")
    const { request: id, tool, input } = await request()
    expect([tool, input]).toMatchObject(["shell", { command: "touch by-client" }])
    await runtime.answer(name, id, "allow")
    expect((await runtime.wait(turn.id, 20_000)).status).toBe("completed")
    expect((await ask("run touch by-clock")).status).toBe("completed")
    expect(readdirSync(directory).filter((file) => file.startsWith("by-"))).toEqual(["by-client", "by-rule"])
  })

  it("asks by kind and title where the agent names neither tool nor input", async () => {
    await start(["--nameless"])
    const turn = await runtime.tell(name, "run true")
    const { request: id, tool, input } = await request()
    expect([tool, input]).toMatchObject(["execute", { title: "true", kind: "execute" }])
    await runtime.answer(name, id, "no-1")
    expect((await runtime.wait(turn.id, 20_000)).text).toContain("refused")
  })

  it("is interrupted, and answers again, whatever the agent calls it", async () => {
    for (const habit of ["cancelled", "end_turn", "error"]) {
      name = `acp-${++count}`
      const { pid } = await start(["--cancel", habit])
      const turn = await talking()
      await runtime.cancel(name)
      expect(await runtime.wait(turn.id, 20_000), habit).toMatchObject({ status: "cancelled" })
      const asking = await runtime.tell(name, "run true")
      await request()
      await runtime.cancel(name)
      expect(await runtime.wait(asking.id, 20_000), habit).toMatchObject({ status: "cancelled" })
      expect((await ask("after")).text).toBe("heard: after")
      expect(await runtime.get(name)).toMatchObject({ pid, pendingRequests: [] })
    }
  })

  it("gets no file, no terminal and no answer that it has no right to", async () => {
    await start(["--fs"])
    expect((await ask("hello")).text).toBe("file: -32601\n\nheard: hello")
  })

  it("takes files as links and data in its own form", async () => {
    await start([], { cwd: directory })
    const turn = await ask([
      { type: "text", text: "look at" },
      { type: "resource", name: "x.json", mimeType: "application/json", data: "{}" },
    ])
    expect(turn.text).toContain("look at")
    expect(turn.text).toContain("attachment:///x.json")
  })

  it("keeps the agent's reason to stop", async () => {
    await start()
    expect(await ask("stop refusal")).toMatchObject({ status: "completed", stopReason: "refusal" })
    expect(await ask("stop max_tokens")).toMatchObject({ status: "completed", stopReason: "max_tokens" })
    expect(await ask("fail 400")).toMatchObject({
      status: "failed",
      error: { tag: "AgentError", code: -32603, message: "API Error: 400" },
    })
  })

  it("leaves nothing when it is stopped while a tool runs in a session of its own", async () => {
    const { pid } = await start([], { permissions: { default: "allow" } })
    const mark = `33.${process.pid}`
    const turn = await runtime.tell(name, `run setsid sleep ${mark} & sleep ${mark}`)
    const running = () => pidsWithArgument(`sleep\0${mark}`)
    await eventually("the tool runs", () => running().length >= 2)
    await runtime.stop(name)
    expect(running()).toEqual([])
    expect(isGone(pid!)).toBe(true)
    expect((await runtime.turn(turn.id)).status).not.toBe("running")
    expect(existsSync(store)).toBe(true)
  })

  it("is replaced where it does not hear that it is to stop, and remembers", async () => {
    const { pid } = await start(["--cancel", "deaf"])
    await ask("the first")
    const turn = await talking()
    const cancelled = runtime.cancel(name)
    expect(await runtime.wait(turn.id, 60_000)).toMatchObject({ status: "cancelled" })
    await cancelled
    expect((await ask("recall")).text).toBe("the first | count 1000 20 | recall")
    expect((await runtime.get(name)).pid).not.toBe(pid)
  })
})
