/** An ACP conversation stepped by hand: the agent's side is written line by line. For unit tests; starts nothing. */
import { makeAcp, type AcpOptions } from "../../src/protocols/Acp.ts"
import type { AcpState } from "../../src/protocols/AcpState.ts"
import type { Prompt } from "../../src/domain/Prompt.ts"
import type { HostAnswer } from "../../src/protocols/HostCall.ts"
import type { ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"

export interface Wire {
  readonly jsonrpc: string
  readonly id?: number | string
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string }
}

export const session = "s-1"

/** Every capability that the protocol knows to use. */
export const ableAgent = {
  protocolVersion: 1,
  agentCapabilities: {
    loadSession: true,
    promptCapabilities: { image: true, audio: true, embeddedContext: true },
    sessionCapabilities: { resume: {}, fork: {} },
  },
  authMethods: [] as ReadonlyArray<unknown>,
}

export const written = (events: ReadonlyArray<ProtocolEvent>): ReadonlyArray<Wire> =>
  events.flatMap((event) =>
    event.type === "write"
      ? event.data
          .split("\n")
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Wire)
      : [],
  )

export const without = (events: ReadonlyArray<ProtocolEvent>, ...types: ReadonlyArray<ProtocolEvent["type"]>) =>
  events.filter(({ type }) => !types.includes(type))

export const acp = (options: AcpOptions = {}, answerChars?: number) => {
  const protocol = makeAcp(options, answerChars)
  let state: AcpState
  let now = 1_000
  let due: number | null = null
  let asked = 0
  const run = (step: Step<AcpState>): ReadonlyArray<ProtocolEvent> => {
    state = step.state
    for (const event of step.events) if (event.type === "deadline") due = event.at
    for (const { id, method } of written(step.events)) if (method !== undefined && id !== undefined) asked = Number(id)
    return step.events
  }
  const api = {
    protocol,
    state: () => state,
    due: () => due,
    start: (from: Resumption | null = null, costUsd: number | null = null) =>
      run(protocol.start({ from, freshId: "fresh", cwd: "/work dir", costUsd, now })),
    lines: (...lines: ReadonlyArray<string>) => run(protocol.frames(state, lines, now)),
    says: (...messages: ReadonlyArray<object>) =>
      api.lines(...messages.map((message) => JSON.stringify({ jsonrpc: "2.0", ...message }))),
    /** The answer to the newest request of ours. */
    answers: (result: unknown) => api.says({ id: asked, result }),
    refuses: (code: number, message = "no", data?: unknown) => api.says({ id: asked, error: { code, message, data } }),
    update: (update: object, sessionId = session) =>
      api.says({ method: "session/update", params: { sessionId, update } }),
    chunk: (text: string, messageId?: string, sessionId = session) =>
      api.update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text }, messageId }, sessionId),
    wantsPermission: (id: number | string, toolCall: object, options?: ReadonlyArray<object>) =>
      api.says({
        id,
        method: "session/request_permission",
        params: { sessionId: session, toolCall, options: options ?? permissionOptions },
      }),
    prompt: (prompt: Prompt = "x") => run(protocol.prompt(state, prompt, "token", now)),
    cancel: () => run(protocol.cancel!(state)),
    answer: (request: string, option: string) => run(protocol.answer!(state, request, option)),
    wantsFile: (id: number | string, method: "read" | "write", params: object) =>
      api.says({ id, method: `fs/${method}_text_file`, params: { sessionId: session, ...params } }),
    returned: (call: string, answer: HostAnswer) => run(protocol.returned!(state, call, answer)),
    authenticate: (method: string | null = null) => run(protocol.authenticate!(state, method)),
    eof: () => run(protocol.eof(state)),
    advance: (ms: number) => {
      now += ms
      if (due === null || due > now) return []
      due = null
      return run(protocol.timer(state, now))
    },
  }
  return api
}

const permissionOptions = [
  { optionId: "a1", name: "Allow", kind: "allow_once" },
  { optionId: "a2", name: "Always", kind: "allow_always" },
  { optionId: "r1", name: "Reject", kind: "reject_once" },
]

/** Ready, in a new conversation. */
export const readied = (options: AcpOptions = {}, agent: object = ableAgent, answerChars?: number) => {
  const it = acp(options, answerChars)
  it.start()
  it.answers(agent)
  it.answers({ sessionId: session })
  return it
}

/** In its first turn. */
export const prompted = (agent: object = ableAgent, answerChars?: number) => {
  const it = readied({}, agent, answerChars)
  it.prompt()
  return it
}
