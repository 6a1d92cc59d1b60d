/**
 * The port to one way of talking to a child. A protocol is a set of pure steps over a state of its own,
 * one state per incarnation: the session actor feeds it prompts and frames and acts on the events that
 * come back. It does no I/O, reads no clock, and keeps nothing outside its state.
 */
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { PermissionOption } from "../domain/Transcript.ts"
import type { Prompt } from "../domain/Prompt.ts"
import type { TurnError, Usage } from "../domain/Turn.ts"
import type { HostAnswer, HostCall } from "./HostCall.ts"
import type { PoliteStop } from "./PoliteStop.ts"

/** How bytes from stdout become frames. `lines`: without the newline; `text`: whatever arrived, as valid UTF-8; `contentLength`: message bodies, and lines that stand between them. */
export type FramingKind = "lines" | "text" | "contentLength"

export type ProtocolEvent =
  /** The handshake is done: prompts may come. */
  | { readonly type: "ready" }
  /** Bytes for stdin. */
  | { readonly type: "write"; readonly data: string }
  /** A piece of the running turn's answer. */
  | { readonly type: "delta"; readonly text: string }
  | { readonly type: "thought"; readonly text: string }
  | {
      readonly type: "tool"
      readonly toolId: string
      readonly name: string
      readonly input?: unknown
      readonly output?: unknown
      readonly status: string
    }
  /** The agent's own message, untouched. */
  | { readonly type: "native"; readonly message: unknown }
  /** Stdout that belongs to no answer. Joined: one event may hold many lines, each with its newline. */
  | { readonly type: "output"; readonly data: string }
  /** The running turn has its end. `text` is the whole answer. */
  | {
      readonly type: "ended"
      readonly status: "completed" | "failed" | "cancelled"
      readonly text: string
      readonly stopReason: string | null
      readonly usage?: Usage
      readonly error?: TurnError
    }
  /** Call `timer` once the clock reaches `at` (epoch ms), unless another `deadline` replaces it; null withdraws it. */
  | { readonly type: "deadline"; readonly at: number | null }
  /** The agent's own id of the conversation. */
  | { readonly type: "conversation"; readonly id: string }
  | {
      readonly type: "permission"
      readonly request: string
      readonly tool: string
      readonly input: unknown
      readonly options: ReadonlyArray<PermissionOption>
    }
  /** The agent needs no answer to it any more, nor to a call of that name. */
  | { readonly type: "permissionWithdrawn"; readonly request: string }
  /**
   * Something that its host is to do for the agent; `returned` tells how it went, once, unless the call is withdrawn like a
   * permission before. The session's rules see it as the use of `tool` with `input`: `deny` refuses it, `ask` asks first,
   * and where none fits it is done, for the protocol's own options allowed it.
   */
  | {
      readonly type: "call"
      /** Its name, apart from those of permissions. */
      readonly call: string
      readonly what: HostCall
      readonly tool: string
      readonly input: unknown
    }
  /** The agent wants `authenticate` before it goes on, or, by the instructions, something of people. */
  | { readonly type: "authenticate"; readonly methods: ReadonlyArray<string>; readonly instructions?: string }
  /** The child has done what a step of `politeStop` asked of it. */
  | { readonly type: "settled" }
  /** The child broke the protocol so that it cannot go on; its incarnation is replaced. */
  | { readonly type: "broken"; readonly detail: string }

/** An earlier conversation, by the agent's own id. With `fork` what is said from here on belongs to a new one. */
export interface Resumption {
  readonly conversation: string
  readonly fork: boolean
}

/** What an incarnation begins with. */
export interface StartContext {
  /** The conversation that it goes on with; null: a new one. */
  readonly from: Resumption | null
  /** A UUID of its own, for agents that let others choose the id of a new conversation. */
  readonly freshId: string
  /** Absolute; where the process runs. */
  readonly cwd: string
  /** What the conversation has cost by the session's record (USD); null: it has a past that is not on it. */
  readonly costUsd: number | null
  readonly now: number
}

export interface Step<S> {
  readonly state: S
  readonly events: ReadonlyArray<ProtocolEvent>
}

export interface Protocol<S = unknown> {
  readonly name: string
  readonly framing: FramingKind
  /** What is run where the spec names no command; its own `args` replace these. Undefined: a command must be named. */
  readonly command?: { readonly command: string; readonly args: ReadonlyArray<string> }
  /** How this kind of child is asked to end before the session's own `shutdown` begins; undefined: in no way of its own. */
  readonly politeStop?: (state: S) => PoliteStop<S>
  /** Arguments that the command gets after those of the spec. Undefined: none. */
  readonly args?: (context: Pick<StartContext, "from" | "freshId">) => ReadonlyArray<string>
  /** Whether a conversation can be forked: gone on with under a new id, the old one left as it is. */
  readonly canFork?: boolean
  readonly start: (context: StartContext) => Step<S>
  /** Only called between turns and after `ready`. `token` is fresh, of letters and digits alone. */
  readonly prompt: (state: S, prompt: Prompt, token: string, now: number) => Step<S>
  /** Frames in order. A protocol may end its turn in the middle; what follows in the batch is handled with no turn running. */
  readonly frames: (state: S, frames: ReadonlyArray<string>, now: number) => Step<S>
  /** Stdout is at its end. The half line before it was given to `frames` already. */
  readonly eof: (state: S) => Step<S>
  readonly timer: (state: S, now: number) => Step<S>
  /**
   * Asks the child to give up the running turn; its `ended` tells when it did. Undefined: this protocol
   * has no way to cancel, so the incarnation is replaced.
   */
  readonly cancel?: (state: S) => Step<S>
  /** Answers a permission request with one of its options; `result`: what a client says besides, where the request takes it. */
  readonly answer?: (state: S, request: string, option: string, result?: unknown) => Step<S>
  /** A `call` came to its end. Needed of a protocol that makes such events. */
  readonly returned?: (state: S, call: string, answer: HostAnswer) => Step<S>
  /** Goes on after `authenticate`; `method`: one of those that were offered, null: the first. */
  readonly authenticate?: (state: S, method: string | null) => Step<S>
}

/** Chooses the protocol for a spec; undefined where this build does not speak it (yet). */
export type ProtocolFor = (spec: SessionSpec["protocol"]) => Protocol | undefined
