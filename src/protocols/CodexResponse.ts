/**
 * How Codex answers what creche asked of it: the handshake step by step, the beginning of a turn, refusals, and what is asked
 * again because the agent is overloaded. Pure; called by Codex.
 */
import * as Login from "./CodexLogin.ts"
import {
  ask,
  askLater,
  endTurn,
  tellThread,
  turnOf,
  withTurn,
  type Call,
  type CodexState,
  type Events,
} from "./CodexState.ts"
import { agentError, endedEarly } from "./CodexTurn.ts"
import { objectOf, stringOf } from "./JsonObject.ts"
import * as Rpc from "./RpcPeer.ts"

const overloaded = -32001
/** 100 ms, then twice as long each time up to 5 s: half a minute in all. */
const maxAttempts = 10
const pauseMs = (attempt: number): number => Math.min(100 * 2 ** attempt, 5_000)
/** A turn that is just beginning cannot be interrupted yet. */
const interruptAgainMs = 50

export const openThread = (before: CodexState, events: Events): CodexState => {
  const { from, cwd, settings } = before.context
  const state: CodexState = { ...before, phase: { tag: "opening" } }
  const params = { cwd, ...settings }
  if (from === null) return ask(state, "thread/start", params, events)
  const method = from.fork ? "thread/fork" : "thread/resume"
  return ask(state, method, { threadId: from.conversation, ...params, excludeTurns: true }, events)
}

/** The handshake is done: the agent named the thread. */
const opened = (state: CodexState, result: unknown, events: Events): CodexState => {
  const id = stringOf(objectOf(objectOf(result)["thread"])["id"])
  if (id === undefined) {
    events.push({ type: "broken", detail: "the agent opened a thread without an id" })
    return state
  }
  const next: CodexState = { ...state, thread: id, phase: { tag: "idle" } }
  // What was resumed can be resumed again, and a fork is kept from its beginning.
  const told = state.context.from === null ? next : tellThread(next, events)
  events.push({ type: "ready" })
  return told
}

export const answered = (state: CodexState, call: Call, result: unknown, events: Events): CodexState => {
  switch (call.method) {
    case "initialize": {
      events.push({ type: "write", data: Rpc.notification(state.peer, "initialized") + "\n" })
      return ask(state, "account/read", {}, events)
    }
    case "account/read":
      return Login.wanted(state, result, events) ?? openThread(state, events)
    case "account/login/start":
      return Login.begun(state, result, events)
    case "turn/start": {
      const turn = turnOf(state)
      const id = stringOf(objectOf(objectOf(result)["turn"])["id"])
      if (turn?.number !== call.turn || turn.id !== null || id === undefined) return state
      return withTurn(state, { ...turn, id })
    }
    case "turn/interrupt":
      return state
    default:
      return opened(state, result, events)
  }
}

export const refused = (
  state: CodexState,
  call: Call,
  error: Rpc.RpcError,
  now: number,
  events: Events,
): CodexState => {
  const turn = turnOf(state)
  const isOver = call.turn !== (turn?.number ?? 0)
  if (error.code === overloaded && call.attempt < maxAttempts && !isOver) {
    const attempt = call.attempt + 1
    const next =
      call.method === "turn/start" && turn !== undefined ? withTurn(state, { ...turn, stage: "held", attempt }) : state
    if (turn?.cancelling === true && next !== state) return endTurn(next, endedEarly(turn, "cancelled"), events)
    return askLater(next, { ...call, attempt }, now + pauseMs(call.attempt), events)
  }
  switch (call.method) {
    case "turn/interrupt":
      // Between its answer and its beginning a turn is none that can be interrupted; the end of a turn ends this.
      if (turn === undefined || isOver || turn.stage === "held") return state
      return askLater(state, call, now + interruptAgainMs, events)
    case "account/read":
      // An agent that knows nothing of accounts.
      return openThread(state, events)
    case "account/login/start":
      return Login.refused(state, error.message, events)
    case "turn/start": {
      if (turn === undefined || isOver) return state
      const next = endTurn(state, endedEarly(turn, agentError(error, "the agent refused the turn")), events)
      // Unloaded by the agent: the next process resumes it.
      if (/thread not found/i.test(error.message)) events.push({ type: "broken", detail: error.message })
      return next
    }
    default: {
      const { from } = state.context
      const what =
        call.method === "initialize" || from === null
          ? `the agent refused ${call.method}`
          : `the agent cannot ${from.fork ? "fork" : "go on with"} the conversation ${from.conversation}`
      events.push({ type: "broken", detail: `${what}: ${error.message}` })
      return state
    }
  }
}
