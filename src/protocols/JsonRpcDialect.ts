/**
 * What tells the protocols that speak JSON-RPC to their child apart (`JsonRpc`, `Lsp`, `Mcp`): framing, handshake, what a
 * prompt asks for, what an answer says, and what of the child's own requests is answered without a client. Data and pure
 * functions; `JsonRpcChild` makes a protocol of them.
 */
import type { Prompt } from "../domain/Prompt.ts"
import type { TurnError } from "../domain/Turn.ts"
import type { StartContext } from "./Protocol.ts"
import type { RpcError, RpcId } from "./RpcPeer.ts"

/** A request or a notification, as it goes out. */
export interface RpcCall {
  readonly method: string
  readonly params?: unknown
}

export type RpcReply = { readonly result: unknown } | { readonly error: RpcError }

/** What a prompt asks for. */
export type Asking =
  | {
      readonly type: "request"
      readonly call: RpcCall
      /** It was asked in the dialect's own short form, and is answered in it. */
      readonly isShort: boolean
    }
  /** No answer comes to it. */
  | { readonly type: "notification"; readonly call: RpcCall }
  | { readonly type: "invalid"; readonly message: string }

/** What an answer says. */
export interface Outcome {
  readonly text: string
  readonly error?: TurnError
  /** The text is not all of it: the whole message becomes a `native` entry. */
  readonly isPartial: boolean
}

/** How the child takes a request back. */
export interface CancelPolicy {
  readonly call: (id: number) => RpcCall
  /**
   * What ends the turn then: the `answer`, which still comes; nothing more (`sent`), because no answer will come; or the answer to
   * this request, whatever it is, which shows that the child lives.
   */
  readonly until: "answer" | "sent" | RpcCall
}

export interface JsonRpcDialect {
  readonly name: string
  readonly framing: "lines" | "contentLength"
  /** Whether messages carry `"jsonrpc":"2.0"`. */
  readonly isMarked: boolean
  /** The child is ready once it has answered `request`; it is told `after`. Undefined: it is ready at once. */
  readonly handshake?: (context: StartContext) => { readonly request: RpcCall; readonly after?: RpcCall }
  /** `id`: what the request would get. */
  readonly ask: (prompt: Prompt, id: number) => Asking
  readonly outcome: (result: unknown, asked: RpcCall, isShort: boolean) => Outcome
  /** The answer to a request of the child that needs no client; undefined: clients are asked. */
  readonly neutral?: (method: string, params: unknown, cwd: string) => RpcReply | undefined
  /** Requests that only show life: answered, and not recorded. */
  readonly heartbeat?: string
  /** What a client's consent means where it gives no result of its own; default: null. */
  readonly consent?: (method: string, params: unknown) => unknown
  /** What a client's refusal means; default: the error -32000. */
  readonly refusal?: (method: string) => RpcReply
  readonly cancel?: CancelPolicy
  /** The id of a request of its own that the child takes back with this notification; `reply`: what it is told then, if anything. */
  readonly withdrawal?: (
    method: string,
    params: unknown,
  ) => { readonly id: RpcId; readonly reply?: RpcReply } | undefined
  /** How the child is asked to end: by a request, and a notification once that is answered; or by the end of its stdin. */
  readonly goodbye?: { readonly request: RpcCall; readonly after: RpcCall } | "eof"
}

/** The members of an object; empty for anything else. */
export const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {}

export const isRpcId = (value: unknown): value is RpcId => typeof value === "number" || typeof value === "string"

/** Plain outcome: the text is the result as JSON. */
export const wholeResult = (result: unknown): Outcome => ({ text: JSON.stringify(result ?? null), isPartial: false })
