/**
 * `claude`: Claude Code as one process that serves turn after turn, over its stream-json. It chooses the id of a new
 * conversation, is ready when the CLI has answered `initialize`, and ends a turn by the CLI's `result` alone. Permission
 * requests go to whoever answers; every other request of the CLI is refused at once, so that none stays open.
 *
 * What an event holds whole is not repeated as `native`; all else is passed on so, also what this build does not know.
 * Made once a session by `ProtocolFor`; the parts stand in `ClaudeArgs`, `ClaudeTurn`, `ClaudePermission`, `ClaudePrompt`, `ClaudeMessage`.
 */
import { defaultAnswerChars } from "./Answer.ts"
import { claudeArgs, type ClaudeOptions } from "./ClaudeArgs.ts"
import { controlFailure, controlRequest, controlSuccess, userMessage } from "./ClaudeMessage.ts"
import { parseObject, numberOf, objectOf, stringOf, type JsonObject } from "./JsonObject.ts"
import { optionsOf, permissionIn, responseTo, type ClaudePermission } from "./ClaudePermission.ts"
import { contentOf } from "./ClaudePrompt.ts"
import { addMessage, endOf, failureIn, noTurn, type ClaudeTurn } from "./ClaudeTurn.ts"
import { interruptThenEof } from "./InterruptThenEof.ts"
import type { Protocol, ProtocolEvent } from "./Protocol.ts"
import { StrayLines } from "./StrayLines.ts"

export interface ClaudeState {
  /** `aside`: the CLI began a turn of its own, over background work that ended; `waiting`: our prompt comes after that. */
  readonly phase: "starting" | "idle" | "aside" | "waiting" | "answering"
  readonly turn: ClaudeTurn
  /** The turn was given up; where it had not begun, it still has to be interrupted. */
  readonly cancelling: boolean
  /** The id of this process's conversation. */
  readonly conversation: string
  /** `resumed`: of an earlier process; `new`: not on disk yet; `kept`: said to be there to go on with. */
  readonly stored: "new" | "resumed" | "kept"
  /** What the process has cost so far, in USD. */
  readonly costUsd: number
  readonly permissions: ReadonlyMap<string, ClaudePermission>
  /** The newest messages by their `uuid`: the CLI says some again when it compacts the conversation. */
  readonly heard: ReadonlySet<string>
  /** The newest `system/init`, which comes with every turn; undefined before the first. */
  readonly init: string | undefined
  /** How often the CLI was asked to interrupt; makes each request's id its own. */
  readonly interrupts: number
  /** When the newest event was passed on (ms). */
  readonly saidAt: number
}

type Draft = { -readonly [K in keyof ClaudeState]: ClaudeState[K] }

/** The CLI writes the first prompt to disk some 100 ms after it began the turn; a process killed later can be resumed. */
export const keptAfterMs = 1_000

/** What is told by other events is passed on nevertheless after so long a silence: the agent is at work. */
export const heartbeatMs = 5_000

const rememberedMessages = 128

/** A turn that no prompt began says who did. */
const isOfItsOwn = (result: JsonObject): boolean => {
  const kind = stringOf(objectOf(result["origin"])["kind"])
  return kind !== undefined && kind !== "human" && kind !== "user"
}

const interrupt = (
  state: ClaudeState,
): { readonly state: ClaudeState; readonly events: ReadonlyArray<ProtocolEvent> } => {
  if (state.phase === "starting" || state.phase === "idle") return { state, events: [] }
  const interrupts = state.interrupts + 1
  const data = controlRequest(`interrupt-${interrupts}`, { subtype: "interrupt" }) + "\n"
  return { state: { ...state, interrupts, cancelling: true }, events: [{ type: "write", data }] }
}

export const makeClaude = (
  options: ClaudeOptions = {},
  /** More of an answer than this is streamed but not kept; its turn then fails as `AnswerTooLong`. */
  answerChars: number = defaultAnswerChars,
): Protocol<ClaudeState> => {
  /** From now on a later process can go on with the conversation. */
  const keep = (draft: Draft, events: Array<ProtocolEvent>): void => {
    if (draft.stored === "kept") return
    draft.stored = "kept"
    events.push({ type: "conversation", id: draft.conversation }, { type: "deadline", at: null })
  }

  /** Returns whether the message is told by events. */
  const system = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject, now: number): boolean => {
    // Estimates, one a piece of thought; the usage counts exactly.
    if (message["subtype"] === "thinking_tokens") return true
    if (message["subtype"] !== "init") return false
    const id = stringOf(message["session_id"])
    if (id !== undefined && id !== "" && id !== draft.conversation) {
      draft.conversation = id
      draft.stored = "new"
    }
    if (draft.stored === "new") events.push({ type: "deadline", at: now + keptAfterMs })
    if (draft.phase === "idle") draft.phase = "aside"
    else if (draft.phase === "answering" && draft.cancelling) {
      // What was interrupted before was a turn of the CLI's own.
      const again = interrupt(draft)
      Object.assign(draft, again.state)
      for (const event of again.events) events.push(event)
    }
    const { uuid: _, ...rest } = message
    const init = JSON.stringify(rest)
    const isKnown = init === draft.init
    draft.init = init
    return isKnown
  }

  const control = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject): boolean => {
    const id = stringOf(message["request_id"])
    const request = objectOf(message["request"])
    if (id === undefined) return false
    if (request["subtype"] !== "can_use_tool") {
      const refusal = controlFailure(id, `not supported by this client: ${String(request["subtype"])}`)
      events.push({ type: "write", data: refusal + "\n" })
      return false
    }
    if (draft.permissions.has(id)) return true
    const permission = permissionIn(request)
    draft.permissions = new Map(draft.permissions).set(id, permission)
    const { tool, input } = permission
    events.push({ type: "permission", request: id, tool, input, options: optionsOf(permission) })
    return true
  }

  const withdraw = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject): boolean => {
    const id = stringOf(message["request_id"])
    if (id === undefined || !draft.permissions.has(id)) return false
    const permissions = new Map(draft.permissions)
    permissions.delete(id)
    draft.permissions = permissions
    events.push({ type: "permissionWithdrawn", request: id })
    return true
  }

  const response = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject): boolean => {
    const answer = objectOf(message["response"])
    if (draft.phase !== "starting" || answer["request_id"] !== "initialize") return answer["subtype"] === "success"
    if (answer["subtype"] === "success") {
      draft.phase = "idle"
      events.push({ type: "ready" })
      if (draft.stored === "resumed") keep(draft, events)
      return true
    }
    events.push({ type: "broken", detail: `the CLI refused to initialize: ${String(answer["error"])}` })
    return false
  }

  const result = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject): boolean => {
    events.push({ type: "native", message })
    if (draft.phase === "starting") {
      // It could not take up the conversation, say.
      events.push({ type: "broken", detail: `the CLI did not start: ${failureIn(message)}` })
      return true
    }
    // The CLI has written the turn to disk before it says this.
    keep(draft, events)
    const isOurs = draft.phase === "answering" || draft.phase === "waiting"
    if (isOurs && !isOfItsOwn(message)) {
      events.push(endOf(draft.turn, message, draft.costUsd, answerChars))
      draft.phase = "idle"
      draft.cancelling = false
    } else {
      draft.phase = isOurs ? "answering" : "idle"
      // Its own turn was interrupted, which is only done when it is to end.
      if (!isOurs && draft.cancelling) events.push({ type: "settled" })
    }
    draft.turn = noTurn
    draft.costUsd = Math.max(draft.costUsd, numberOf(message["total_cost_usd"]) ?? 0)
    return true
  }

  /** `stream_event`, `assistant` and `user`. Returns whether the message is told by events. */
  const said = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject): boolean => {
    const uuid = message["type"] === "stream_event" ? undefined : stringOf(message["uuid"])
    if (uuid !== undefined) {
      if (draft.heard.has(uuid)) return true
      draft.heard = new Set([...[...draft.heard].slice(1 - rememberedMessages), uuid])
    }
    const added = addMessage(draft.turn, message, answerChars)
    if (draft.phase === "answering") {
      draft.turn = added.turn
      for (const event of added.events) events.push(event)
      return !added.untold
    }
    // No part of an answer: its text is told whole by `assistant`.
    draft.turn = { ...added.turn, text: "", overflown: false }
    for (const event of added.events) if (event.type === "tool") events.push(event)
    return message["type"] !== "assistant" && !added.untold
  }

  const take = (draft: Draft, events: Array<ProtocolEvent>, message: JsonObject, now: number): boolean => {
    switch (message["type"]) {
      case "stream_event":
      case "assistant":
      case "user":
        return said(draft, events, message)
      case "system":
        return system(draft, events, message, now)
      case "result":
        return result(draft, events, message)
      case "control_request":
        return control(draft, events, message)
      case "control_response":
        return response(draft, events, message)
      case "control_cancel_request":
        return withdraw(draft, events, message)
      case "keep_alive":
        return true
      default:
        return false
    }
  }

  return {
    name: "claude",
    framing: "lines",
    command: { command: "claude", args: [] },
    args: (context) => claudeArgs(options, context),
    canFork: true,
    start: ({ from, freshId, now }) => {
      const resumed = from === null ? options.resume : from.fork ? undefined : from.conversation
      const state: ClaudeState = {
        phase: "starting",
        turn: noTurn,
        cancelling: false,
        conversation: resumed ?? freshId,
        stored: resumed === undefined ? "new" : from === null ? "resumed" : "kept",
        costUsd: 0,
        permissions: new Map(),
        heard: new Set(),
        init: undefined,
        interrupts: 0,
        saidAt: now,
      }
      const data = controlRequest("initialize", { subtype: "initialize" }) + "\n"
      return { state, events: [{ type: "write", data }] }
    },
    prompt: (state, prompt, _token, now) => {
      const content = contentOf(prompt)
      if (typeof content === "string") {
        const error = { tag: "Unsupported", message: content }
        return { state, events: [{ type: "ended", status: "failed", text: "", stopReason: null, error }] }
      }
      const own =
        state.phase === "aside" ? ({ phase: "waiting" } as const) : ({ phase: "answering", turn: noTurn } as const)
      return {
        state: { ...state, saidAt: now, ...own },
        events: [{ type: "write", data: userMessage(content, state.conversation) + "\n" }],
      }
    },
    frames: (state, frames, now) => {
      const draft: Draft = { ...state }
      const events: Array<ProtocolEvent> = []
      const stray = new StrayLines(events)
      let told: JsonObject | undefined
      for (const line of frames) {
        const message = parseObject(line)
        if (message === undefined) {
          if (line !== "") stray.add(line)
          continue
        }
        stray.flush()
        if (take(draft, events, message, now)) told = message
        else events.push({ type: "native", message })
      }
      stray.flush()
      if (events.length > 0) draft.saidAt = now
      else if (told !== undefined && now - draft.saidAt >= heartbeatMs) {
        draft.saidAt = now
        events.push({ type: "native", message: told })
      }
      return { state: draft, events }
    },
    eof: (state) => ({ state, events: [] }),
    timer: (state) => {
      const draft: Draft = { ...state }
      const events: Array<ProtocolEvent> = []
      keep(draft, events)
      return { state: draft, events }
    },
    cancel: interrupt,
    // It ends what its tools run, also what they moved out of its process group, when it is interrupted; it would not exit
    // at the end of its stdin while one of them runs. Before it is initialized it listens to neither.
    politeStop: (state) =>
      state.phase === "starting"
        ? { state, steps: [] }
        : interruptThenEof(interrupt(state), ({ phase }) => phase !== "idle"),
    answer: (state, request, option, value) => {
      const permission = state.permissions.get(request)
      if (permission === undefined) return { state, events: [] }
      const permissions = new Map(state.permissions)
      permissions.delete(request)
      const data = controlSuccess(request, responseTo(permission, option, value)) + "\n"
      return { state: { ...state, permissions }, events: [{ type: "write", data }] }
    },
  }
}
