/**
 * What Codex says on its own of the session's thread: turns that begin and end, their items, tokens, requests that were settled.
 * What is not told by an event goes on as `native`. Pure; called by Codex.
 */
import {
  beginTurn,
  endTurn,
  interrupt,
  native,
  tellThread,
  turnOf,
  withTurn,
  type CodexState,
  type Events,
} from "./CodexState.ts"
import { endedBy, notified } from "./CodexTurn.ts"
import { tokenCount, tokensSince } from "./CodexWire.ts"
import { objectOf, stringOf, type JsonObject } from "./JsonObject.ts"

/** A turn of ours began, or one that the agent began by itself. */
const began = (state: CodexState, id: string, events: Events): CodexState | undefined => {
  const turn = turnOf(state)
  if (turn === undefined || turn.id !== id) return undefined
  const next = withTurn(tellThread(state, events), { ...turn, id, stage: "running" })
  return turn.cancelling ? interrupt(next, id, events) : next
}

const counted = (state: CodexState, params: JsonObject): CodexState => {
  const usage = objectOf(params["tokenUsage"])
  const tokens = tokenCount(usage["total"])
  const turn = turnOf(state)
  const next = { ...state, tokens }
  if (turn === undefined || turn.stage === "held" || turn.tokensBefore !== null) return next
  // The first count of this process: what the turn has used by now is its last answer alone.
  return withTurn(next, { ...turn, tokensBefore: tokensSince(tokens, tokenCount(usage["last"])) })
}

/** Takes over a notification of the session's thread; undefined: nothing but the agent's own message tells it. */
const threadNotified = (
  state: CodexState,
  method: string,
  params: JsonObject,
  answerChars: number,
  events: Events,
): CodexState | undefined => {
  const turn = turnOf(state)
  switch (method) {
    case "thread/started":
      return state
    case "thread/status/changed": {
      const { type, activeFlags } = objectOf(params["status"])
      const isPlain = type === "idle" || (type === "active" && Array.isArray(activeFlags) && activeFlags.length === 0)
      return isPlain ? state : undefined
    }
    case "thread/closed":
      events.push({ type: "broken", detail: "the agent closed its thread" })
      return undefined
    case "turn/started": {
      const id = stringOf(objectOf(params["turn"])["id"]) ?? ""
      return began(state, id, events)
    }
    case "turn/completed": {
      const ended = objectOf(params["turn"])
      if (turn === undefined || turn.id === null || turn.id !== ended["id"]) return undefined
      return endTurn(state, endedBy(turn, ended, state.tokens, answerChars), events)
    }
    case "serverRequest/resolved": {
      const request = `${state.context.freshId}:${String(params["requestId"])}`
      if (!state.pending.has(request)) return state
      events.push({ type: "permissionWithdrawn", request })
      const pending = new Map(state.pending)
      pending.delete(request)
      return { ...state, pending }
    }
    default: {
      if (turn?.stage !== "running" || params["turnId"] !== turn.id) return undefined
      const told = notified(turn, method, params, answerChars)
      if (told === undefined) return undefined
      for (const event of told.events) events.push(event)
      return told.turn === turn ? state : withTurn(state, told.turn)
    }
  }
}

/** A turn that is not ours begins or ends; the one that waits for it may come. */
const foreignTurn = (state: CodexState, method: string, params: JsonObject, events: Events): CodexState => {
  const id = stringOf(objectOf(params["turn"])["id"])
  if (method === "turn/started" && id !== undefined) return { ...tellThread(state, events), foreign: id }
  if (method !== "turn/completed" || id !== state.foreign) return state
  // It is not to be interrupted any more.
  const isStale = state.later?.method === "turn/interrupt"
  if (isStale) events.push({ type: "deadline", at: null })
  return beginTurn({ ...state, foreign: null, later: isStale ? null : state.later }, events)
}

export const heard = (
  state: CodexState,
  method: string,
  value: unknown,
  frame: string,
  answerChars: number,
  events: Events,
): CodexState => {
  const params = objectOf(value)
  // Threads of the agent's own, such as a subagent's, are passed on as they are.
  if (state.thread !== null && params["threadId"] === state.thread) {
    const next = threadNotified(state, method, params, answerChars, events)
    if (next !== undefined) return next
    native(JSON.parse(frame), events)
    const counting = method === "thread/tokenUsage/updated" ? counted(state, params) : state
    return foreignTurn(counting, method, params, events)
  }
  const own = method === "thread/started" && stringOf(objectOf(params["thread"])["id"]) === state.thread
  if (!own) native(JSON.parse(frame), events)
  return state
}
