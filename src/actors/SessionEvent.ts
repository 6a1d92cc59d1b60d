/** What can happen to a session, and what it can want done: both as data. */
import type { RuntimeError } from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { TurnId } from "../domain/Ids.ts"
import type { Containment, Session } from "../domain/Session.ts"
import type { SessionSpec, ShutdownSpec, Signal } from "../domain/SessionSpec.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import type { HostAnswer, HostCall } from "../protocols/HostCall.ts"
import type { PoliteStep } from "../protocols/PoliteStop.ts"
import type { Protocol } from "../protocols/Protocol.ts"
import type { PendingTurn, SessionReply, TurnReply } from "./SessionState.ts"

/** The supervisor's answer to the end of a process. */
export type Decision =
  | { readonly _tag: "Restart"; readonly delayMs: number; readonly attempt: number }
  /** The restart type says that this was all. */
  | { readonly _tag: "Done" }
  /** Its supervisor restarts it together with others, in its turn. */
  | { readonly _tag: "Park"; readonly delayMs: number; readonly attempt: number }
  /** The runtime is ending, and what it ends comes back with it. */
  | { readonly _tag: "Leave" }
  /** The intensity limit is reached, or the child cannot be replaced. */
  | { readonly _tag: "GiveUp"; readonly error: RuntimeError }

/** What the supervisor is told when a process ended that nobody had asked to end. */
export interface ExitReport {
  readonly normal: boolean
  /** Ready time of the process that ended; 0 when it never was ready. */
  readonly readyMs: number
  /** From when its start was due to its end: ready time, and what it cost to get there and to be rid of it. */
  readonly elapsedMs: number
}

export type SessionEvent =
  // from clients
  | { readonly type: "start"; readonly reply: SessionReply }
  | { readonly type: "submit"; readonly pending: PendingTurn }
  | { readonly type: "withdraw"; readonly turn: TurnId }
  /** Answered when the turn ends; `TurnNotFound` where it is not open any more. */
  | { readonly type: "await"; readonly turn: TurnId; readonly reply: TurnReply }
  | { readonly type: "cancel"; readonly turn: TurnId | null; readonly reply: TurnReply }
  | { readonly type: "write"; readonly data: Uint8Array; readonly reply: SessionReply }
  | { readonly type: "signal"; readonly signal: Signal; readonly reply: SessionReply }
  | { readonly type: "suspend"; readonly reply: SessionReply }
  | { readonly type: "resume"; readonly reply: SessionReply }
  | { readonly type: "restart"; readonly reply: SessionReply }
  | { readonly type: "stop"; readonly brutal: boolean; readonly reply: SessionReply }
  | { readonly type: "remove"; readonly reply: SessionReply }
  | {
      readonly type: "answer"
      readonly request: string
      readonly outcome: string
      /** Who answers, for the record. */
      readonly by: string
      readonly result?: unknown
      readonly reply: SessionReply
    }
  /** `method`: null for the first that the agent offered. */
  | { readonly type: "authenticate"; readonly method: string | null; readonly reply: SessionReply }
  | { readonly type: "extend"; readonly expiresInMs: number | null; readonly reply: SessionReply }
  /** Another spec of the same name; answered when it counts, which is with the next start. */
  | { readonly type: "respec"; readonly spec: SessionSpec; readonly protocol: Protocol; readonly reply: SessionReply }
  // from the process
  /** The session has its place among the live ones, and its spawn begins: from here on it has `readyTimeoutMs`. */
  | { readonly type: "admitted" }
  | {
      readonly type: "spawned"
      readonly pid: number
      readonly containment: Containment
      readonly cwd: string
      readonly freshId: string
    }
  | { readonly type: "spawnFailed"; readonly error: RuntimeError }
  | { readonly type: "frames"; readonly frames: ReadonlyArray<string> }
  /** A frame over the line limit was skipped. */
  | { readonly type: "oversize"; readonly bytes: number }
  /** What it wrote is no frame, and where the next begins cannot be known. */
  | { readonly type: "broken"; readonly detail: string }
  | { readonly type: "stdoutEnd" }
  | { readonly type: "stderr"; readonly data: string }
  | { readonly type: "exited"; readonly exit: ExitReason }
  | { readonly type: "closed"; readonly survivors: ReadonlyArray<number>; readonly stderrTail: string }
  // from the runtime
  /** What a process asked its host for came to its end. */
  | {
      readonly type: "returned"
      readonly incarnation: number
      readonly call: string
      readonly answer: HostAnswer
    }
  /** The runtime is back: settles what its end left open of the session's `record`. `openTurns`: in the order of their acceptance. */
  | {
      readonly type: "recover"
      readonly record: Session
      readonly openTurns: ReadonlyArray<Turn>
      /** How long a start has to wait, if one is wanted (ms). */
      readonly delayMs: number
      /** It waits for its supervisor instead. */
      readonly parked: boolean
      readonly reply: SessionReply
    }
  /** Another session wants its place: suspends one that is idle, answered when it is; any other refuses. */
  | { readonly type: "makeRoom"; readonly reply: SessionReply }
  /** The runtime is about to end, and comes back: queued turns wait for the next one from now on; answered when they do. */
  | { readonly type: "hold"; readonly reply: SessionReply }
  /** The runtime ends, and comes back: the session is suspended until then. */
  | { readonly type: "leave"; readonly reply: SessionReply }
  // from its supervisor
  /** A group restart begins: its process ends, what waits waits on. Answered when nothing of it is left. */
  | { readonly type: "park"; readonly reply: SessionReply }
  /** Its turn in a group restart has come; answered once it is ready. One that was not parked is left as it is. */
  | { readonly type: "release"; readonly reply: SessionReply }
  /** The supervisor has given up: its process ends, what waits ends with this error. */
  | { readonly type: "fall"; readonly error: RuntimeError; readonly reply: SessionReply }
  /** One that fell with its supervisor, or that had finished, is to come back: parked until its turn, or asleep again. */
  | { readonly type: "rise"; readonly asleep: boolean; readonly reply: SessionReply }
  | { readonly type: "decision"; readonly decision: Decision }
  | { readonly type: "tick" }
  /** A step of this session threw: a bug, in the protocol or here. */
  | { readonly type: "defect"; readonly detail: string }
  | { readonly type: "note"; readonly text: string }

export type SessionAction =
  // to the store, before anything else of the same step
  | { readonly type: "append"; readonly entry: TranscriptEntry }
  | { readonly type: "save"; readonly turn: Turn }
  // to clients
  | { readonly type: "accepted"; readonly turn: Turn }
  | { readonly type: "refused"; readonly turn: TurnId; readonly error: RuntimeError }
  /** It stays queued for the next runtime; whoever waits for its end is told so now. */
  | { readonly type: "postponed"; readonly turn: TurnId; readonly error: RuntimeError }
  | { readonly type: "ended"; readonly turn: Turn }
  | { readonly type: "await"; readonly turn: TurnId; readonly reply: TurnReply }
  | { readonly type: "reply"; readonly to: SessionReply; readonly error: RuntimeError | null }
  | { readonly type: "replyTurn"; readonly to: TurnReply; readonly turn: Turn }
  | { readonly type: "replyTurnFailed"; readonly to: TurnReply; readonly error: RuntimeError }
  // to the process
  | { readonly type: "spawn" }
  /** Asks the process to end in its own way. What of its stdin it has not read by now it will not be given. */
  | { readonly type: "askToEnd"; readonly step: PoliteStep }
  /** Ends the process tree, or the spawn under way; `closed` follows in either case. */
  | { readonly type: "terminate"; readonly shutdown: ShutdownSpec }
  | { readonly type: "write"; readonly data: string | Uint8Array; readonly reply: SessionReply | null }
  | { readonly type: "signal"; readonly signal: Signal }
  // to the host
  /** Does what the process of this incarnation asked for; `returned` follows. */
  | { readonly type: "call"; readonly incarnation: number; readonly call: string; readonly what: HostCall }
  // to the supervisor
  | { readonly type: "supervise"; readonly report: ExitReport }
  /** A client's start: past restarts count no more. */
  | { readonly type: "forgive" }
  /** The session ended for good; `cause` tells whether it ever began. */
  | { readonly type: "gone"; readonly cause: "startFailed" | "removed" }
