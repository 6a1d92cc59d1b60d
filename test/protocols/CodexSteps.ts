/** A Codex protocol stepped by hand, and the agent's side of the conversation written by hand. Starts nothing. */
import { makeCodex, type CodexOptions } from "../../src/protocols/Codex.ts"
import type { CodexState } from "../../src/protocols/CodexState.ts"
import type { Prompt } from "../../src/domain/Prompt.ts"
import type { ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"

export type Message = Readonly<Record<string, unknown>>
type Of<T extends ProtocolEvent["type"]> = Extract<ProtocolEvent, { readonly type: T }>

export const thread = "thread-1"

export const of = <T extends ProtocolEvent["type"]>(
  events: ReadonlyArray<ProtocolEvent>,
  type: T,
): ReadonlyArray<Of<T>> => events.filter((event): event is Of<T> => event.type === type)

export const written = (events: ReadonlyArray<ProtocolEvent>): ReadonlyArray<Message> =>
  of(events, "write").flatMap(({ data }) =>
    data
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Message),
  )

export const notice = (method: string, params: Message = {}): Message => ({
  method,
  params: { threadId: thread, ...params },
})

export interface Setting {
  readonly options?: CodexOptions
  readonly from?: Resumption
  readonly freshId?: string
  readonly answerChars?: number
}

export const codex = ({ options = {}, from, freshId = "fresh-1", answerChars }: Setting = {}) => {
  const protocol = makeCodex(options, answerChars)
  let clock = 1_000
  let due: number | null = null
  let state: CodexState
  const run = (step: Step<CodexState>): ReadonlyArray<ProtocolEvent> => {
    state = step.state
    for (const event of step.events) if (event.type === "deadline") due = event.at
    return step.events
  }
  const start = (): ReadonlyArray<ProtocolEvent> =>
    run(protocol.start({ from: from ?? null, freshId, cwd: "/place", now: clock, costUsd: null }))
  const says = (...messages: ReadonlyArray<Message | string>) =>
    run(
      protocol.frames(
        state,
        messages.map((message) => (typeof message === "string" ? message : JSON.stringify(message))),
        clock,
      ),
    )
  return {
    protocol,
    start,
    says,
    /** Up to the opening of the thread: introduced, and no login is needed. */
    greets: (result: Message = {}) => [
      ...says({ id: 1, result }),
      ...says({ id: 2, result: { account: null, requiresOpenaiAuth: false } }),
    ],
    authenticate: (method: string | null) => run(protocol.authenticate!(state, method)),
    prompt: (prompt: Prompt) => run(protocol.prompt(state, prompt, "tok", clock)),
    cancel: () => run(protocol.cancel!(state)),
    answer: (request: string, option: string, result?: unknown) =>
      run(protocol.answer!(state, request, option, result)),
    eof: () => run(protocol.eof(state)),
    /** Moves the clock, and calls the timer where its time has come. */
    advance: (ms: number): ReadonlyArray<ProtocolEvent> => {
      clock += ms
      if (due === null || due > clock) return []
      due = null
      return run(protocol.timer(state, clock))
    },
    due: () => due,
  }
}

/** Past the handshake. */
export const ready = (setting: Setting = {}) => {
  const it = codex(setting)
  it.start()
  it.greets({ userAgent: "codex" })
  it.says({ id: 3, result: { thread: { id: thread } } })
  return it
}

/** A turn that began, with the id `turn-1`; the next request has the id 5. */
export const running = (setting: Setting = {}) => {
  const it = ready(setting)
  it.prompt("go")
  it.says({ id: 4, result: { turn: { id: "turn-1" } } }, notice("turn/started", { turn: { id: "turn-1" } }))
  return it
}

export const inTurn = (method: string, params: Message = {}, turnId = "turn-1"): Message =>
  notice(method, { turnId, ...params })

export const delta = (text: string, itemId = "m1", turnId = "turn-1"): Message =>
  inTurn("item/agentMessage/delta", { itemId, delta: text }, turnId)

export const done = (item: Message, turnId = "turn-1"): Message => inTurn("item/completed", { item }, turnId)
export const begun = (item: Message, turnId = "turn-1"): Message => inTurn("item/started", { item }, turnId)

export const completed = (fields: Message = {}, id = "turn-1"): Message =>
  notice("turn/completed", { turn: { id, status: "completed", error: null, ...fields } })

export const tokens = (total: number, last: number, turnId = "turn-1"): Message => {
  const count = (n: number) => ({
    ...{ totalTokens: 15 * n, inputTokens: 10 * n, cachedInputTokens: 3 * n },
    ...{ cacheWriteInputTokens: n, outputTokens: 5 * n, reasoningOutputTokens: 2 * n },
  })
  return inTurn("thread/tokenUsage/updated", { tokenUsage: { total: count(total), last: count(last) } }, turnId)
}
