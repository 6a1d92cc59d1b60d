/**
 * One side of a JSON-RPC conversation as a value: the requests that wait for their answers, and what a message from the
 * other side is. For the protocols that speak JSON-RPC to their child, with or without the `jsonrpc` member. Pure.
 */
import { jsonLine } from "../domain/JsonLine.ts"

export type RpcId = number | string

export interface RpcError {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/** `K`: what its owner wants to know of a request when the answer comes. */
export interface RpcPeer<K> {
  /** 1, 2, 3 … */
  readonly nextId: number
  readonly pending: ReadonlyMap<RpcId, K>
  /** Whether messages carry `"jsonrpc":"2.0"`; Codex leaves it out. */
  readonly marked: boolean
}

export type RpcMessage<K> =
  /** The answer to a request of ours, which is pending no more in `peer`. */
  | { readonly type: "result"; readonly kind: K; readonly result: unknown; readonly peer: RpcPeer<K> }
  | { readonly type: "error"; readonly kind: K; readonly error: RpcError; readonly peer: RpcPeer<K> }
  | { readonly type: "request"; readonly id: RpcId; readonly method: string; readonly params: unknown }
  | { readonly type: "notification"; readonly method: string; readonly params: unknown }
  /** JSON, but nothing that was asked for; or no JSON object at all: then `value` is undefined. */
  | { readonly type: "stray"; readonly value: unknown }

export const makePeer = <K>(marked = true): RpcPeer<K> => ({ nextId: 1, pending: new Map(), marked })

const message = (marked: boolean, fields: object): string => jsonLine(marked ? { jsonrpc: "2.0", ...fields } : fields)

/** The text of a request, without framing, and the peer that waits for its answer. */
export const request = <K>(
  peer: RpcPeer<K>,
  method: string,
  params: unknown,
  kind: K,
): { readonly peer: RpcPeer<K>; readonly id: number; readonly text: string } => {
  const id = peer.nextId
  const text = message(peer.marked, params === undefined ? { id, method } : { id, method, params })
  return { peer: { ...peer, nextId: id + 1, pending: new Map(peer.pending).set(id, kind) }, id, text }
}

export const notification = (peer: RpcPeer<unknown>, method: string, params?: unknown): string =>
  message(peer.marked, params === undefined ? { method } : { method, params })

/** Answers a request of the other side. */
export const result = (peer: RpcPeer<unknown>, id: RpcId, value: unknown): string =>
  message(peer.marked, { id, result: value ?? null })

export const failure = (peer: RpcPeer<unknown>, id: RpcId, error: RpcError): string =>
  message(peer.marked, { id, error })

const isId = (id: unknown): id is RpcId => typeof id === "number" || typeof id === "string"

/** A whole error, whatever came as one. */
export const errorOf = (error: unknown): RpcError => {
  const { code, message: text, data } = (typeof error === "object" && error !== null ? error : {}) as Partial<RpcError>
  const plain = {
    code: typeof code === "number" ? code : -32603,
    message: typeof text === "string" ? text : JSON.stringify(error ?? null),
  }
  return data === undefined ? plain : { ...plain, data }
}

/** What one message of the other side is. */
export const receive = <K>(peer: RpcPeer<K>, frame: string): RpcMessage<K> => {
  let value: unknown
  try {
    value = JSON.parse(frame)
  } catch {
    return { type: "stray", value: undefined }
  }
  return receiveValue(peer, value)
}

/** The same of a message that was parsed already. */
export const receiveValue = <K>(peer: RpcPeer<K>, value: unknown): RpcMessage<K> => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { type: "stray", value }
  const { id, method, params, result: answer, error } = value as Readonly<Record<string, unknown>>
  if (typeof method === "string") {
    if (id === undefined || id === null) return { type: "notification", method, params }
    return isId(id) ? { type: "request", id, method, params } : { type: "stray", value }
  }
  const kind = isId(id) ? peer.pending.get(id) : undefined
  if (kind === undefined) return { type: "stray", value }
  const pending = new Map(peer.pending)
  pending.delete(id as RpcId)
  const rest = { ...peer, pending }
  return error === undefined || error === null
    ? { type: "result", kind, result: answer, peer: rest }
    : { type: "error", kind, error: errorOf(error), peer: rest }
}
