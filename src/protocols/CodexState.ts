/**
 * What is known of a Codex between two messages, and the moves that every part of the protocol makes: to ask, to begin a turn,
 * to interrupt it, to end it. Pure; used by the Codex files alone.
 */
import type { Approval } from "./CodexApproval.ts"
import type { CodexTurn } from "./CodexTurn.ts"
import type { TokenCount } from "./CodexWire.ts"
import type { ProtocolEvent, StartContext } from "./Protocol.ts"
import * as Rpc from "./RpcPeer.ts"

export interface Call {
  readonly method: string
  readonly params: unknown
  /** Of the turn that it is for; 0: none. */
  readonly turn: number
  readonly attempt: number
}

export interface Pending {
  readonly id: Rpc.RpcId
  readonly turn: string | null
  readonly approval: Approval
}

export interface CodexState {
  readonly peer: Rpc.RpcPeer<Call>
  readonly context: Pick<StartContext, "from" | "freshId" | "cwd"> & {
    /** What the thread is opened with besides. */
    readonly settings: Readonly<Record<string, string>>
  }
  readonly phase:
    | { readonly tag: "opening" }
    /** `login`: the id of the one that was begun. */
    | { readonly tag: "authenticating"; readonly login: string | null }
    | { readonly tag: "idle" }
    | { readonly tag: "turn"; readonly turn: CodexTurn }
  readonly thread: string | null
  /** A thread cannot be resumed before its first turn began. */
  readonly isTold: boolean
  /** The turn that the agent runs of its own accord. */
  readonly foreign: string | null
  readonly turns: number
  /** By the request's id towards the client. */
  readonly pending: ReadonlyMap<string, Pending>
  readonly tokens: TokenCount | null
  /** What is asked again later. */
  readonly later: Call | null
  /** What came while the agent had not said yet which turn it made of the prompt: it may be of another one. */
  readonly deferred: ReadonlyArray<string>
}

export type Events = Array<ProtocolEvent>

export const turnOf = ({ phase }: CodexState): CodexTurn | undefined => (phase.tag === "turn" ? phase.turn : undefined)

export const withTurn = (state: CodexState, turn: CodexTurn): CodexState => ({ ...state, phase: { tag: "turn", turn } })

export const send = (state: CodexState, call: Call, events: Events): CodexState => {
  const { peer, text } = Rpc.request(state.peer, call.method, call.params, call)
  events.push({ type: "write", data: text + "\n" })
  return { ...state, peer }
}

export const ask = (state: CodexState, method: string, params: unknown, events: Events): CodexState =>
  send(state, { method, params, turn: turnOf(state)?.number ?? 0, attempt: 0 }, events)

export const askLater = (state: CodexState, call: Call, at: number, events: Events): CodexState => {
  events.push({ type: "deadline", at })
  return { ...state, later: call }
}

export const native = (message: unknown, events: Events): void => void events.push({ type: "native", message })

/** Begins the turn that is held, if nothing holds it any more. */
export const beginTurn = (state: CodexState, events: Events): CodexState => {
  const turn = turnOf(state)
  if (turn?.stage !== "held" || state.foreign !== null || state.later !== null) return state
  const params = { threadId: state.thread, input: turn.input }
  const { number, attempt } = turn
  // What the agent used for itself in the meantime is not this turn's.
  return send(
    withTurn(state, { ...turn, stage: "asked", tokensBefore: state.tokens }),
    { method: "turn/start", params, turn: number, attempt },
    events,
  )
}

export const interrupt = (state: CodexState, turnId: string, events: Events): CodexState =>
  ask(state, "turn/interrupt", { threadId: state.thread, turnId }, events)

export const endTurn = (state: CodexState, ended: ProtocolEvent, events: Events): CodexState => {
  if (state.later !== null) events.push({ type: "deadline", at: null })
  events.push(ended)
  const own = turnOf(state)?.id
  // Those that were open are over with the turn.
  const pending = new Map([...state.pending].filter(([, { turn }]) => turn === null || turn !== own))
  return { ...state, phase: { tag: "idle" }, pending, later: null }
}

export const tellThread = (state: CodexState, events: Events): CodexState => {
  if (state.isTold || state.thread === null) return state
  events.push({ type: "conversation", id: state.thread })
  return { ...state, isTold: true }
}
