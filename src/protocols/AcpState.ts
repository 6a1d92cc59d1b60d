/**
 * What an ACP conversation is while it goes on, and the small steps that all of its parts are made of. Pure; used by the Acp
 * files alone.
 */
import type { PermissionOption } from "../domain/Transcript.ts"
import type { AcpAgent } from "./AcpMessage.ts"
import type { JsonObject } from "./JsonObject.ts"
import type { AcpTurn } from "./AcpTurn.ts"
import type { ProtocolEvent, Resumption } from "./Protocol.ts"
import * as RpcPeer from "./RpcPeer.ts"
import type { RpcId } from "./RpcPeer.ts"

export type Opening = "session/new" | "session/resume" | "session/load" | "session/fork"
/** What a request of ours was. */
export type Asked = "initialize" | "authenticate" | "model" | "session/prompt" | Opening

export type Phase =
  /** Some request of the handshake waits for its answer. `session`: the conversation, when only the model is to be chosen. */
  | { readonly tag: "opening"; readonly by: Opening; readonly session: string | null }
  | { readonly tag: "authenticating"; readonly by: Opening }
  /** Loaded, and perhaps not yet through with telling of the past. */
  | { readonly tag: "settling"; readonly session: string }
  | { readonly tag: "idle"; readonly session: string }
  | { readonly tag: "prompting"; readonly session: string; readonly turn: AcpTurn }
  | { readonly tag: "broken" }

export interface AcpState {
  readonly phase: Phase
  readonly peer: RpcPeer.RpcPeer<Asked>
  readonly agent: AcpAgent
  readonly cwd: string
  readonly systemPrompt: string | null
  readonly from: Resumption | null
  /** The session actor knows the conversation by its id. */
  readonly told: boolean
  /** Permission requests that wait for an answer, by the name that they have at the port. */
  readonly requests: ReadonlyMap<string, { readonly id: RpcId; readonly options: ReadonlyArray<PermissionOption> }>
  /** What the host is asked to do for the agent, by the name that the call has at the port. */
  readonly calls: ReadonlyMap<string, OpenFileCall>
  /** Of the whole conversation, in USD, as the agent told last; null: it has a past, of which the agent told nothing yet. */
  readonly cost: number | null
}

/** A file that is being read or written for the agent. `told`: what the transcript says of it. */
export interface OpenFileCall {
  readonly id: RpcId
  readonly method: string
  readonly told: JsonObject
}

export type Events = Array<ProtocolEvent>

export const write = (events: Events, text: string): void => void events.push({ type: "write", data: text + "\n" })

export const ask = (state: AcpState, asked: Asked, method: string, params: JsonObject, events: Events): AcpState => {
  const { peer, text } = RpcPeer.request(state.peer, method, params, asked)
  write(events, text)
  return { ...state, peer }
}

export const broken = (state: AcpState, detail: string, events: Events): AcpState => {
  events.push({ type: "broken", detail })
  return { ...state, phase: { tag: "broken" } }
}

/** The conversation has an id that is worth keeping: the session actor is told of it, once. */
export const tellConversation = (state: AcpState, events: Events): AcpState => {
  if (state.told || state.phase.tag !== "prompting") return state
  events.push({ type: "conversation", id: state.phase.session })
  return { ...state, told: true }
}
