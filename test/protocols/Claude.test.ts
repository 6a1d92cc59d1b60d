import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { heartbeatMs, keptAfterMs, makeClaude } from "../../src/protocols/Claude.ts"
import { checked } from "../support/Property.ts"
import { asks, assistant, claudeSteps, init, of, piece, ready, result, said, streamed, written } from "./ClaudeSteps.ts"

const types = (events: ReadonlyArray<{ readonly type: string }>) => events.map(({ type }) => type)

describe("the arguments", () => {
  const args = (from: Parameters<NonNullable<ReturnType<typeof makeClaude>["args"]>>[0]["from"], options = {}) =>
    makeClaude(options).args!({ from, freshId: "f" }).slice(6)

  it("give a new conversation the id that was drawn for it", () => {
    expect(args(null)).toEqual(["--session-id=f"])
  })

  it("go on with a conversation, or with a fork of it under the id that was drawn", () => {
    expect(args({ conversation: "c", fork: false })).toEqual(["--resume=c"])
    expect(args({ conversation: "c", fork: true })).toEqual(["--resume=c", "--fork-session", "--session-id=f"])
  })

  it("hold what the spec says, its conversation only where the session has none of its own", () => {
    const options = { model: "m", resume: "r", systemPrompt: "Be brief.", extraArgs: ["--x", "-y"] }
    expect(args(null, options)).toEqual(["--resume=r", "--model=m", "--append-system-prompt=Be brief.", "--x", "-y"])
    expect(args({ conversation: "c", fork: false }, options)[0]).toBe("--resume=c")
  })

  it("come after a command that the protocol brings itself", () => {
    expect(makeClaude().command).toEqual({ command: "claude", args: [] })
  })

  it("make it stream both ways and ask for leave over its stdin", () => {
    expect(makeClaude().args!({ from: null, freshId: "f" })).toEqual(
      expect.arrayContaining(["-p", "--input-format=stream-json", "--permission-prompt-tool=stdio"]),
    )
  })
})

describe("the start", () => {
  it("asks to initialize, and is ready at the answer", () => {
    const cli = claudeSteps()
    expect(written(cli.start())).toMatchObject([{ type: "control_request", request: { subtype: "initialize" } }])
    expect(cli.hear(ready)).toEqual([{ type: "ready" }])
    expect(cli.hear(ready)).toEqual([])
  })

  it("is broken where the CLI refuses, or says how it failed", () => {
    const response = { subtype: "error", request_id: "initialize", error: "no" }
    const refused = claudeSteps()
    refused.start()
    expect(of(refused.hear({ type: "control_response", response }), "broken")[0]?.detail).toContain("no")
    const failed = claudeSteps()
    failed.start()
    const errors = ["No conversation found with session ID: c"]
    const events = failed.hear(result({ subtype: "error_during_execution", is_error: true, result: undefined, errors }))
    expect(of(events, "broken")[0]?.detail).toContain(errors[0])
    expect(of(events, "ended")).toEqual([])
  })
})

describe("the conversation", () => {
  const told = { type: "conversation", id: "fresh-1" }

  it("is told of when a turn ended, once", () => {
    const cli = claudeSteps().begun()
    cli.prompt("a")
    expect(of(cli.hear(init(), piece("x")), "conversation")).toEqual([])
    expect(of(cli.hear(result()), "conversation")).toEqual([told])
    cli.prompt("b")
    expect(of(cli.hear(init(), result()), "conversation")).toEqual([])
    expect(cli.pass(10 * keptAfterMs)).toEqual([])
  })

  it("is told of in the middle of a first turn that takes long enough for the CLI to have written it down", () => {
    const cli = claudeSteps().begun()
    cli.prompt("a")
    cli.hear(init())
    expect(cli.pass(keptAfterMs - 1)).toEqual([])
    expect(of(cli.pass(1), "conversation")).toEqual([told])
    expect(of(cli.hear(result()), "conversation")).toEqual([])
  })

  it("is not told of again where it is gone on with, and is another one after a fork", () => {
    const resumed = claudeSteps().begun({ conversation: "c", fork: false })
    resumed.prompt("a")
    expect(of(resumed.hear(init("c"), result()), "conversation")).toEqual([])
    const forked = claudeSteps().begun({ conversation: "c", fork: true })
    forked.prompt("a")
    expect(of(forked.hear(init(), result()), "conversation")).toEqual([told])
  })

  it("is told of once the CLI has taken up the one that the spec names", () => {
    const cli = claudeSteps({ resume: "r" })
    expect(of(cli.start(), "conversation")).toEqual([])
    expect(of(cli.hear(ready), "conversation")).toEqual([{ type: "conversation", id: "r" }])
  })

  it("is the one that the CLI says it is", () => {
    const cli = claudeSteps().begun({ conversation: "c", fork: false })
    cli.prompt("a")
    expect(of(cli.hear(init("d"), result()), "conversation")).toEqual([{ type: "conversation", id: "d" }])
  })
})

describe("a turn", () => {
  const asked = () => {
    const cli = claudeSteps().begun()
    cli.prompt("a")
    cli.hear(init())
    return cli
  }
  const ended = (...messages: ReadonlyArray<object>) => of(asked().hear(...messages), "ended")[0]

  it("is one line of JSON with the blocks that Claude takes", () => {
    const cli = claudeSteps().begun()
    const content = (prompt: Parameters<typeof cli.prompt>[0]) =>
      (written(cli.prompt(prompt))[0] as { message: { content: unknown } }).message.content
    expect(content("one\ntwo")).toEqual([{ type: "text", text: "one\ntwo" }])
    cli.hear(result())
    const resource = (name: string, mimeType: string, data: string) =>
      ({ type: "resource", name, mimeType, data }) as const
    expect(
      content([
        { type: "text", text: "see" },
        resource("a.png", "image/png", "AA=="),
        resource("b.pdf", "application/pdf", "BB=="),
        resource("c.md", "text/markdown; charset=utf-8", "# c"),
        resource("d.json", "application/json", "{}"),
        { type: "file", path: "/e" },
      ]),
    ).toEqual([
      { type: "text", text: "see" },
      { type: "image", source: { type: "base64", media_type: "image/png", data: "AA==" } },
      { type: "document", title: "b.pdf", source: { type: "base64", media_type: "application/pdf", data: "BB==" } },
      { type: "text", text: "File c.md:\n# c" },
      { type: "text", text: "File d.json:\n{}" },
      { type: "text", text: "File: /e" },
    ])
  })

  it("with an attachment that Claude does not take fails at once, and the next one is asked", () => {
    const cli = claudeSteps().begun()
    const events = cli.prompt([{ type: "resource", name: "a.zip", mimeType: "application/zip", data: "AA==" }])
    expect(of(events, "ended")).toMatchObject([{ status: "failed", error: { tag: "Unsupported" } }])
    expect(of(events, "ended")[0]?.error?.message).toContain("a.zip")
    expect(of(events, "write")).toEqual([])
    expect(of(cli.prompt("b"), "write")).toHaveLength(1)
  })

  it("keeps blocks of text apart, in its deltas as in its answer", () => {
    const cli = asked()
    const block = { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } }
    const events = cli.hear(
      streamed({ type: "message_start", message: { id: "m1" } }),
      piece("one "),
      piece("two"),
      assistant([{ type: "text", text: "one two" }]),
      streamed(block),
      piece("three"),
      assistant([{ type: "text", text: "three" }]),
      result({ result: "three" }),
    )
    expect(said(events)).toBe("one two\n\nthree")
    expect(of(events, "ended")[0]?.text).toBe("one two\n\nthree")
    expect(types(events)).toEqual(["delta", "delta", "delta", "native", "conversation", "deadline", "ended"])
  })

  it("takes its text from whole messages where none came in pieces", () => {
    const cli = asked()
    const thinking = { type: "thinking", thinking: "hm" }
    const events = cli.hear(
      assistant([thinking, { type: "text", text: "one" }]),
      assistant([{ type: "text", text: "two" }], {}, "m2"),
    )
    expect(said(events)).toBe("one\n\ntwo")
    expect(of(events, "thought")).toEqual([{ type: "thought", text: "hm" }])
    expect(of(cli.hear(result({ result: "two" })), "ended")[0]?.text).toBe("one\n\ntwo")
  })

  it("without any text takes that of its result: a command of the CLI's own", () => {
    expect(ended(result({ result: "cost: nothing" }))).toMatchObject({ status: "completed", text: "cost: nothing" })
  })

  it("does not hold what the CLI says again, as it does when it compacts the conversation", () => {
    const cli = asked()
    const uuid = (n: number) => ({ uuid: `u${n}` })
    const first = assistant([{ type: "text", text: "one" }], uuid(0))
    expect(said(cli.hear(first, result()))).toBe("one")
    cli.prompt("/compact")
    const again = assistant([{ type: "text", text: "one" }], uuid(0), "another")
    expect(said(cli.hear(again, assistant([{ type: "text", text: "two" }], uuid(1), "m2")))).toBe("two")
    for (let n = 2; n < 2000; n++) cli.hear(assistant([], uuid(n)))
    expect(cli.state().heard.size).toBeLessThan(1000)
  })

  it("tells a tool's call and its result under one id", () => {
    const tool = { type: "tool_use", id: "t1", name: "Bash", input: { command: "ls" } }
    const answered = (fields: object) => ({
      type: "user",
      message: { role: "user", content: [{ type: "tool_result", tool_use_id: "t1", content: "a.txt", ...fields }] },
      parent_tool_use_id: null,
    })
    const events = asked().hear(assistant([tool]), answered({}))
    expect(events).toEqual([
      { type: "tool", toolId: "t1", name: "Bash", input: { command: "ls" }, status: "in_progress" },
      { type: "tool", toolId: "t1", name: "Bash", output: "a.txt", status: "completed" },
    ])
    expect(of(asked().hear(assistant([tool]), answered({ is_error: true })), "tool")[1]?.status).toBe("failed")
  })

  it("leaves to a subagent what it says, and tells it as native", () => {
    const fields = { parent_tool_use_id: "t1" }
    const events = asked().hear(
      streamed({ type: "content_block_delta", delta: { type: "text_delta", text: "sub" } }, fields),
      assistant([{ type: "text", text: "sub" }], fields),
    )
    expect(types(events)).toEqual(["native", "native"])
  })

  it("fails by is_error, also under the subtype success, and is not called its own answer", () => {
    const words = "API Error: 400 no"
    const synthetic = assistant([{ type: "text", text: words }], { error: "invalid_request" })
    const failed = result({ is_error: true, result: words, terminal_reason: "api_error", api_error_status: 400 })
    expect(ended(synthetic, failed)).toMatchObject({
      status: "failed",
      text: "",
      stopReason: "api_error",
      error: { tag: "AgentError", message: words, apiStatus: 400 },
    })
  })

  it("fails by its subtype, and names the errors", () => {
    const errors = ["one", "two"]
    expect(
      ended(result({ subtype: "error_max_turns", result: undefined, terminal_reason: undefined, errors })),
    ).toMatchObject({
      status: "failed",
      stopReason: "error_max_turns",
      error: { message: "one; two" },
    })
  })

  it("is cancelled by an interrupt, with what was said until then", () => {
    const cli = asked()
    const events = [...cli.hear(piece("one")), ...cli.cancel()]
    expect(written(events)).toMatchObject([{ type: "control_request", request: { subtype: "interrupt" } }])
    const { request_id } = written(events)[0]!
    const ack = { type: "control_response", response: { subtype: "success", request_id, response: {} } }
    const aborted = result({ subtype: "error_during_execution", is_error: true, terminal_reason: "aborted_streaming" })
    expect(of(cli.hear(ack, aborted), "ended")).toMatchObject([{ status: "cancelled", text: "one" }])
    cli.prompt("b")
    expect(of(cli.hear(init()), "write")).toEqual([])
    expect(cli.cancel()).not.toEqual(events)
  })

  it("that ended while it was interrupted is completed, and the interrupt meets no later one", () => {
    const cli = asked()
    cli.cancel()
    expect(of(cli.hear(piece("x"), result()), "ended")).toMatchObject([{ status: "completed" }])
    cli.prompt("b")
    expect(of(cli.hear(init()), "write")).toEqual([])
  })

  it("carries its own usage: costs come as sums over the process", () => {
    const usage = {
      input_tokens: 1,
      output_tokens: 2,
      cache_read_input_tokens: 3,
      cache_creation_input_tokens: 4,
      x: {},
    }
    const cli = asked()
    const first = of(cli.hear(result({ usage, total_cost_usd: 0.3 })), "ended")[0]
    expect(first?.usage).toEqual({
      inputTokens: 1,
      outputTokens: 2,
      cacheReadTokens: 3,
      cacheWriteTokens: 4,
      costUsd: 0.3,
    })
    cli.prompt("b")
    expect(of(cli.hear(result({ usage, total_cost_usd: 0.4 })), "ended")[0]?.usage?.["costUsd"]).toBe(0.1)
  })

  it("longer than is kept is streamed whole and fails", () => {
    const cli = claudeSteps({}, 10).begun()
    cli.prompt("a")
    const events = cli.hear(piece("12345678"), piece("90123"), piece("x"), result())
    expect(said(events)).toBe("1234567890123x")
    expect(of(events, "ended")).toMatchObject([{ status: "failed", text: "12345678", error: { tag: "AnswerTooLong" } }])
  })
})

describe("a turn of the CLI's own", () => {
  const own = { origin: { kind: "task-notification" } }

  it("is told aside and ends nobody's turn", () => {
    const cli = claudeSteps().begun()
    cli.hear(init())
    cli.prompt("mine")
    const aside = cli.hear(piece("of"), assistant([{ type: "text", text: "of its own" }]), result(own))
    expect(types(aside)).toEqual(["native", "native", "conversation", "deadline"])
    const events = cli.hear(init(), piece("to"), piece(" me"), result())
    expect(of(events, "ended")).toMatchObject([{ status: "completed", text: "to me" }])
  })

  it("that began as the prompt was sent ends no turn either", () => {
    const cli = claudeSteps().begun()
    cli.prompt("mine")
    expect(of(cli.hear(init(), piece("own"), result(own)), "ended")).toEqual([])
    expect(of(cli.hear(init(), piece("mine"), result()), "ended")).toMatchObject([{ text: "mine" }])
  })

  it("is interrupted with the prompt that waits behind it, and so is that prompt", () => {
    const cli = claudeSteps().begun()
    cli.hear(init())
    cli.prompt("mine")
    expect(written(cli.cancel())).toHaveLength(1)
    expect(written(cli.hear(result({ ...own, terminal_reason: "aborted_streaming" })))).toEqual([])
    expect(written(cli.hear(init()))).toMatchObject([{ request: { subtype: "interrupt" } }])
    const aborted = result({ is_error: true, terminal_reason: "aborted_streaming" })
    expect(of(cli.hear(aborted), "ended")).toMatchObject([{ status: "cancelled" }])
  })
})

describe("a permission", () => {
  const rules = [{ toolName: "Bash", ruleContent: "ls *" }]
  const suggestions = [
    { type: "addRules", rules, behavior: "allow", destination: "localSettings" },
    { type: "setMode", mode: "acceptEdits", destination: "session" },
  ]
  const requested = (fields: object = {}) => {
    const cli = claudeSteps().begun()
    cli.prompt("a")
    return { cli, events: cli.hear(asks("q", fields)) }
  }
  const responses = (events: Parameters<typeof written>[0]) =>
    written(events).map((message) => (message as { response: { response: unknown } }).response.response)

  it("is asked for with its options", () => {
    expect(requested().events).toEqual([
      {
        type: "permission",
        request: "q",
        tool: "Bash",
        input: { command: "ls" },
        options: [
          { id: "allow", name: "Allow", kind: "allow_once" },
          { id: "deny", name: "Deny", kind: "reject_once" },
        ],
      },
    ])
    const { events } = requested({ permission_suggestions: suggestions })
    expect(of(events, "permission")[0]?.options[1]).toEqual({
      id: "allow_always",
      name: "Always allow Bash(ls *)",
      kind: "allow_always",
    })
  })

  it("is allowed with the input as it was, or with another", () => {
    const { cli } = requested()
    const events = cli.answer("q", "allow")
    expect(written(events)).toMatchObject([
      { type: "control_response", response: { subtype: "success", request_id: "q" } },
    ])
    expect(responses(events)).toEqual([{ behavior: "allow", updatedInput: { command: "ls" } }])
    expect(responses(requested().cli.answer("q", "allow", { command: "ls -l" }))).toEqual([
      { behavior: "allow", updatedInput: { command: "ls -l" } },
    ])
  })

  it("is allowed for good by the rules that were suggested, for this process alone and without a mode", () => {
    const { cli } = requested({ permission_suggestions: suggestions })
    const updatedPermissions = [{ ...suggestions[0], destination: "session" }]
    expect(responses(cli.answer("q", "allow_always"))).toMatchObject([{ behavior: "allow", updatedPermissions }])
    const mode = requested({ permission_suggestions: suggestions.slice(1) })
    expect(responses(mode.cli.answer("q", "allow_always"))).toMatchObject([
      { updatedPermissions: suggestions.slice(1) },
    ])
  })

  it("is denied with the words of whoever does, never with none", () => {
    expect(responses(requested().cli.answer("q", "deny", "not today"))).toEqual([
      { behavior: "deny", message: "not today" },
    ])
    expect(responses(requested().cli.answer("q", "deny", { message: "no" }))).toEqual([
      { behavior: "deny", message: "no" },
    ])
    const [{ message }] = responses(requested().cli.answer("q", "deny", " ")) as [{ message: string }]
    expect(message.trim()).not.toBe("")
  })

  it("of a question takes the answers besides the questions", () => {
    const { cli } = requested({ tool_name: "AskUserQuestion", input: { questions: [1] } })
    expect(responses(cli.answer("q", "allow", { answers: { a: "b" } }))).toEqual([
      { behavior: "allow", updatedInput: { questions: [1], answers: { a: "b" } } },
    ])
  })

  it("is answered once, and not at all where the CLI took it back", () => {
    const { cli } = requested()
    expect(cli.answer("q", "allow")).toHaveLength(1)
    expect(cli.answer("q", "deny")).toEqual([])
    const other = requested().cli
    const cancelled = { type: "control_cancel_request", request_id: "q" }
    expect(other.hear(cancelled)).toEqual([{ type: "permissionWithdrawn", request: "q" }])
    expect(other.answer("q", "allow")).toEqual([])
    expect(types(other.hear(cancelled))).toEqual(["native"])
  })

  it("is the only request that stays open: any other is refused, and told", () => {
    const cli = claudeSteps().begun()
    const events = cli.hear({ type: "control_request", request_id: "h", request: { subtype: "hook_callback" } })
    expect(written(events)).toMatchObject([{ response: { subtype: "error", request_id: "h" } }])
    expect(of(events, "native")).toHaveLength(1)
  })
})

describe("what else the CLI says", () => {
  it("is passed on: unknown messages as they are, lines that are none as output", () => {
    const cli = claudeSteps().begun()
    const unknown = { type: "news", of: ["a"] }
    expect(cli.lines("warning", JSON.stringify(unknown), "", "[1]", "{broken")).toEqual([
      { type: "output", data: "warning\n" },
      { type: "native", message: unknown },
      { type: "output", data: "[1]\n{broken\n" },
    ])
  })

  it("about itself is passed on when it changes, not with every turn", () => {
    const cli = claudeSteps().begun()
    expect(of(cli.hear({ ...init(), uuid: "1" }), "native")).toHaveLength(1)
    expect(of(cli.hear({ ...init(), uuid: "2" }), "native")).toEqual([])
    expect(of(cli.hear({ ...init(), tools: [] }), "native")).toHaveLength(1)
  })

  it("and other events tell whole is passed on after a silence, as a sign of life", () => {
    const cli = claudeSteps().begun()
    cli.prompt("a")
    const json = streamed({ type: "content_block_delta", delta: { type: "input_json_delta", partial_json: "{" } })
    expect(cli.hear(json)).toEqual([])
    cli.pass(heartbeatMs)
    expect(types(cli.hear(json, json))).toEqual(["native"])
    expect(cli.hear(json)).toEqual([])
  })
})

describe("whatever comes, in whatever order", () => {
  const word = fc.constantFrom("", "x", "m1", "t1", "q", "fresh-1", "initialize")
  const junk = fc.oneof(word, fc.constantFrom(null, 0, 1.5, true, [], {}, [null], ["a"], { type: "text" }))
  const kinds = [
    "stream_event",
    "assistant",
    "user",
    "system",
    "result",
    "control_request",
    "control_response",
    "control_cancel_request",
    "keep_alive",
    "tool_progress",
    "",
  ]
  const fields = [
    ...[
      "subtype",
      "request_id",
      "request",
      "response",
      "session_id",
      "event",
      "message",
      "result",
      "errors",
      "is_error",
    ],
    ...["parent_tool_use_id", "terminal_reason", "usage", "total_cost_usd", "origin", "error", "uuid"],
  ]
  const made = fc
    .tuple(fc.constantFrom(...kinds), fc.dictionary(fc.constantFrom(...fields), junk, { maxKeys: 5 }))
    .map(([type, rest]) => JSON.stringify({ type, ...rest }))
  const good = fc
    .constantFrom<object>(
      ...[
        ready,
        init(),
        init("other"),
        result(),
        result({ is_error: true }),
        result({ origin: { kind: "task-notification" } }),
      ],
      ...[
        result({ terminal_reason: "aborted_tools" }),
        piece("a"),
        assistant([{ type: "text", text: "b" }]),
        asks("q"),
        asks("r"),
      ],
      ...[
        { type: "control_cancel_request", request_id: "q" },
        streamed({ type: "message_start", message: { id: "m1" } }),
      ],
    )
    .map((message) => JSON.stringify(message))
  const line = fc.oneof(good, good, made, fc.json(), fc.string())
  const act = fc.oneof(
    { weight: 6, arbitrary: line.map((text) => ({ do: "hear", text }) as const) },
    fc.constantFrom({ do: "prompt" } as const, { do: "cancel" } as const, { do: "timer" } as const),
    fc.constantFrom({ do: "allow" } as const, { do: "pass" } as const),
  )

  it("nothing throws, no turn ends twice, and every permission is asked for and settled once", () => {
    checked(fc.array(act, { maxLength: 60 }), (acts) => {
      const cli = claudeSteps()
      const events = [...cli.start()]
      let isReady = false
      let running = 0
      let broken = false
      const open = new Set<string>()
      for (const each of acts) {
        const before = events.length
        if (each.do === "hear") events.push(...cli.lines(each.text))
        // As the session actor does: only between turns, after `ready`, and to a child that is not broken.
        else if (each.do === "prompt" && isReady && running === 0 && !broken) {
          running = 1
          events.push(...cli.prompt("p"))
        } else if (each.do === "cancel" && running === 1) events.push(...cli.cancel())
        else if (each.do === "allow") {
          for (const request of open) events.push(...cli.answer(request, "allow"))
          open.clear()
        } else if (each.do === "pass") events.push(...cli.pass(700))
        else if (each.do === "timer") events.push(...cli.timer())
        for (const event of events.slice(before)) {
          if (event.type === "ready") isReady = true
          if (event.type === "broken") broken = true
          if (event.type === "write" && !event.data.endsWith("}\n")) throw new Error("half a line was written")
          if (event.type === "write" && event.data.slice(0, -1).includes("\n"))
            throw new Error("two lines were written")
          if (event.type === "ended" && --running < 0) throw new Error("a turn ended that did not run")
          if (event.type === "permission") {
            if (open.has(event.request)) throw new Error("asked twice")
            open.add(event.request)
          }
          if (event.type === "permissionWithdrawn" && !open.delete(event.request)) throw new Error("withdrawn unasked")
        }
      }
      if (of(events, "ready").length > 1) throw new Error("ready twice")
    })
  })
})
