import { describe, expect, it } from "vitest"
import { endedOf, joined } from "./steps.ts"
import { ableAgent, acp, prompted, readied, session, without, written } from "./AcpSteps.ts"

const types = (events: ReadonlyArray<{ readonly type: string }>) => events.map(({ type }) => type)
const natives = (events: ReadonlyArray<{ readonly type: string }>) => events.filter(({ type }) => type === "native")
const resuming = { conversation: "old-1", fork: false }

describe("the handshake of acp", () => {
  it("offers neither files nor terminals, and opens a new conversation where the process runs", () => {
    const agent = acp()
    const [hello] = written(agent.start())
    expect(hello).toMatchObject({
      jsonrpc: "2.0",
      method: "initialize",
      params: {
        protocolVersion: 1,
        clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
        clientInfo: { name: "creche" },
      },
    })
    const [opening] = written(agent.answers(ableAgent))
    expect(opening).toMatchObject({ method: "session/new", params: { cwd: "/work dir", mcpServers: [] } })
    expect(without(agent.answers({ sessionId: session }), "native")).toEqual([{ type: "ready" }])
  })

  it("resumes where the agent can, else loads, else begins anew", () => {
    const opening = (capabilities: object) => {
      const agent = acp()
      agent.start(resuming)
      return written(agent.answers({ protocolVersion: 1, agentCapabilities: capabilities }))[0]
    }
    const again = { sessionId: "old-1", cwd: "/work dir", mcpServers: [] }
    expect(opening({ loadSession: true, sessionCapabilities: { resume: {} } })).toMatchObject({
      method: "session/resume",
      params: again,
    })
    expect(opening({ loadSession: true })).toMatchObject({ method: "session/load", params: again })
    expect(opening({ loadSession: false, sessionCapabilities: { resume: null } })).toMatchObject({
      method: "session/new",
      params: { cwd: "/work dir", mcpServers: [] },
    })
  })

  it("is ready with the conversation that it resumed, also where the answer does not name it", () => {
    const agent = acp()
    agent.start(resuming)
    agent.answers(ableAgent)
    expect(without(agent.answers({}), "native")).toEqual([{ type: "conversation", id: "old-1" }, { type: "ready" }])
  })

  it("loads what it could not resume, and is broken where it could do neither", () => {
    const agent = acp()
    agent.start(resuming)
    agent.answers(ableAgent)
    expect(written(agent.refuses(-32603))[0]).toMatchObject({ method: "session/load", params: { sessionId: "old-1" } })
    const [gone] = without(agent.refuses(-32002, "Resource not found", { sessionId: "old-1" }), "native")
    expect(gone).toMatchObject({ type: "broken" })
    expect(gone).toMatchObject({ detail: expect.stringMatching(/session\/load: Resource not found \(-32002, .*old-1/) })
  })

  it("goes on with the conversation that the spec names, unless it has one of its own by now", () => {
    const agent = acp({ resume: "named-1" })
    agent.start()
    expect(written(agent.answers(ableAgent))[0]).toMatchObject({ params: { sessionId: "named-1" } })
    expect(types(agent.answers({}))).toContain("conversation")
    agent.start(resuming)
    expect(written(agent.answers(ableAgent))[0]).toMatchObject({ params: { sessionId: "old-1" } })
  })

  it("forks where the agent can, and says so where it cannot", () => {
    const agent = acp()
    agent.start({ conversation: "old-1", fork: true })
    expect(written(agent.answers(ableAgent))[0]).toMatchObject({
      method: "session/fork",
      params: { sessionId: "old-1", cwd: "/work dir", mcpServers: [] },
    })
    // Its own id counts from its first word on: until then a new process forks once more.
    expect(without(agent.answers({ sessionId: "new-1" }), "native")).toEqual([{ type: "ready" }])
    agent.prompt()
    expect(agent.chunk("hi", undefined, "new-1")[0]).toEqual({ type: "conversation", id: "new-1" })

    const unable = acp()
    unable.start({ conversation: "old-1", fork: true })
    expect(unable.answers({ protocolVersion: 1 }).at(-1)).toMatchObject({ type: "broken" })
  })

  it("tells of the past when it loads, which is no part of anything", () => {
    const agent = acp()
    agent.start(resuming)
    agent.answers({ protocolVersion: 1, agentCapabilities: { loadSession: true } })
    agent.update({ sessionUpdate: "user_message_chunk", content: { type: "text", text: "old" } }, "old-1")
    expect(agent.chunk("old answer", "m1", "old-1")).toEqual([])
    expect(agent.update({ sessionUpdate: "tool_call", toolCallId: "t", title: "x" }, "old-1")).toEqual([])
    expect(types(agent.update({ sessionUpdate: "available_commands_update", availableCommands: [] }))).toEqual([
      "native",
    ])
    expect(types(agent.answers({}))).toEqual(["native", "deadline"])
    // Some agents answer first and tell afterwards.
    agent.advance(60)
    expect(types(agent.chunk("old answer", "m2", "old-1"))).toEqual(["deadline"])
    expect(agent.advance(60)).toEqual([])
    expect(agent.advance(60)).toEqual([{ type: "conversation", id: "old-1" }, { type: "ready" }])
    agent.prompt()
    expect(joined(agent.chunk("new", "m3", "old-1"), "delta")).toBe("new")
  })

  it("is broken by another version, a refusal, and an answer without an id", () => {
    const broken = (step: (agent: ReturnType<typeof acp>) => ReadonlyArray<{ readonly type: string }>) => {
      const agent = acp()
      agent.start()
      return step(agent).at(-1)
    }
    for (const protocolVersion of [2, 0, "1", null, undefined]) {
      expect(broken((agent) => agent.answers({ protocolVersion }))).toMatchObject({
        type: "broken",
        detail: expect.stringContaining("version"),
      })
    }
    expect(broken((agent) => agent.answers(null))).toMatchObject({ type: "broken" })
    expect(broken((agent) => agent.refuses(-32601, "what?"))).toMatchObject({
      detail: "the agent refused initialize: what? (-32601)",
    })
    for (const result of [{}, { sessionId: "" }, { sessionId: 7 }, null, [], "s"]) {
      expect(broken((agent) => (agent.answers(ableAgent), agent.answers(result)))).toMatchObject({ type: "broken" })
    }
  })

  it("waits for somebody to authenticate, as often as it takes", () => {
    const agent = acp()
    agent.start()
    const authMethods = [{ id: "login", name: "Log in" }, { id: "key", name: "Key" }, { name: "no id" }, 7]
    agent.answers({ ...ableAgent, authMethods })
    expect(without(agent.refuses(-32000), "native")).toEqual([{ type: "authenticate", methods: ["login", "key"] }])
    expect(written(agent.authenticate("key"))[0]).toMatchObject({ method: "authenticate", params: { methodId: "key" } })
    // A second one while the first is under way changes nothing.
    expect(agent.authenticate("login")).toEqual([])
    expect(without(agent.refuses(-32603), "native")).toMatchObject([{ type: "authenticate" }])
    expect(written(agent.authenticate())[0]).toMatchObject({ params: { methodId: "login" } })
    expect(written(agent.answers({}))[0]).toMatchObject({ method: "session/new" })
    expect(types(agent.answers({ sessionId: session }))).toContain("ready")
  })

  it("authenticates before it resumes as well", () => {
    const agent = acp()
    agent.start(resuming)
    agent.answers({ ...ableAgent, authMethods: [{ id: "login", name: "Log in" }] })
    agent.refuses(-32000)
    agent.authenticate()
    expect(written(agent.answers(null))[0]).toMatchObject({ method: "session/resume", params: { sessionId: "old-1" } })
  })

  it("is broken where the agent wants a login and has no way to it", () => {
    const agent = acp()
    agent.start()
    agent.answers(ableAgent)
    expect(agent.refuses(-32000, "log in first").at(-1)).toMatchObject({
      type: "broken",
      detail: expect.stringContaining("log in first"),
    })
  })

  it("chooses the model before it is ready, in either way that agents have for it", () => {
    const opened = (answer: object) => {
      const agent = acp({ model: "big" })
      agent.start()
      agent.answers(ableAgent)
      return { agent, events: agent.answers({ sessionId: session, ...answer }) }
    }
    const option = { id: "llm", category: "model", type: "select", currentValue: "small", options: [] }
    const first = opened({ configOptions: [{ id: "mode", category: "mode" }, option] })
    expect(types(first.events)).not.toContain("ready")
    expect(written(first.events)[0]).toMatchObject({
      method: "session/set_config_option",
      params: { sessionId: session, configId: "llm", value: "big" },
    })
    expect(types(first.agent.answers({ configOptions: [] }))).toContain("ready")

    const older = opened({ models: { currentModelId: "small", availableModels: [] } })
    expect(written(older.events)[0]).toMatchObject({ method: "session/set_model", params: { modelId: "big" } })
    expect(older.agent.refuses(-32602, "no such model").at(-1)).toMatchObject({
      type: "broken",
      detail: "the agent refused that model: no such model (-32602)",
    })
    expect(types(opened({ configOptions: [{ ...option, currentValue: "big" }] }).events)).toContain("ready")
    expect(opened({}).events.at(-1)).toMatchObject({ type: "broken" })
  })

  it("passes the arguments of the spec on", () => {
    expect(acp({ extraArgs: ["--debug"] }).protocol.args?.({ from: null, freshId: "x" })).toEqual(["--debug"])
    expect(acp().protocol.args).toBeUndefined()
  })
})

describe("a turn over acp", () => {
  it("is the pieces of the answer in order, and ends as the agent says", () => {
    const agent = prompted()
    const events = [...agent.chunk("héllo "), ...agent.chunk(""), ...agent.chunk("☃")]
    expect(events).toEqual([
      { type: "conversation", id: session },
      { type: "delta", text: "héllo " },
      { type: "delta", text: "☃" },
    ])
    expect(agent.answers({ stopReason: "end_turn" })).toEqual([
      { type: "ended", status: "completed", text: "héllo ☃", stopReason: "end_turn" },
    ])
  })

  it("keeps the agent's reason to stop", () => {
    for (const stopReason of ["max_tokens", "max_turn_requests", "refusal", "something_new"]) {
      expect(prompted().answers({ stopReason }).at(-1)).toMatchObject({ status: "completed", stopReason, text: "" })
    }
    expect(endedOf(prompted().answers({ stopReason: "cancelled" }))).toMatchObject([{ status: "cancelled" }])
    for (const odd of [{}, null, [], 7, { stopReason: 7 }]) {
      expect(endedOf(prompted().answers(odd))).toMatchObject([{ status: "completed", stopReason: null }])
    }
  })

  it("puts a blank line between two messages of the agent, told apart by their ids or by a tool between them", () => {
    const byId = prompted()
    const deltas = [...byId.chunk("one", "m1"), ...byId.chunk(" and", "m1"), ...byId.chunk("two", "m2")]
    expect(joined(deltas, "delta")).toBe("one and\n\ntwo")
    expect(byId.answers({ stopReason: "end_turn" })[0]).toMatchObject({ text: "one and\n\ntwo" })

    const byTool = prompted()
    byTool.update({ sessionUpdate: "tool_call", toolCallId: "t", title: "first" })
    byTool.chunk("one")
    byTool.update({ sessionUpdate: "tool_call", toolCallId: "t", title: "look" })
    byTool.chunk("two")
    expect(byTool.answers({ stopReason: "end_turn" })[0]).toMatchObject({ text: "one\n\ntwo" })
  })

  it("tells thoughts from the answer", () => {
    const agent = prompted()
    const thought = { sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "hm" } }
    expect(agent.update(thought).at(-1)).toEqual({ type: "thought", text: "hm" })
    expect(agent.answers({ stopReason: "end_turn" })[0]).toMatchObject({ text: "" })
  })

  it("follows a tool from its call to its result", () => {
    const agent = prompted()
    const call = { toolCallId: "t1", name: "Bash", kind: "execute" }
    const steps = [
      ...agent.update({ sessionUpdate: "tool_call", ...call, title: "Terminal", rawInput: {}, status: "pending" }),
      ...agent.update({
        sessionUpdate: "tool_call_update",
        toolCallId: "t1",
        title: "ls",
        rawInput: { command: "ls" },
      }),
      ...agent.update({ sessionUpdate: "tool_call_update", toolCallId: "t1", status: "in_progress" }),
      ...agent.update({ sessionUpdate: "tool_call_update", toolCallId: "t1", status: "completed", rawOutput: "a b" }),
    ]
    expect(without(steps, "conversation")).toEqual([
      { type: "tool", toolId: "t1", name: "Bash", input: { title: "Terminal", kind: "execute" }, status: "pending" },
      { type: "tool", toolId: "t1", name: "Bash", input: { command: "ls" }, status: "pending" },
      { type: "tool", toolId: "t1", name: "Bash", status: "in_progress" },
      { type: "tool", toolId: "t1", name: "Bash", output: "a b", status: "completed" },
    ])
  })

  it("names a tool by what the agent calls it, wherever that stands", () => {
    const nameOf = (call: object) =>
      prompted()
        .update({ sessionUpdate: "tool_call", toolCallId: "t", ...call })
        .flatMap((event) => (event.type === "tool" ? [event.name] : []))[0]
    expect(nameOf({ name: "Bash", kind: "execute", title: "ls" })).toBe("Bash")
    expect(nameOf({ _meta: { anAgent: { toolName: "Read" } }, kind: "read", title: "x" })).toBe("Read")
    expect(nameOf({ kind: "execute", title: "ls" })).toBe("execute")
    expect(nameOf({ kind: "other", title: "ls" })).toBe("ls")
    expect(nameOf({})).toBe("tool")
  })

  it("shows as the agent's own what no other entry holds whole", () => {
    const agent = prompted()
    agent.chunk("x")
    const more = [
      { sessionUpdate: "plan", entries: [] },
      { sessionUpdate: "usage_update", used: 1, size: 2 },
      { sessionUpdate: "something_new", a: 1 },
      { sessionUpdate: "agent_message_chunk", content: { type: "image", data: "" } },
      { sessionUpdate: "agent_message_chunk" },
      { sessionUpdate: "user_message_chunk", content: { type: "text", text: "x" } },
      { sessionUpdate: "tool_call_update", toolCallId: "t", _meta: { anAgent: { toolResponse: "x" } }, title: "t" },
      { sessionUpdate: "tool_call", title: "without an id" },
      { sessionUpdate: "tool_call_update", toolCallId: "t", rawOutput: "ok", content: [{ type: "diff", path: "/x" }] },
      {},
    ]
    for (const update of more) {
      const message = { jsonrpc: "2.0", method: "session/update", params: { sessionId: session, update } }
      expect(natives(agent.update(update)), JSON.stringify(update)).toEqual([{ type: "native", message }])
    }
    expect(types(agent.says({ method: "_own/news", params: { a: 1 } }))).toEqual(["native"])
    expect(types(agent.says({ method: "session/update", params: 7 }))).toEqual(["native"])
    expect(types(agent.answers({ stopReason: "end_turn", _meta: { a: 1 } }))).toEqual(["native", "ended"])
    agent.prompt()
    expect(types(agent.answers({ stopReason: "end_turn", _meta: {} }))).toEqual(["ended"])
  })

  it("takes no word of another conversation, nor one between turns, for a part of the answer", () => {
    const agent = prompted()
    expect(types(agent.chunk("elsewhere", undefined, "s-2"))).toEqual(["native"])
    expect(agent.answers({ stopReason: "end_turn" }).at(-1)).toMatchObject({ text: "" })
    expect(types(agent.chunk("late"))).toEqual(["native"])
    agent.prompt("next")
    expect(agent.answers({ stopReason: "end_turn" })[0]).toMatchObject({ text: "" })
  })

  it("answers with none of what the agent said in a turn of its own before it", () => {
    const agent = prompted()
    const usage = (kind: string) => ({
      sessionUpdate: "usage_update",
      used: 1,
      size: 2,
      _meta: { "_claude/origin": { kind } },
    })
    agent.chunk("a task has ended", "m1")
    expect(types(agent.update(usage("task-notification")))).toEqual(["native"])
    expect(joined(agent.chunk("well", "m2"), "delta")).toBe("well")
    agent.update(usage("human"))
    expect(agent.answers({ stopReason: "end_turn" })[0]).toMatchObject({ text: "well" })
  })

  it("fails as the agent says, and the next turn begins clean", () => {
    const agent = prompted()
    agent.chunk("half")
    expect(endedOf(agent.refuses(-32603, "API Error: 400", { errorKind: "unknown" }))).toEqual([
      {
        type: "ended",
        status: "failed",
        text: "half",
        stopReason: null,
        error: { tag: "AgentError", message: "API Error: 400", code: -32603, data: { errorKind: "unknown" } },
      },
    ])
    agent.prompt("again")
    agent.chunk("whole")
    expect(endedOf(agent.answers({ stopReason: "end_turn" }))).toMatchObject([{ status: "completed", text: "whole" }])
  })

  it("counts tokens as the agent does, and of the cost what this turn added", () => {
    const agent = prompted()
    const usage = {
      inputTokens: 10,
      outputTokens: 5,
      cachedReadTokens: 3,
      cachedWriteTokens: 2,
      totalTokens: 20,
      x: "y",
    }
    const spend = (amount: unknown, currency = "USD") =>
      agent.update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount, currency } })
    spend(0.1)
    spend(0.30000000000000004)
    expect(endedOf(agent.answers({ stopReason: "end_turn", usage }))[0]?.usage).toEqual({
      inputTokens: 10,
      outputTokens: 5,
      cacheReadTokens: 3,
      cacheWriteTokens: 2,
      totalTokens: 20,
      costUsd: 0.3,
    })
    agent.prompt()
    spend(0.4)
    spend(7, "EUR")
    spend("much")
    expect(endedOf(agent.answers({ stopReason: "end_turn" }))[0]?.usage).toEqual({ costUsd: 0.1 })
    agent.prompt()
    expect(endedOf(agent.answers({ stopReason: "end_turn", usage: null }))[0]?.usage).toBeUndefined()
  })

  it("charges a turn for nothing that an earlier process spent", () => {
    const resumed = (agentInfo: object) => {
      const agent = acp()
      agent.start({ conversation: session, fork: false })
      agent.answers({ ...ableAgent, agentInfo })
      agent.answers({})
      const costs = [0.5, 0.7].map((amount) => {
        agent.prompt()
        agent.update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount, currency: "USD" } })
        return endedOf(agent.answers({ stopReason: "end_turn" }))[0]?.usage?.["costUsd"]
      })
      return costs
    }
    expect(resumed({ name: "any" })).toEqual([undefined, 0.2])
    expect(resumed({ name: "@agentclientprotocol/claude-agent-acp" })).toEqual([0.5, 0.2])

    const loaded = acp()
    loaded.start({ conversation: session, fork: false })
    loaded.answers({ protocolVersion: 1, agentCapabilities: { loadSession: true } })
    loaded.update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount: 0.4, currency: "USD" } })
    loaded.answers({})
    loaded.advance(1_000)
    loaded.prompt()
    loaded.update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount: 0.5, currency: "USD" } })
    expect(endedOf(loaded.answers({ stopReason: "end_turn" }))[0]?.usage).toEqual({ costUsd: 0.1 })
  })

  it("passes a longer answer than it keeps on, and fails", () => {
    const agent = prompted(ableAgent, 10)
    agent.chunk("0123456789")
    expect(joined(agent.chunk("more"), "delta")).toBe("more")
    expect(agent.answers({ stopReason: "end_turn" })[0]).toMatchObject({
      status: "failed",
      text: "0123456789",
      error: { tag: "AnswerTooLong", limitChars: 10 },
    })
  })

  it("says nothing at the end of stdout", () => {
    expect(prompted().eof()).toEqual([])
  })
})

describe("a prompt over acp", () => {
  const blocks = (agent: object, prompt: Parameters<ReturnType<typeof acp>["prompt"]>[0]) => {
    const [request] = written(readied({}, agent).prompt(prompt))
    expect(request).toMatchObject({ method: "session/prompt", params: { sessionId: session } })
    return request?.params?.["prompt"]
  }
  const content = [
    { type: "text" as const, text: "look" },
    { type: "file" as const, path: "notes/a b.txt" },
    { type: "file" as const, path: "/abs/ü.md" },
    { type: "resource" as const, name: "data 1.json", mimeType: "application/json", data: "{}" },
    { type: "resource" as const, name: "x.bin", mimeType: "application/octet-stream", data: "AAEC" },
    { type: "resource" as const, name: "x.png", mimeType: "image/png", data: "iVBO" },
    { type: "resource" as const, name: "x.mp3", mimeType: "audio/mpeg", data: "SUQz" },
  ]

  it("is text", () => {
    expect(blocks(ableAgent, 'say\n"hi"')).toEqual([{ type: "text", text: 'say\n"hi"' }])
  })

  it("holds files as links, and the rest in the agent's own forms", () => {
    expect(blocks(ableAgent, content)).toEqual([
      { type: "text", text: "look" },
      { type: "resource_link", name: "a b.txt", uri: "file:///work%20dir/notes/a%20b.txt" },
      { type: "resource_link", name: "ü.md", uri: "file:///abs/%C3%BC.md" },
      {
        type: "resource",
        resource: { uri: "attachment:///data%201.json", mimeType: "application/json", text: "{}" },
      },
      {
        type: "resource",
        resource: { uri: "attachment:///x.bin", mimeType: "application/octet-stream", blob: "AAEC" },
      },
      { type: "image", mimeType: "image/png", data: "iVBO" },
      { type: "audio", mimeType: "audio/mpeg", data: "SUQz" },
    ])
  })

  it("is text where the agent takes nothing else", () => {
    const plain = blocks({ protocolVersion: 1 }, content) as ReadonlyArray<{ readonly type: string }>
    expect(types(plain)).toEqual(["text", "resource_link", "resource_link", "text", "text", "text", "text"])
    expect(plain[3]).toEqual({ type: "text", text: "data 1.json (application/json):\n{}" })
  })
})

describe("permissions over acp", () => {
  const call = { toolCallId: "t1", title: "ls", kind: "execute", rawInput: { command: "ls" } }

  it("come with the agent's own options, and are answered with one of their ids", () => {
    const agent = prompted()
    expect(without(agent.wantsPermission(0, call), "conversation")).toEqual([
      {
        type: "permission",
        request: "0",
        tool: "execute",
        input: { command: "ls" },
        options: [
          { id: "a1", name: "Allow", kind: "allow_once" },
          { id: "a2", name: "Always", kind: "allow_always" },
          { id: "r1", name: "Reject", kind: "reject_once" },
        ],
      },
    ])
    expect(written(agent.answer("0", "r1"))).toEqual([
      { jsonrpc: "2.0", id: 0, result: { outcome: { outcome: "selected", optionId: "r1" } } },
    ])
    expect(agent.answer("0", "a1")).toEqual([])
    expect(agent.answer("nobody", "a1")).toEqual([])
  })

  it("may be answered by a kind, and keep the type of their id", () => {
    const agent = prompted()
    agent.wantsPermission("1", call)
    expect(agent.wantsPermission(1, call)).toMatchObject([{ type: "permission", request: "number 1" }])
    const outcome = (optionId: string) => ({ outcome: { outcome: "selected", optionId } })
    expect(written(agent.answer("1", "allow_always"))).toMatchObject([{ id: "1", result: outcome("a2") }])
    expect(written(agent.answer("number 1", "a1"))).toMatchObject([{ id: 1, result: outcome("a1") }])
  })

  it("are for the tool under the name that it had before, with the call itself where no input is given", () => {
    const agent = prompted()
    agent.update({
      sessionUpdate: "tool_call",
      toolCallId: "t1",
      title: "ls",
      _meta: { anAgent: { toolName: "Bash" } },
    })
    const bare = { toolCallId: "t1", title: "ls", content: [{ type: "diff", path: "/x" }] }
    expect(agent.wantsPermission(7, bare)).toMatchObject([{ tool: "Bash", input: bare }])
  })

  it("have no options that an answer could not name", () => {
    const agent = prompted()
    const [event] = agent.wantsPermission(0, call, [{ name: "no id" }, { optionId: "x" }, 7 as never]).slice(-1)
    expect(event).toMatchObject({ options: [{ id: "x", name: "x", kind: "" }] })
  })

  it("are all answered when the turn is cancelled, those to come as well", () => {
    const agent = prompted()
    agent.wantsPermission(0, call)
    agent.wantsPermission("b", call)
    const cancelled = { outcome: { outcome: "cancelled" } }
    expect(written(agent.cancel())).toEqual([
      { jsonrpc: "2.0", method: "session/cancel", params: { sessionId: session } },
      { jsonrpc: "2.0", id: 0, result: cancelled },
      { jsonrpc: "2.0", id: "b", result: cancelled },
    ])
    const late = agent.wantsPermission(2, call)
    expect(types(late)).toEqual(["native", "write"])
    expect(written(late)).toMatchObject([{ id: 2, result: cancelled }])
    expect(agent.answer("0", "a1")).toEqual([])
  })

  it("are withdrawn when the turn ends without them, or when the agent takes them back", () => {
    const agent = prompted()
    agent.wantsPermission(0, call)
    agent.wantsPermission(1, call)
    const back = agent.says({ method: "$/cancel_request", params: { requestId: 1 } })
    expect(without(back, "native", "write")).toEqual([{ type: "permissionWithdrawn", request: "1" }])
    expect(written(back)).toMatchObject([{ id: 1, result: { outcome: { outcome: "cancelled" } } }])
    expect(types(agent.says({ method: "$/cancel_request", params: { requestId: 9 } }))).toEqual(["native"])
    expect(without(agent.answers({ stopReason: "end_turn" }), "write")).toMatchObject([
      { type: "permissionWithdrawn", request: "0" },
      { type: "ended" },
    ])
  })

  it("that come twice under one id are asked once", () => {
    const agent = prompted()
    agent.wantsPermission(0, call)
    expect(types(agent.wantsPermission(0, call))).toEqual(["native"])
    expect(written(agent.answer("0", "a1"))).toHaveLength(1)
  })
})

describe("cancelling over acp", () => {
  it("asks once, takes updates until the answer, and is cancelled whatever the agent calls it", () => {
    for (const answer of [{ stopReason: "cancelled" }, { stopReason: "end_turn" }, {}]) {
      const agent = prompted()
      agent.chunk("one ")
      expect(written(agent.cancel())).toHaveLength(1)
      expect(agent.cancel()).toEqual([])
      expect(agent.chunk("two")).toEqual([{ type: "delta", text: "two" }])
      expect(endedOf(agent.answers(answer))).toMatchObject([{ status: "cancelled", text: "one two" }])
      agent.prompt("next")
      expect(endedOf(agent.answers({ stopReason: "end_turn" }))).toMatchObject([{ status: "completed" }])
    }
    const agent = prompted()
    agent.cancel()
    expect(endedOf(agent.refuses(-32603, "AbortError"))).toMatchObject([
      { status: "cancelled", stopReason: "cancelled" },
    ])
  })

  it("is nothing between turns", () => {
    expect(readied().cancel()).toEqual([])
  })
})

describe("what else an agent asks for over acp", () => {
  it("is refused and shown", () => {
    const agent = prompted()
    for (const method of ["fs/read_text_file", "terminal/create", "elicitation/create", "_own/thing"]) {
      const events = agent.says({ id: 5, method, params: { sessionId: session, path: "/etc/passwd" } })
      expect(natives(events)).toMatchObject([{ message: { method, id: 5 } }])
      expect(written(events)).toEqual([
        { jsonrpc: "2.0", id: 5, error: { code: -32601, message: `creche does not offer ${method}` } },
      ])
    }
  })

  it("and lines that are no message are output, in their place", () => {
    const agent = prompted()
    expect(agent.lines("warning: x", "", '{"half":')).toEqual([
      { type: "output", data: "warning: x\n" },
      { type: "output", data: "\n" },
      { type: "output", data: '{"half":\n' },
    ])
    for (const stray of [
      "[]",
      '"text"',
      "42",
      "null",
      "{}",
      '{"jsonrpc":"2.0","id":99,"result":{}}',
      '{"id":{},"method":"x"}',
    ]) {
      expect(agent.lines(stray)).toEqual([{ type: "native", message: JSON.parse(stray) }])
    }
  })
})

describe("what a conversation over acp has cost", () => {
  const after = (costUsd: number | null, from: typeof resuming | null, amount: number, agentInfo = {}) => {
    const agent = acp()
    agent.start(from, costUsd)
    agent.answers({ ...ableAgent, agentInfo })
    agent.answers({ sessionId: session })
    agent.prompt()
    const sessionId = from === null || from.fork ? session : from.conversation
    agent.update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount, currency: "USD" } }, sessionId)
    return endedOf(agent.answers({ stopReason: "end_turn" }))[0]?.usage?.["costUsd"]
  }

  it("is known from the record where it goes on in another process", () => {
    expect(after(0.5, resuming, 0.75)).toBe(0.25)
    // An agent that counts anew in every process says less than before.
    expect(after(0.5, resuming, 0.2)).toBe(0.2)
    expect(after(0.5, resuming, 0.75, { name: "@agentclientprotocol/claude-agent-acp" })).toBe(0.75)
  })

  it("is nothing at its beginning, and nobody's guess where its past is not on record", () => {
    expect(after(0.5, null, 0.75)).toBe(0.75)
    expect(after(null, resuming, 0.75)).toBe(undefined)
    expect(after(0.5, { conversation: "old-1", fork: true }, 0.75)).toBe(undefined)
  })

  it("is counted in tokens too where an agent has them in a place of its own", () => {
    const agent = prompted()
    const quota = { token_count: { input_tokens: 11, output_tokens: 7 }, model_usage: [] }
    const [ended] = endedOf(agent.answers({ stopReason: "end_turn", _meta: { quota } }))
    expect(ended?.usage).toEqual({ inputTokens: 11, outputTokens: 7 })
  })
})

it("an acp agent that forgets is never asked to go on, nor forked", () => {
  const agent = acp({ forgets: true, resume: "r" })
  agent.start(resuming)
  expect(written(agent.answers(ableAgent))).toMatchObject([{ method: "session/new" }])
  expect(agent.protocol.canFork).toBe(false)
})

describe("files over acp", () => {
  const calls = (events: ReadonlyArray<{ readonly type: string }>) => events.filter(({ type }) => type === "call")
  const opened = (files: "read" | "write" = "write") => {
    const agent = readied({ files })
    agent.prompt()
    return agent
  }

  it("become calls of the host, within the working directory, and its answers the agent's", () => {
    const agent = opened()
    const [event] = agent.wantsFile(7, "read", { path: "/work dir/a", line: 2, limit: null })
    expect(event).toEqual({
      type: "call",
      call: "fs/read_text_file 7",
      what: { type: "readTextFile", root: "/work dir", path: "/work dir/a", line: 2, limit: null },
      tool: "fs/read_text_file",
      input: { path: "/work dir/a", line: 2, limit: null },
    })
    const done = agent.returned("fs/read_text_file 7", { type: "done", text: "é" })
    expect(written(done)).toEqual([{ jsonrpc: "2.0", id: 7, result: { content: "é" } }])
    expect(done).toContainEqual({
      type: "tool",
      toolId: "fs/read_text_file 7",
      name: "fs/read_text_file",
      input: { path: "/work dir/a", line: 2 },
      output: { bytes: 2 },
      status: "completed",
    })
    // What comes once more, or of nothing, is nobody's.
    for (const call of ["fs/read_text_file 7", "none"])
      expect(agent.returned(call, { type: "done", text: "" })).toEqual([])
  })

  it('keeps the ids 1 and "1" apart, and answers no id twice', () => {
    const agent = opened()
    const path = "/work dir/a"
    const names = calls([...agent.wantsFile(1, "read", { path }), ...agent.wantsFile("1", "read", { path })])
    expect(names).toMatchObject([{ call: "fs/read_text_file 1" }, { call: 'fs/read_text_file "1"' }])
    expect(written(agent.wantsFile(1, "read", { path }))).toMatchObject([{ id: 1, error: { code: -32602 } }])
  })

  it("refuses at once what is asked wrongly, or not offered, or of another conversation", () => {
    const agent = opened()
    const path = "/work dir/a"
    for (const [method, params] of [
      ["read", {}],
      ["read", { path: "a" }],
      ["read", { path: "/a\0b" }],
      ["read", { path: 7 }],
      ["read", { path, line: -1 }],
      ["read", { path, limit: 1.5 }],
      ["read", { path, limit: "1" }],
      ["read", { path, sessionId: "other" }],
      ["write", { path }],
      ["write", { path, content: null }],
    ] as const) {
      const events = agent.wantsFile(1, method, params)
      expect(calls(events), JSON.stringify(params)).toEqual([])
      expect(written(events)).toMatchObject([{ id: 1, error: { code: -32602 } }])
    }
    const reader = opened("read")
    expect(written(reader.wantsFile(1, "write", { path, content: "" }))).toMatchObject([{ error: { code: -32601 } }])
  })

  it("are given up with their turn, by the agent itself, and where there are too many", () => {
    for (const giveUp of [
      (agent: ReturnType<typeof opened>) => agent.cancel(),
      (agent: ReturnType<typeof opened>) => agent.answers({ stopReason: "end_turn" }),
      (agent: ReturnType<typeof opened>) => agent.refuses(-32603),
      (agent: ReturnType<typeof opened>) => agent.says({ method: "$/cancel_request", params: { requestId: 3 } }),
    ]) {
      const agent = opened()
      agent.wantsFile(3, "write", { path: "/work dir/a", content: "x" })
      const events = giveUp(agent)
      const call = "fs/write_text_file 3"
      expect(written(events)).toContainEqual(
        expect.objectContaining({ id: 3, error: { code: -32800, message: expect.any(String) } }),
      )
      expect(events).toContainEqual({ type: "permissionWithdrawn", request: call })
      expect(events).toContainEqual(expect.objectContaining({ type: "tool", toolId: call, status: "cancelled" }))
      expect(agent.returned(call, { type: "done", text: "" })).toEqual([])
    }
    const agent = opened()
    const all = Array.from({ length: 70 }, (_, id) => agent.wantsFile(id, "read", { path: "/work dir/a" })).flat()
    expect(calls(all)).toHaveLength(64)
    expect(written(all).map(({ error }) => error?.code)).toEqual(Array.from({ length: 6 }, () => -32602))
  })

  it("says what became of one that was not done, by the reason", () => {
    for (const [reason, code] of [
      ["missing", -32002],
      ["outside", -32602],
      ["denied", -32602],
      ["tooLarge", -32602],
      ["failed", -32603],
    ] as const) {
      const agent = opened()
      agent.wantsFile(0, "read", { path: "/work dir/a" })
      const events = agent.returned("fs/read_text_file 0", { type: "refused", reason, message: "is not so" })
      const message = `${reason === "missing" ? "Resource not found: " : ""}"/work dir/a" is not so`
      expect(written(events)).toEqual([{ jsonrpc: "2.0", id: 0, error: { code, message, data: { reason } } }])
      expect(events).toContainEqual(expect.objectContaining({ status: "failed", output: { error: message, reason } }))
    }
  })
})

describe("the system prompt over acp", () => {
  const able = {
    ...ableAgent,
    agentCapabilities: {
      ...ableAgent.agentCapabilities,
      sessionCapabilities: { resume: {}, fork: {}, systemPrompt: {} },
    },
  }

  it("goes with every conversation that is opened", () => {
    for (const from of [null, resuming, { conversation: "old-1", fork: true }]) {
      const agent = acp({ systemPrompt: "Be brief." })
      agent.start(from)
      expect(written(agent.answers(able))).toMatchObject([
        { params: { systemPrompt: { mode: "append", content: [{ type: "text", text: "Be brief." }] } } },
      ])
    }
    const plain = acp()
    plain.start()
    expect(written(plain.answers(able))[0]?.params).not.toHaveProperty("systemPrompt")
  })

  it("breaks an agent that takes none: nobody is to think that it was told", () => {
    const agent = acp({ systemPrompt: "Be brief." })
    agent.start()
    const events = agent.answers(ableAgent)
    expect(written(events)).toEqual([])
    expect(events).toContainEqual({
      type: "broken",
      detail: expect.stringContaining("takes no system prompt over ACP"),
    })
  })
})
