/** Steps the `claude` protocol by hand, over messages made up here or over a recorded wire. Starts nothing. */
import { readFileSync } from "node:fs"
import type { Prompt } from "../../src/domain/Prompt.ts"
import { makeClaude, type ClaudeState } from "../../src/protocols/Claude.ts"
import type { ClaudeOptions } from "../../src/protocols/ClaudeArgs.ts"
import type { ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"

export type Events = ReadonlyArray<ProtocolEvent>

export const ready = {
  type: "control_response",
  response: { subtype: "success", request_id: "initialize", response: {} },
}
export const init = (session = "fresh-1") => ({ type: "system", subtype: "init", session_id: session, tools: ["Bash"] })
export const result = (fields: object = {}) => ({
  type: "result",
  subtype: "success",
  is_error: false,
  result: "",
  stop_reason: "end_turn",
  terminal_reason: "completed",
  ...fields,
})
export const streamed = (event: object, fields: object = {}) => ({
  type: "stream_event",
  event,
  parent_tool_use_id: null,
  ...fields,
})
export const piece = (text: string) =>
  streamed({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })
export const assistant = (content: ReadonlyArray<object>, fields: object = {}, id = "m1") => ({
  type: "assistant",
  message: { id, role: "assistant", content },
  parent_tool_use_id: null,
  ...fields,
})
export const asks = (id: string, fields: object = {}) => ({
  type: "control_request",
  request_id: id,
  request: { subtype: "can_use_tool", tool_name: "Bash", input: { command: "ls" }, ...fields },
})

export const claudeSteps = (options: ClaudeOptions = {}, answerChars?: number) => {
  const protocol = makeClaude(options, answerChars)
  let now = 1_000
  let due: number | null = null
  let state: ClaudeState
  const run = (step: Step<ClaudeState>): Events => {
    state = step.state
    for (const event of step.events) if (event.type === "deadline") due = event.at
    return step.events
  }
  const api = {
    protocol,
    state: () => state,
    start: (from: Resumption | null = null) =>
      run(protocol.start({ from, freshId: "fresh-1", cwd: "/project", now, costUsd: null })),
    lines: (...lines: ReadonlyArray<string>) => run(protocol.frames(state, lines, now)),
    hear: (...messages: ReadonlyArray<object>) => api.lines(...messages.map((message) => JSON.stringify(message))),
    prompt: (prompt: Prompt) => run(protocol.prompt(state, prompt, "t", now)),
    cancel: () => run(protocol.cancel!(state)),
    answer: (request: string, option: string, value?: unknown) => run(protocol.answer!(state, request, option, value)),
    timer: () => run(protocol.timer(state, now)),
    /** Lets time pass, and calls the timer where one is due. */
    pass: (ms: number): Events => {
      now += ms
      if (due === null || due > now) return []
      due = null
      return run(protocol.timer(state, now))
    },
    /** Ready, without the events up to there. */
    begun: (from: Resumption | null = null) => {
      api.start(from)
      api.hear(ready)
      return api
    },
  }
  return api
}

export const of = <T extends ProtocolEvent["type"]>(
  events: Events,
  type: T,
): ReadonlyArray<Extract<ProtocolEvent, { readonly type: T }>> => events.filter((event) => event.type === type) as never

export const said = (events: Events): string =>
  of(events, "delta")
    .map(({ text }) => text)
    .join("")

export const written = (events: Events): ReadonlyArray<Record<string, unknown>> =>
  of(events, "write").map(({ data }) => JSON.parse(data) as Record<string, unknown>)

interface Wire {
  readonly dir: string
  readonly data: unknown
}

export const recorded = (name: string): ReadonlyArray<Wire> =>
  readFileSync(new URL(`../fixtures/agents/claude/${name}.jsonl`, import.meta.url), "utf8")
    .replaceAll("${session}", "fresh-1")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Wire)

/** What the protocol made of a recording, told of each prompt, answer and interrupt where it was then. */
export const heardOf = (name: string): Events => {
  const cli = claudeSteps()
  const events: Array<ProtocolEvent> = [...cli.start()]
  for (const { dir, data } of recorded(name)) {
    if (dir === "out") events.push(...cli.hear(data as object))
    if (dir !== "in") continue
    const { type, message, request } = data as {
      readonly type: string
      readonly message?: { readonly content: ReadonlyArray<{ readonly text: string }> }
      readonly request?: { readonly subtype: string }
    }
    if (type === "user") events.push(...cli.prompt(message!.content[0]!.text))
    else if (request?.subtype === "interrupt") events.push(...cli.cancel())
    else for (const permission of cli.state().permissions.keys()) events.push(...cli.answer(permission, "allow"))
  }
  return events
}
