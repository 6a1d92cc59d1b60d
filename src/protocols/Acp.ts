/**
 * `acp`: an agent that speaks the Agent Client Protocol, version 1: JSON-RPC 2.0, one message a line, both ways. The session
 * actor steps it. Files are read and written for the agent where `files` says so, and offered only then; terminals never. What
 * else the agent asks for is refused, and shown.
 *
 * An earlier conversation is resumed, or loaded where the agent cannot resume: what it then tells of the past is in the
 * transcript already and is dropped. An agent that can do neither begins anew. One that could and refuses is broken, and so
 * is one that is to fork and cannot: `canFork` is said before any agent has said what it can.
 * A conversation counts from the first word of its first turn: agents know nothing of one in which nothing was said.
 */
import type { CancelNotification, InitializeRequest, PromptRequest, SessionUpdate } from "@agentclientprotocol/sdk"
import * as Files from "./AcpFiles.ts"
import * as Handshake from "./AcpHandshake.ts"
import { isEmpty, unknownAgent } from "./AcpMessage.ts"
import { isObject, objectOf, type JsonObject } from "./JsonObject.ts"
import * as Permission from "./AcpPermission.ts"
import { contentBlocks } from "./AcpPrompt.ts"
import { ask, tellConversation, write, type AcpState, type Asked, type Events, type Phase } from "./AcpState.ts"
import { addUpdate, beginTurn, endTurn, failTurn } from "./AcpTurn.ts"
import { defaultAnswerChars } from "./Answer.ts"
import { interruptThenEof } from "./InterruptThenEof.ts"
import type { Protocol, Step } from "./Protocol.ts"
import * as RpcPeer from "./RpcPeer.ts"

export interface AcpOptions {
  /** As the agent calls it. */
  readonly model?: string
  /** The agent's own id of a conversation that a new session goes on with. */
  readonly resume?: string
  /** Added to the agent's own. One that takes none is broken. */
  readonly systemPrompt?: string
  readonly extraArgs?: ReadonlyArray<string>
  /** Whether the agent may have files below its working directory read, or written as well, by creche. */
  readonly files?: "read" | "write"
  /** It cannot go on with a conversation, whatever it says: every process begins a new one. */
  readonly forgets?: boolean
}

const methodNotFound = -32601

type UpdateKind = SessionUpdate["sessionUpdate"]

/** What `session/load` tells of the past. */
const past: ReadonlySet<unknown> = new Set<UpdateKind>([
  "user_message_chunk",
  "agent_message_chunk",
  "agent_thought_chunk",
  "tool_call",
  "tool_call_update",
  "plan",
])

/** What says nothing of whether the agent has taken the prompt. */
const aside: ReadonlySet<unknown> = new Set<UpdateKind>([
  "usage_update",
  "available_commands_update",
  "current_mode_update",
  "config_option_update",
  "session_info_update",
])

const costOf = (update: JsonObject): number | undefined => {
  const { amount, currency } = objectOf(update["cost"])
  return currency === "USD" && typeof amount === "number" && Number.isFinite(amount) ? amount : undefined
}

const sessionOf = (phase: Phase): string | null => ("session" in phase ? phase.session : null)

/** The answer to a prompt holds more than how its turn ended. */
const saysMore = (answer: unknown): boolean =>
  !isObject(answer) ||
  Object.entries(answer).some(
    ([field, value]) => field !== "stopReason" && field !== "usage" && !(field === "_meta" && isEmpty(value)),
  )

const jsonOf = (line: string): unknown => {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

const cancelTurn = (state: AcpState): Step<AcpState> => {
  const { phase, peer } = state
  const events: Events = []
  if (phase.tag !== "prompting" || phase.turn.cancelling) return { state, events }
  const params = { sessionId: phase.session } satisfies CancelNotification
  write(events, RpcPeer.notification(peer, "session/cancel", params))
  const turn = { ...phase.turn, cancelling: true }
  const next = Files.giveUpAll(Permission.cancelAll(state, events), events)
  return { state: { ...next, phase: { ...phase, turn } }, events }
}

export const makeAcp = (
  { model, resume, systemPrompt, extraArgs, files, forgets = false }: AcpOptions = {},
  /** More of an answer than this is passed on but not kept; its turn then fails as `AnswerTooLong`. */
  answerChars: number = defaultAnswerChars,
): Protocol<AcpState> => {
  const updated = (state: AcpState, message: unknown, params: JsonObject, now: number, events: Events): AcpState => {
    const { phase } = state
    const update = objectOf(params["update"])
    const what = update["sessionUpdate"]
    const cost = costOf(update)
    const next = cost === undefined ? state : { ...state, cost }
    const isLoading = phase.tag === "settling" || (phase.tag === "opening" && phase.by === "session/load")
    if (isLoading && past.has(what)) {
      if (phase.tag === "settling") events.push({ type: "deadline", at: now + Handshake.settleMs })
      return next
    }
    // What comes between turns, and what agents of the agent say, is no part of an answer.
    if (phase.tag !== "prompting" || params["sessionId"] !== phase.session) {
      events.push({ type: "native", message })
      return next
    }
    const told = aside.has(what) ? next : tellConversation(next, events)
    const { turn, events: added, untold } = addUpdate(phase.turn, update, answerChars)
    events.push(...added)
    if (untold) events.push({ type: "native", message })
    return turn === phase.turn ? told : { ...told, phase: { ...phase, turn } }
  }

  /** The end of a turn, one way or the other. */
  const ended = (before: AcpState, message: RpcPeer.RpcMessage<Asked>, events: Events): AcpState => {
    const { phase } = before
    if (phase.tag !== "prompting" || (message.type !== "result" && message.type !== "error")) return before
    const told = message.type === "error" ? before : tellConversation(before, events)
    const state = Files.giveUpAll(Permission.withdrawAll(told, events), events)
    events.push(
      message.type === "error"
        ? failTurn(phase.turn, message.error, state.cost)
        : endTurn(phase.turn, objectOf(message.result), state.cost, answerChars),
    )
    return { ...state, phase: { tag: "idle", session: phase.session } }
  }

  const frame = (state: AcpState, line: string, now: number, events: Events): AcpState => {
    const value = jsonOf(line)
    if (value === undefined) {
      events.push({ type: "output", data: line + "\n" })
      return state
    }
    const message = RpcPeer.receiveValue(state.peer, value)
    if (message.type === "notification" && message.method === "session/update") {
      return updated(state, value, objectOf(message.params), now, events)
    }
    if (message.type === "request" && message.method === "session/request_permission") {
      const params = objectOf(message.params)
      const isOwn = params["sessionId"] === sessionOf(state.phase)
      return Permission.requested(isOwn ? tellConversation(state, events) : state, message.id, params, value, events)
    }
    if (message.type === "request") {
      const { id, method, params } = message
      const request = { id, method, params: objectOf(params) }
      const next = Files.requested(state, sessionOf(state.phase), files, request, events)
      if (next !== undefined) return next
    }
    const isPlainEnd = message.type === "result" && message.kind === "session/prompt" && !saysMore(message.result)
    if (!isPlainEnd) events.push({ type: "native", message: value })
    switch (message.type) {
      case "stray":
        return state
      case "notification": {
        const params = objectOf(message.params)
        return message.method === "$/cancel_request"
          ? Files.takenBack(Permission.takenBack(state, params, events), params["requestId"], events)
          : state
      }
      case "request": {
        const error = { code: methodNotFound, message: `creche does not offer ${message.method}` }
        write(events, RpcPeer.failure(state.peer, message.id, error))
        return state
      }
      case "result":
      case "error": {
        const next = { ...state, peer: message.peer }
        if (state.phase.tag === "broken") return next
        if (message.kind === "session/prompt") return ended(next, message, events)
        return message.type === "error"
          ? Handshake.refused(next, message.kind, message.error, events)
          : Handshake.answered(next, message.kind, objectOf(message.result), model, now, events)
      }
    }
  }

  return {
    name: "acp",
    framing: "lines",
    // Of the many agents the one that is nothing but this; the others are named by a command or a template.
    command: { command: "claude-agent-acp", args: [] },
    canFork: !forgets,
    ...(extraArgs === undefined ? undefined : { args: () => extraArgs }),
    start: ({ from, cwd, costUsd }) => {
      const events: Events = []
      const state: AcpState = {
        phase: { tag: "opening", by: "session/new", session: null },
        peer: RpcPeer.makePeer<Asked>(),
        agent: unknownAgent,
        cwd,
        systemPrompt: systemPrompt ?? null,
        from: forgets ? null : (from ?? (resume === undefined ? null : { conversation: resume, fork: false })),
        told: false,
        requests: new Map(),
        calls: new Map(),
        cost: costUsd,
      }
      const params = {
        protocolVersion: 1,
        clientCapabilities: { fs: Files.capabilities(files), terminal: false },
        clientInfo: { name: "creche", title: "creche", version: "1" },
      } satisfies InitializeRequest
      return { state: ask(state, "initialize", "initialize", params, events), events }
    },
    prompt: (state, prompt) => {
      const events: Events = []
      const session = sessionOf(state.phase)!
      const blocks = contentBlocks(prompt, state.agent, state.cwd)
      const params = { sessionId: session, prompt: [...blocks] } satisfies PromptRequest
      const next = ask(state, "session/prompt", "session/prompt", params, events)
      return { state: { ...next, phase: { tag: "prompting", session, turn: beginTurn(state.cost) } }, events }
    },
    frames: (before, frames, now) => {
      const events: Events = []
      let state = before
      for (const line of frames) state = frame(state, line, now, events)
      return { state, events }
    },
    eof: (state) => ({ state, events: [] }),
    timer: (state) => {
      const events: Events = []
      const { phase } = state
      return { state: phase.tag === "settling" ? Handshake.ready(state, phase.session, events) : state, events }
    },
    politeStop: (state) => interruptThenEof(cancelTurn(state), ({ phase }) => phase.tag === "prompting"),
    cancel: cancelTurn,
    answer: (state, request, option) => {
      const events: Events = []
      return { state: Permission.answer(state, request, option, events), events }
    },
    returned: (state, call, answer) => {
      const events: Events = []
      return { state: Files.returned(state, call, answer, events), events }
    },
    authenticate: (state, method) => {
      const events: Events = []
      const { phase } = state
      if (phase.tag !== "authenticating") return { state, events }
      const next: AcpState = { ...state, phase: { tag: "opening", by: phase.by, session: null } }
      const params = { methodId: method ?? state.agent.authMethods[0] }
      return { state: ask(next, "authenticate", "authenticate", params, events), events }
    },
  }
}
