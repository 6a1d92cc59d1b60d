import { describe, expect, it } from "vitest"
import {
  begun,
  codex,
  completed,
  delta,
  done,
  inTurn,
  notice,
  of,
  ready,
  running,
  thread,
  tokens,
  written,
} from "./CodexSteps.ts"

const refusal = (id: number, code: number, message: string) => ({ id, error: { code, message } })
const overload = (id: number) => refusal(id, -32001, "Server overloaded; retry later.")

describe("the handshake with Codex", () => {
  it("introduces itself, opens a thread where the session runs, and is ready", () => {
    const agent = codex({ options: { model: "gpt-x", approvalPolicy: "untrusted", sandbox: "read-only" } })
    const clientInfo = { name: "creche", title: "creche", version: "1" }
    expect(written(agent.start())).toEqual([{ id: 1, method: "initialize", params: { clientInfo } }])
    const settings = { model: "gpt-x", approvalPolicy: "untrusted", sandbox: "read-only" }
    expect(written(agent.greets({ userAgent: "codex" }))).toEqual([
      { method: "initialized" },
      { id: 2, method: "account/read", params: {} },
      { id: 3, method: "thread/start", params: { cwd: "/place", ...settings } },
    ])
    const last = agent.says({ id: 3, result: { thread: { id: thread } } })
    expect(last.map(({ type }) => type)).toEqual(["native", "ready"])
  })

  it("tells the thread once it ran something, for before that it cannot be resumed", () => {
    const agent = ready()
    expect(of(agent.prompt("x"), "conversation")).toEqual([])
    expect(of(agent.says({ id: 4, result: { turn: { id: "turn-1" } } }), "conversation")).toEqual([])
    expect(of(agent.says(notice("turn/started", { turn: { id: "turn-1" } })), "conversation")).toEqual([
      { type: "conversation", id: thread },
    ])
    agent.says(completed())
    agent.prompt("y")
    expect(of(agent.says(notice("turn/started", { turn: { id: "turn-2" } })), "conversation")).toEqual([])
  })

  it("resumes or forks the conversation that it goes on with, without its past", () => {
    for (const fork of [false, true]) {
      const agent = codex({ options: { model: "m" }, from: { conversation: "t0", fork } })
      agent.start()
      expect(written(agent.greets())[2]).toEqual({
        id: 3,
        method: fork ? "thread/fork" : "thread/resume",
        params: { threadId: "t0", cwd: "/place", model: "m", excludeTurns: true },
      })
      const id = fork ? "t1" : "t0"
      expect(of(agent.says({ id: 3, result: { thread: { id } } }), "conversation")).toEqual([
        { type: "conversation", id },
      ])
    }
  })

  it("begins with the thread of its options only where the session has no conversation yet", () => {
    const opens = (from?: { readonly conversation: string; readonly fork: boolean }) => {
      const agent = codex({ options: { resume: "theirs" }, ...(from === undefined ? {} : { from }) })
      agent.start()
      return written(agent.greets())[2]
    }
    expect(opens()).toMatchObject({ method: "thread/resume", params: { threadId: "theirs" } })
    expect(opens({ conversation: "own", fork: false })).toMatchObject({ params: { threadId: "own" } })
    expect(opens({ conversation: "own", fork: true })).toMatchObject({ method: "thread/fork" })
  })

  it("is broken, in the agent's words, where the conversation is not to be had: none is begun in its place", () => {
    for (const [fork, verb] of [
      [false, "go on with"],
      [true, "fork"],
    ] as const) {
      const agent = codex({ from: { conversation: "t0", fork } })
      agent.start()
      agent.greets()
      const events = agent.says(refusal(3, -32600, "no rollout found for thread id t0"))
      const detail = `the agent cannot ${verb} the conversation t0: no rollout found for thread id t0`
      expect(events).toEqual([{ type: "broken", detail }])
    }
    const agent = codex()
    agent.start()
    expect(agent.says(refusal(1, -32600, "too old"))).toEqual([
      { type: "broken", detail: "the agent refused initialize: too old" },
    ])
    expect(of(agent.says({ id: 1, result: {} }), "write")).toEqual([])
  })

  it("is broken where the thread has no id", () => {
    const agent = codex()
    agent.start()
    agent.greets()
    expect(of(agent.says({ id: 3, result: { thread: null } }), "broken")).toHaveLength(1)
  })

  it("asks an overloaded agent again, later each time, and not for ever", () => {
    const agent = codex()
    agent.start()
    const pauses: Array<number> = []
    let id = 1
    for (;;) {
      const events = agent.says(overload(id))
      const [broken] = of(events, "broken")
      if (broken !== undefined) {
        expect(broken.detail).toBe("the agent refused initialize: Server overloaded; retry later.")
        break
      }
      const at = of(events, "deadline")[0]!.at!
      const before = pauses.reduce((sum, ms) => sum + ms, 1_000)
      pauses.push(at - before)
      expect(agent.advance(at - before - 1)).toEqual([])
      expect(written(agent.advance(1))).toMatchObject([{ id: ++id, method: "initialize" }])
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000])
  })

  it("gives the command its subcommand, and what the options add", () => {
    const { protocol } = codex({ options: { extraArgs: ["-c", "a=1"] } })
    expect(protocol.args?.({ from: null, freshId: "" })).toEqual(["app-server", "-c", "a=1"])
    expect(codex().protocol.args?.({ from: null, freshId: "" })).toEqual(["app-server"])
    expect(protocol.canFork).toBe(true)
  })
})

describe("a turn of Codex", () => {
  it("is asked for in the thread, and ends as the agent says", () => {
    const agent = ready()
    expect(written(agent.prompt("hi"))).toEqual([
      { id: 4, method: "turn/start", params: { threadId: thread, input: [{ type: "text", text: "hi" }] } },
    ])
    agent.says({ id: 4, result: { turn: { id: "turn-1" } } }, notice("turn/started", { turn: { id: "turn-1" } }))
    const events = agent.says(
      delta("he"),
      delta("llo"),
      done({ type: "agentMessage", id: "m1", text: "hello" }),
      completed(),
    )
    expect(events).toEqual([
      { type: "delta", text: "he" },
      { type: "delta", text: "llo" },
      { type: "ended", status: "completed", text: "hello", stopReason: "end_turn" },
    ])
  })

  it("is told apart from another that begins before the agent has answered", () => {
    const started = notice("turn/started", { turn: { id: "turn-1" } })
    const own = ready()
    own.prompt("hi")
    expect(own.says(started, delta("x"), completed())).toEqual([])
    const events = own.says({ id: 4, result: { turn: { id: "turn-1" } } })
    expect(events.map(({ type }) => type)).toEqual(["conversation", "delta", "ended"])

    const other = ready()
    other.prompt("hi")
    other.says(started, delta("about a goal"))
    const refused = other.says(overload(4))
    expect(refused.map(({ type }) => type)).toEqual(["deadline", "native", "conversation", "native"])
    expect(other.advance(60_000)).toEqual([])
    expect(written(other.says(completed()))).toMatchObject([{ id: 5, method: "turn/start" }])
  })

  it("does not meet what is said of the turn before", () => {
    const agent = running()
    agent.says(completed())
    agent.prompt("next")
    agent.says({ id: 5, result: { turn: { id: "turn-2" } } }, notice("turn/started", { turn: { id: "turn-2" } }))
    expect(of(agent.says(delta("late"), completed()), "ended")).toEqual([])
    expect(of(agent.says(completed({}, "turn-2")), "ended")).toMatchObject([{ text: "" }])
  })

  it("breaks the incarnation of an agent that talks on and never answers", () => {
    const agent = ready()
    agent.prompt("hi")
    const broken = Array.from({ length: 1_001 }, () => agent.says(delta("x"))).flat()
    expect(broken).toEqual([{ type: "broken", detail: "the agent talks on and does not answer" }])
  })

  it("answers with its last message; the deltas hold them all, parted", () => {
    const agent = running()
    const events = agent.says(
      delta("I look", "m1"),
      done({ type: "agentMessage", id: "m1", text: "I look." }),
      delta("It is 4", "m2"),
      done({ type: "agentMessage", id: "m2", text: "It is 4" }),
      completed(),
    )
    expect(of(events, "delta").map(({ text }) => text)).toEqual(["I look", ".", "\n\nIt is 4"])
    expect(of(events, "ended")).toMatchObject([{ text: "It is 4" }])
  })

  it("believes the whole message, also one that came without deltas or another than they said", () => {
    for (const [streamed, whole, told] of [
      ["", "all at once", ["all at once"]],
      ["ab", "abc", ["ab", "c"]],
      ["ab", "xyz", ["ab"]],
    ] as const) {
      const agent = running()
      const events = agent.says(delta(streamed), done({ type: "agentMessage", id: "m1", text: whole }), completed())
      expect(of(events, "delta").map(({ text }) => text)).toEqual(told)
      expect(of(events, "ended")).toMatchObject([{ text: whole }])
    }
  })

  it("ends as cancelled or failed with what was said until then", () => {
    const interrupted = running()
    expect(of(interrupted.says(delta("par"), completed({ status: "interrupted" })), "ended")).toEqual([
      { type: "ended", status: "cancelled", text: "par", stopReason: "cancelled" },
    ])
    const error = { message: "quota", codexErrorInfo: "usageLimitExceeded" }
    const failed = running()
    expect(of(failed.says(delta("par"), completed({ status: "failed", error })), "ended")).toEqual([
      {
        ...{ type: "ended", status: "failed", text: "par", stopReason: null },
        error: { tag: "AgentError", message: "quota", error },
      },
    ])
    const odd = running()
    expect(of(odd.says(completed({ status: "evaporated", error: null })), "ended")).toMatchObject([
      { status: "failed", error: { tag: "AgentError", message: "the agent ended the turn as evaporated" } },
    ])
  })

  it("fails where the agent refuses it, and the next one is asked for", () => {
    const agent = ready()
    agent.prompt("x")
    expect(of(agent.says(refusal(4, -32600, "bad input")), "ended")).toMatchObject([
      { status: "failed", error: { tag: "AgentError", message: "bad input" } },
    ])
    expect(written(agent.prompt("y"))).toMatchObject([{ id: 5, method: "turn/start" }])
  })

  it("breaks the incarnation where its thread was unloaded, for another resumes it", () => {
    const agent = ready()
    agent.prompt("x")
    const events = agent.says(refusal(4, -32600, "thread not found: thread-1"))
    expect(events.map(({ type }) => type)).toEqual(["ended", "broken"])
    expect(of(ready().says(notice("thread/closed")), "broken")).toHaveLength(1)
    expect(of(ready().says({ method: "thread/closed", params: { threadId: "other" } }), "broken")).toEqual([])
  })

  it("is asked for again by an overloaded agent, or cancelled while it waits for that", () => {
    const agent = ready()
    agent.prompt("x")
    expect(of(agent.says(overload(4)), "deadline")).toEqual([{ type: "deadline", at: 1_100 }])
    expect(written(agent.advance(100))).toMatchObject([{ id: 5, method: "turn/start" }])
    agent.says(overload(5))
    const events = agent.cancel()
    expect(events).toEqual([
      { type: "deadline", at: null },
      { type: "ended", status: "cancelled", text: "", stopReason: "cancelled" },
    ])
    expect(agent.advance(60_000)).toEqual([])
    expect(written(agent.prompt("y"))).toMatchObject([{ id: 6, method: "turn/start" }])
  })

  it("thinks in pieces, or whole where no pieces came", () => {
    const agent = running()
    const events = agent.says(
      begun({ type: "reasoning", id: "r1", summary: [] }),
      inTurn("item/reasoning/summaryPartAdded", { itemId: "r1", summaryIndex: 0 }),
      inTurn("item/reasoning/summaryTextDelta", { itemId: "r1", delta: "a", summaryIndex: 0 }),
      inTurn("item/reasoning/summaryPartAdded", { itemId: "r1", summaryIndex: 1 }),
      inTurn("item/reasoning/textDelta", { itemId: "r1", delta: "b", contentIndex: 0 }),
      done({ type: "reasoning", id: "r1", summary: ["a", "b"] }),
      done({ type: "reasoning", id: "r2", summary: ["c", "d"], content: ["e"] }),
      done({ type: "reasoning", id: "r3", summary: [], content: ["e"] }),
    )
    expect(of(events, "thought").map(({ text }) => text)).toEqual(["a", "\n\n", "b", "c\n\nd", "e"])
    expect(events).toHaveLength(5)
  })

  it("counts what it used, without what the thread used before", () => {
    const each = { inputTokens: 6, outputTokens: 5, cacheReadTokens: 3, cacheWriteTokens: 1, reasoningTokens: 2 }
    const twice = Object.fromEntries(Object.entries(each).map(([name, n]) => [name, 2 * n]))
    const agent = running()
    expect(of(agent.says(tokens(1, 1), tokens(2, 1), completed()), "ended")).toMatchObject([{ usage: twice }])
    agent.prompt("again")
    agent.says({ id: 5, result: { turn: { id: "turn-2" } } }, notice("turn/started", { turn: { id: "turn-2" } }))
    expect(of(agent.says(tokens(3, 1, "turn-2"), completed({}, "turn-2")), "ended")).toMatchObject([{ usage: each }])
    // A thread that goes on, whose past is not known.
    const resumed = running({ from: { conversation: thread, fork: false } })
    expect(of(resumed.says(tokens(41, 1), tokens(42, 1), completed()), "ended")).toMatchObject([{ usage: twice }])
    expect(of(running().says(completed()), "ended")[0]).not.toHaveProperty("usage")
  })

  it("keeps a message up to its limit, and fails where more was the answer", () => {
    const agent = running({ answerChars: 5 })
    const events = agent.says(delta("123"), delta("456"), delta("789"), completed())
    expect(
      of(events, "delta")
        .map(({ text }) => text)
        .join(""),
    ).toBe("123456789")
    expect(of(events, "ended")).toMatchObject([{ status: "failed", text: "123", error: { tag: "AnswerTooLong" } }])
    const brings = running({ answerChars: 5 })
    expect(
      of(brings.says(done({ type: "agentMessage", id: "m", text: "123456" }), completed()), "ended"),
    ).toMatchObject([{ error: { tag: "AnswerTooLong" } }])
    const short = running({ answerChars: 5 })
    const after = short.says(delta("1234567", "m1"), delta("ok", "m2"), completed())
    expect(of(after, "ended")).toMatchObject([{ status: "completed", text: "ok" }])
  })

  it("takes files and resources as the agent does", () => {
    const [request] = written(
      ready().prompt([
        { type: "text", text: "look" },
        { type: "file", path: "a/b.PNG" },
        { type: "file", path: "/etc/hosts" },
        { type: "resource", name: "i", mimeType: "image/png", data: "QUJD" },
        { type: "resource", name: "n.txt", mimeType: "text/plain", data: "note" },
        { type: "resource", name: "i.svg", mimeType: "image/svg+xml", data: "<svg/>" },
      ]),
    )
    expect((request?.["params"] as { input: unknown } | undefined)?.input).toEqual([
      { type: "text", text: "look" },
      { type: "localImage", path: "/place/a/b.PNG" },
      { type: "text", text: "[hosts](/etc/hosts)" },
      { type: "image", url: "data:image/png;base64,QUJD" },
      { type: "text", text: "n.txt (text/plain):\nnote" },
      { type: "text", text: "i.svg (image/svg+xml):\n<svg/>" },
    ])
  })
})

describe("the cancel of a Codex turn", () => {
  it("interrupts it, once, and waits for its end", () => {
    const agent = running()
    const params = { threadId: thread, turnId: "turn-1" }
    expect(written(agent.cancel())).toEqual([{ id: 5, method: "turn/interrupt", params }])
    expect(agent.cancel()).toEqual([])
    expect(agent.says({ id: 5, result: {} }, completed({ status: "interrupted" }))).toMatchObject([
      { type: "ended", status: "cancelled" },
    ])
  })

  it("waits for the turn to begin, for before that the agent refuses", () => {
    const agent = ready()
    agent.prompt("x")
    expect(agent.cancel()).toEqual([])
    expect(agent.says({ id: 4, result: { turn: { id: "turn-1" } } })).toEqual([])
    expect(written(agent.says(notice("turn/started", { turn: { id: "turn-1" } })))).toMatchObject([
      { id: 5, method: "turn/interrupt", params: { turnId: "turn-1" } },
    ])
    expect(agent.says(refusal(5, -32600, "no active turn to interrupt"))).toEqual([{ type: "deadline", at: 1_050 }])
    expect(written(agent.advance(50))).toMatchObject([{ id: 6, method: "turn/interrupt" }])
    agent.says(refusal(6, -32600, "no active turn to interrupt"))
    // It was over already.
    expect(agent.says(completed())).toMatchObject([
      { type: "deadline", at: null },
      { type: "ended", status: "completed" },
    ])
    expect(agent.advance(1_000)).toEqual([])
  })

  it("withdraws what was asked, and takes no late answer", () => {
    const agent = running()
    agent.says({ id: 0, method: "item/fileChange/requestApproval", params: { threadId: thread, turnId: "turn-1" } })
    expect(of(agent.cancel(), "permissionWithdrawn")).toEqual([{ type: "permissionWithdrawn", request: "fresh-1:0" }])
    expect(agent.answer("fresh-1:0", "accept")).toEqual([])
    expect(
      agent.says(completed({ status: "interrupted" }), notice("serverRequest/resolved", { requestId: 0 })),
    ).toHaveLength(1)
  })

  it("refuses at once what the turn still asks for", () => {
    const agent = running()
    agent.cancel()
    const params = { threadId: thread, turnId: "turn-1", command: "rm -r /" }
    expect(agent.says({ id: 0, method: "item/commandExecution/requestApproval", params })).toEqual([
      { type: "write", data: '{"id":0,"result":{"decision":"cancel"}}\n' },
    ])
    const more = { threadId: thread, turnId: "turn-1", permissions: { network: { enabled: true } } }
    expect(written(agent.says({ id: 1, method: "item/permissions/requestApproval", params: more }))).toEqual([
      { id: 1, result: { permissions: {}, scope: "turn" } },
    ])
  })

  it("ends it at once where an overloaded agent did not take it", () => {
    const agent = ready()
    agent.prompt("x")
    expect(agent.cancel()).toEqual([])
    expect(agent.says(overload(4))).toMatchObject([{ type: "ended", status: "cancelled" }])
    expect(agent.advance(60_000)).toEqual([])
  })

  it("does nothing where no turn is", () => {
    expect(ready().cancel()).toEqual([])
  })
})

describe("turns that Codex runs of its own accord", () => {
  const started = notice("turn/started", { turn: { id: "own-1" } })

  it("hold a prompt back, for it would steer them, and show as the agent's own messages", () => {
    const agent = ready()
    expect(agent.says(started).map(({ type }) => type)).toEqual(["native", "conversation"])
    expect(agent.prompt("mine")).toEqual([])
    const during = agent.says(
      delta("about the goal", "m0", "own-1"),
      done({ type: "agentMessage", id: "m0", text: "x" }, "own-1"),
    )
    expect(during.map(({ type }) => type)).toEqual(["native", "native"])
    const after = agent.says(completed({}, "own-1"))
    expect(after.map(({ type }) => type)).toEqual(["native", "write"])
    expect(written(after)).toMatchObject([{ method: "turn/start", params: { input: [{ text: "mine" }] } }])
  })

  it("end what an overloaded agent was to be asked again: the next prompt is asked for at once", () => {
    const agent = ready()
    agent.says(started)
    agent.prompt("given up")
    agent.cancel()
    expect(of(agent.says(overload(4)), "deadline")).toHaveLength(1)
    expect(agent.prompt("next")).toEqual([])
    // It interrupts whatever runs then no more.
    const after = agent.says(completed({}, "own-1"))
    expect(of(after, "deadline")).toEqual([{ type: "deadline", at: null }])
    expect(written(after)).toMatchObject([{ id: 5, method: "turn/start" }])
    expect(agent.advance(60_000)).toEqual([])
  })

  it("use tokens of their own", () => {
    const agent = ready()
    agent.says(started)
    agent.prompt("mine")
    agent.says(tokens(7, 1, "own-1"), completed({}, "own-1"))
    agent.says({ id: 4, result: { turn: { id: "turn-1" } } }, notice("turn/started", { turn: { id: "turn-1" } }))
    expect(of(agent.says(tokens(8, 1), completed()), "ended")).toMatchObject([{ usage: { outputTokens: 5 } }])
  })

  it("hold a prompt back also where they began while the thread was opened", () => {
    const agent = codex({ from: { conversation: thread, fork: false } })
    agent.start()
    agent.greets()
    expect(agent.says(started)).toEqual([])
    const opened = agent.says({ id: 3, result: { thread: { id: thread } } })
    expect(opened.map(({ type }) => type)).toEqual(["native", "conversation", "ready", "native"])
    expect(agent.prompt("mine")).toEqual([])
    expect(written(agent.says(completed({}, "own-1")))).toMatchObject([{ method: "turn/start" }])
  })

  it("are interrupted with the prompt that waits for them, which ends at once", () => {
    const agent = ready()
    agent.says(started)
    agent.prompt("mine")
    const events = agent.cancel()
    expect(of(events, "ended")).toMatchObject([{ status: "cancelled" }])
    expect(written(events)).toMatchObject([{ method: "turn/interrupt", params: { turnId: "own-1" } }])
    agent.prompt("another")
    expect(written(agent.says(completed({ status: "interrupted" }, "own-1")))).toMatchObject([
      { method: "turn/start", params: { input: [{ text: "another" }] } },
    ])
  })
})

describe("what else Codex says", () => {
  it("is passed on untouched, with all its fields", () => {
    const agent = running()
    const message = { ...notice("item/mcpToolCall/progress", { turnId: "turn-1", message: "half" }), emittedAtMs: 7 }
    expect(agent.says(message)).toEqual([{ type: "native", message }])
    const warning = { method: "configWarning", params: { summary: "s" } }
    expect(agent.says(warning)).toEqual([{ type: "native", message: warning }])
    expect(agent.says(begun({ type: "contextCompaction", id: "c" }))).toMatchObject([{ type: "native" }])
    expect(agent.says({ id: 99, result: 1 })).toEqual([{ type: "native", message: { id: 99, result: 1 } }])
    expect(agent.says("garbage", "")).toEqual([
      { type: "output", data: "garbage\n" },
      { type: "output", data: "\n" },
    ])
  })

  it("is left out where another event tells it whole", () => {
    const agent = running()
    expect(
      agent.says(
        notice("thread/started", { thread: { id: thread } }),
        { method: "thread/started", params: { thread: { id: thread } } },
        notice("thread/status/changed", { status: { type: "active", activeFlags: [] } }),
        notice("thread/status/changed", { status: { type: "idle" } }),
        begun({ type: "userMessage", id: "u", content: [] }),
        done({ type: "userMessage", id: "u", content: [] }),
        begun({ type: "agentMessage", id: "m", text: "" }),
        delta(""),
      ),
    ).toEqual([])
    expect(
      agent.says(notice("thread/status/changed", { status: { type: "active", activeFlags: ["waitingOnApproval"] } })),
    ).toMatchObject([{ type: "native" }])
  })

  it("of another thread is no part of the turn and ends nothing", () => {
    const agent = running()
    const other = (message: { readonly [field: string]: unknown }) => ({
      ...message,
      params: { ...(message["params"] as object), threadId: "sub" },
    })
    const events = agent.says(
      other(delta("x")),
      other(completed()),
      other(notice("turn/started", { turn: { id: "t" } })),
    )
    expect(events.map(({ type }) => type)).toEqual(["native", "native", "native"])
    expect(of(agent.says(completed()), "ended")).toMatchObject([{ text: "" }])
  })

  it("changes nothing at the end of its stdout", () => {
    expect(running().eof()).toEqual([])
  })
})

describe("a Codex without an account", () => {
  const noAccount = { account: null, requiresOpenaiAuth: true }
  const login = { type: "chatgpt", loginId: "l1", authUrl: "https://login/?a" }
  const waiting = () => {
    const agent = codex()
    agent.start()
    agent.says({ id: 1, result: {} })
    const events = agent.says({ id: 2, result: noAccount })
    return { agent, events }
  }

  it("wants somebody to log in, by one of its ways, and opens its thread once they did", () => {
    const { agent, events } = waiting()
    expect(events).toEqual([
      { type: "authenticate", methods: ["chatgptDeviceCode", "chatgpt"], instructions: expect.any(String) },
    ])
    expect(written(agent.authenticate("chatgpt"))).toEqual([
      { id: 3, method: "account/login/start", params: { type: "chatgpt" } },
    ])
    expect(of(agent.says({ id: 3, result: login }), "authenticate")).toMatchObject([
      { instructions: expect.stringContaining("open https://login/?a") },
    ])
    const failed = agent.says(notice("account/login/completed", { loginId: "l1", success: false, error: "closed" }))
    expect(of(failed, "authenticate")).toMatchObject([{ instructions: "the login failed: closed" }])
    expect(written(agent.authenticate(null))).toMatchObject([{ params: { type: "chatgptDeviceCode" } }])
    const device = { type: "chatgptDeviceCode", loginId: "l2", verificationUrl: "https://d", userCode: "AB-CD" }
    expect(of(agent.says({ id: 4, result: device }), "authenticate")).toMatchObject([
      { instructions: "open https://d and enter AB-CD" },
    ])
    // One that was given up before is not this one.
    const stale = agent.says(notice("account/login/completed", { loginId: "l1", success: false, error: "late" }))
    expect(of(stale, "authenticate")).toEqual([])
    const done = agent.says(
      notice("account/login/completed", { loginId: "l2", success: true, error: null }),
      notice("account/updated", { authMode: "chatgpt" }),
    )
    expect(written(done)).toEqual([{ id: 5, method: "thread/start", params: { cwd: "/place" } }])
    expect(of(agent.says({ id: 5, result: { thread: { id: thread } } }), "ready")).toHaveLength(1)
  })

  it("goes on as well where somebody logged in beside it, and asks again where a way is refused", () => {
    const { agent } = waiting()
    agent.authenticate("chatgpt")
    expect(of(agent.says(refusal(3, -32603, "no network")), "authenticate")).toMatchObject([
      { instructions: "the login failed: no network" },
    ])
    expect(written(agent.says(notice("account/updated", { authMode: null })))).toEqual([])
    expect(written(agent.says(notice("account/updated", { authMode: "apikey" })))).toMatchObject([
      { method: "thread/start" },
    ])
    expect(agent.authenticate("chatgpt")).toEqual([])
  })

  it("is not waited for where it needs none, has one, or knows nothing of accounts", () => {
    for (const answer of [
      { id: 2, result: { account: null, requiresOpenaiAuth: false } },
      { id: 2, result: { account: { type: "apiKey" }, requiresOpenaiAuth: true } },
      { id: 2, result: null },
      refusal(2, -32600, "unknown variant `account/read`"),
    ]) {
      const agent = codex()
      agent.start()
      agent.says({ id: 1, result: {} })
      const events = agent.says(answer)
      expect(written(events)).toMatchObject([{ id: 3, method: "thread/start" }])
      // Who they are is nobody's business here.
      expect(of(events, "native").filter(({ message }) => "result" in (message as object))).toEqual([])
    }
  })

  it("tells its developer's instructions with every thread that it opens", () => {
    for (const from of [undefined, { conversation: "t0", fork: false }, { conversation: "t0", fork: true }]) {
      const agent = codex({ options: { systemPrompt: "Be brief." }, ...(from === undefined ? {} : { from }) })
      agent.start()
      expect(written(agent.greets())[2]).toMatchObject({ params: { developerInstructions: "Be brief." } })
    }
  })
})
