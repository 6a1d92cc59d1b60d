/**
 * `codex`: the app-server of the Codex CLI, JSON-RPC without its mark, one message a line. One thread a session: opened,
 * resumed or forked at the start, one `turn/start` a prompt, and never one while a turn runs (it would steer that turn).
 * Options: `model`; `resume`, the id of a thread to begin with; `extraArgs` for the command; `approvalPolicy` and `sandbox`
 * where the agent's own configuration is not to decide; `systemPrompt`. Logging in is for people (`CodexLogin`).
 *
 * The answer is the last message of the turn. Deltas hold them all, an empty line between. What the agent sends and no
 * other event tells goes on as `native`.
 */
import type { Prompt } from "../domain/Prompt.ts"
import { defaultAnswerChars } from "./Answer.ts"
import { answerFor, approvalFor } from "./CodexApproval.ts"
import * as Login from "./CodexLogin.ts"
import { heard } from "./CodexNotice.ts"
import { answered, openThread, refused } from "./CodexResponse.ts"
import {
  ask,
  beginTurn,
  endTurn,
  interrupt,
  native,
  send,
  turnOf,
  withTurn,
  type CodexState,
  type Events,
} from "./CodexState.ts"
import { endedEarly, makeTurn } from "./CodexTurn.ts"
import { userInput } from "./CodexWire.ts"
import { objectOf, stringOf } from "./JsonObject.ts"
import { interruptThenEof } from "./InterruptThenEof.ts"
import type { Protocol, Step } from "./Protocol.ts"
import * as Rpc from "./RpcPeer.ts"

export interface CodexOptions {
  readonly model?: string
  readonly resume?: string
  /** Instructions of the developer, beside the agent's own. */
  readonly systemPrompt?: string
  readonly extraArgs?: ReadonlyArray<string>
  /** `untrusted`, `on-request`, `never`. */
  readonly approvalPolicy?: string
  /** `read-only`, `workspace-write`, `danger-full-access`. */
  readonly sandbox?: string
}

const methodNotFound = -32601
/** Whose answers are told by events, or nobody's business: an account has an address. */
const quiet = new Set(["turn/start", "turn/interrupt", "account/read"])
/** Messages. An answer comes within a few. */
const maxDeferred = 1_000

const requested = (state: CodexState, id: Rpc.RpcId, method: string, frame: string, events: Events): CodexState => {
  const message: unknown = JSON.parse(frame)
  const params = objectOf(objectOf(message)["params"])
  const approval = approvalFor(method, params, (itemId) => turnOf(state)?.tools.get(itemId))
  if (approval === undefined) {
    native(message, events)
    const error = { code: methodNotFound, message: `this client does not answer ${method}` }
    events.push({ type: "write", data: Rpc.failure(state.peer, id, error) + "\n" })
    return state
  }
  const turn = turnOf(state)
  if (turn?.cancelling === true && params["turnId"] === turn.id) {
    // Nobody is asked on behalf of a turn that is being given up.
    const refusal = approval.answers["cancel"] ?? approval.answers["decline"]
    events.push({ type: "write", data: Rpc.result(state.peer, id, refusal) + "\n" })
    return state
  }
  // The agent counts from 0 in every process: an answer to an earlier one must not meet this one.
  const request = `${state.context.freshId}:${id}`
  const { tool, input, options } = approval
  events.push({ type: "permission", request, tool, input, options })
  const pending = new Map(state.pending).set(request, { id, turn: stringOf(params["turnId"]) ?? null, approval })
  return { ...state, pending }
}

/** The agent has a prompt, and has not said yet which turn it made of it; or not yet which thread it opens. */
const isUndecided = (state: CodexState, method?: string): boolean => {
  const turn = turnOf(state)
  if (turn === undefined) return state.phase.tag === "opening" && method?.startsWith("turn/") === true
  return turn.stage === "asked" && turn.id === null
}

const deferred = (state: CodexState, line: string, events: Events): CodexState => {
  if (state.deferred.length < maxDeferred) return { ...state, deferred: [...state.deferred, line] }
  events.push({ type: "broken", detail: "the agent talks on and does not answer" })
  return { ...state, deferred: [] }
}

const stepped = (step: (events: Events) => CodexState): Step<CodexState> => {
  const events: Events = []
  return { state: step(events), events }
}

const cancelTurn = (state: CodexState): Step<CodexState> =>
  stepped((events) => {
    const turn = turnOf(state)
    if (turn === undefined || turn.cancelling) return state
    // Late answers to what it asked would let it work on.
    const { id } = turn
    const pending = new Map(state.pending)
    for (const [request, { turn: of }] of state.pending) {
      if (of === null || of !== id) continue
      events.push({ type: "permissionWithdrawn", request })
      pending.delete(request)
    }
    const next = { ...withTurn(state, { ...turn, cancelling: true }), pending }
    if (turn.stage === "held") {
      const over = endTurn(next, endedEarly(turn, "cancelled"), events)
      return over.foreign === null ? over : interrupt(over, over.foreign, events)
    }
    return turn.stage === "running" && turn.id !== null ? interrupt(next, turn.id, events) : next
  })

export const makeCodex = (
  options: CodexOptions = {},
  /** More of a message than this is passed on but not kept; a turn that ends with it then fails as `AnswerTooLong`. */
  answerChars: number = defaultAnswerChars,
): Protocol<CodexState> => {
  const { model, resume, systemPrompt, extraArgs = [], approvalPolicy, sandbox } = options
  const settings = {
    ...(model === undefined ? {} : { model }),
    ...(approvalPolicy === undefined ? {} : { approvalPolicy }),
    ...(sandbox === undefined ? {} : { sandbox }),
    ...(systemPrompt === undefined ? {} : { developerInstructions: systemPrompt }),
  }

  const message = (state: CodexState, line: string, now: number, events: Events): CodexState => {
    const received = Rpc.receive(state.peer, line)
    switch (received.type) {
      case "result": {
        const { kind: call, result, peer } = received
        if (!quiet.has(call.method)) native(JSON.parse(line), events)
        return answered({ ...state, peer }, call, result, events)
      }
      case "error":
        return refused({ ...state, peer: received.peer }, received.kind, received.error, now, events)
      case "request":
        if (isUndecided(state)) return deferred(state, line, events)
        return requested(state, received.id, received.method, line, events)
      case "notification": {
        const login = Login.heard(state, received.method, received.params, line, events)
        if (login !== undefined) return login === "in" ? openThread(state, events) : login
        if (isUndecided(state, received.method)) return deferred(state, line, events)
        return heard(state, received.method, received.params, line, answerChars, events)
      }
      case "stray":
        if (received.value === undefined) events.push({ type: "output", data: line + "\n" })
        else native(received.value, events)
        return state
    }
  }

  const frame = (before: CodexState, line: string, now: number, events: Events): CodexState => {
    const state = message(before, line, now, events)
    if (state.deferred.length === 0 || isUndecided(state) || state.phase.tag === "opening") return state
    const decided: CodexState = { ...state, deferred: [] }
    return state.deferred.reduce((one, earlier) => frame(one, earlier, now, events), decided)
  }

  return {
    name: "codex",
    framing: "lines",
    command: { command: "codex", args: [] },
    args: () => ["app-server", ...extraArgs],
    canFork: true,
    start: ({ from, freshId, cwd }) => {
      const begin = from ?? (resume === undefined ? null : { conversation: resume, fork: false })
      const state: CodexState = {
        peer: Rpc.makePeer(false),
        context: { from: begin, freshId, cwd, settings },
        phase: { tag: "opening" },
        thread: null,
        isTold: false,
        foreign: null,
        turns: 0,
        pending: new Map(),
        tokens: null,
        later: null,
        deferred: [],
      }
      const clientInfo = { name: "creche", title: "creche", version: "1" }
      return stepped((events) => ask(state, "initialize", { clientInfo }, events))
    },
    prompt: (state, prompt: Prompt) =>
      stepped((events) => {
        const number = state.turns + 1
        const turn = makeTurn(number, userInput(prompt, state.context.cwd))
        return beginTurn({ ...withTurn(state, turn), turns: number }, events)
      }),
    frames: (state, frames, now) =>
      stepped((events) => frames.reduce((before, line) => frame(before, line, now, events), state)),
    eof: (state) => ({ state, events: [] }),
    timer: (state) => {
      const { later } = state
      if (later === null) return { state, events: [] }
      const now = { ...state, later: null }
      return stepped((events) =>
        // A turn asks for itself; and whatever else was asked later, a turn may have waited behind it.
        beginTurn(later.method === "turn/start" ? now : send(now, later, events), events),
      )
    },
    authenticate: (state, method) =>
      stepped((events) => (state.phase.tag === "authenticating" ? Login.begin(state, method, events) : state)),
    cancel: cancelTurn,
    politeStop: (state) => interruptThenEof(cancelTurn(state), (after) => turnOf(after) !== undefined),
    answer: (state, request, option, result) =>
      stepped((events) => {
        const asked = state.pending.get(request)
        const answer = asked === undefined ? undefined : answerFor(asked.approval, option, result)
        if (asked === undefined || answer === undefined) return state
        events.push({ type: "write", data: Rpc.result(state.peer, asked.id, answer) + "\n" })
        const pending = new Map(state.pending)
        pending.delete(request)
        return { ...state, pending }
      }),
  }
}
