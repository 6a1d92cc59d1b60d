/**
 * What a session knows, as a value: a tagged union of phases, each with its own data, and the record that goes
 * through all of them. `SessionTransition` changes it, `SessionActor` acts on it; nothing here has effects.
 */
import type { RuntimeError } from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { Containment, Death, Session, SessionStatus, SuspendedBy } from "../domain/Session.ts"
import type { PendingRequest } from "../domain/Permission.ts"
import { resumedConversation, type SessionSpec, type ShutdownSpec } from "../domain/SessionSpec.ts"
import type { Turn, TerminalTurnStatus, Usage } from "../domain/Turn.ts"
import type { HostCall } from "../protocols/HostCall.ts"
import type { PoliteStep } from "../protocols/PoliteStop.ts"
import type { Protocol, Resumption } from "../protocols/Protocol.ts"
import type { ReplyTo } from "./ActorRef.ts"
import { guarded } from "./GuardedProtocol.ts"
import * as Mailbox from "./Mailbox.ts"

export type SessionReply = ReplyTo<Session, RuntimeError>
export type TurnReply = ReplyTo<Turn, RuntimeError>

/** A turn on its way: `attempts` counts how often it was given to a process. */
export interface PendingTurn {
  readonly turn: Turn
  readonly attempts: number
  /** When its own `timeoutMs` is over (epoch ms). */
  readonly dueAt: number | null
}

/** A turn that was asked to end early and may settle by itself until `deadline`. */
export interface Cancelling {
  readonly status: Extract<TerminalTurnStatus, "cancelled" | "timed_out">
  readonly deadline: number
  readonly replies: ReadonlyArray<TurnReply>
}

export interface RunningTurn extends PendingTurn {
  /** The answer so far, for a turn that does not come to its end. */
  readonly text: string
  readonly deadline: number
  readonly lastOutputAt: number
  readonly stalled: boolean
  readonly cancelling: Cancelling | null
  /** Ids of the tools that run. */
  readonly tools: ReadonlyArray<string>
}

/** What a process asks its host to do, under the name that its protocol gave it. */
export interface OpenCall {
  readonly call: string
  readonly what: HostCall
}

/** A permission request that waits, as its session knows it. */
export interface OpenRequest extends Omit<PendingRequest, "expiresAt"> {
  /** What the agent calls it. */
  readonly own: string
  readonly deadline: number
  /** Leave is asked for this; null: for what the agent does by itself. */
  readonly call: OpenCall | null
}

/** What is bound to one OS process and gone with it. */
export interface Incarnation {
  readonly pid: number
  readonly containment: Containment
  readonly protocol: unknown
  readonly protocolDeadline: number | null
  /** When its stdout ended; null while it may still say something. */
  readonly eofAt: number | null
  /** Its own process has ended; its output, and its descendants, may not have. */
  readonly exit: ExitReason | null
}

/** A child that is being asked to end in its own way; the `shutdown` of its session comes after. */
export interface Asking {
  /** The step that it was asked by last. */
  readonly step: PoliteStep
  /** When the next one follows. */
  readonly at: number
  readonly rest: ReadonlyArray<PoliteStep>
  readonly begunAt: number
  /** When the steps have had their share of the grace. */
  readonly until: number
  readonly shutdown: Exclude<ShutdownSpec, "brutal_kill">
}

/** Who wants this start, and so who is told when it fails. */
export type StartCause =
  /** `session/start`: a failure is the answer, and the session is forgotten. */
  | "initial"
  /** A client's restart or resume: a failure is the answer; not charged. */
  | "client"
  /** Supervision, a waking turn, a replacement: a failure is an abnormal exit. */
  | "supervision"

/**
 * What comes when the process tree is gone. `crash`: what supervision says to an incarnation that failed; `park`: its
 * supervisor restarts it among others, when it says so; `fall`: its supervisor has given up.
 */
export type Aim = "stop" | "remove" | "suspend" | "restart" | "replace" | "crash" | "park" | "fall"

export type Phase =
  | {
      readonly _tag: "Starting"
      readonly cause: StartCause
      /** null while the spawn is under way. */
      readonly process: Incarnation | null
      /** The ways that the agent offers, while it waits to be authenticated. */
      readonly authenticating: ReadonlyArray<string> | null
      /** null while it waits for its place among the live sessions: that time is not its own. */
      readonly deadline: number | null
      readonly replies: ReadonlyArray<SessionReply>
    }
  | { readonly _tag: "Ready"; readonly process: Incarnation; readonly since: number; readonly idleAt: number | null }
  | { readonly _tag: "Busy"; readonly process: Incarnation; readonly since: number; readonly running: RunningTurn }
  | {
      readonly _tag: "Ending"
      readonly aim: Aim
      /** Only for the aim `suspend`. */
      readonly by: SuspendedBy
      readonly process: Incarnation | null
      readonly cause: StartCause
      /** How long the process had been ready; 0 when it never was. */
      readonly readyMs: number
      readonly error: RuntimeError | null
      /** null: it is signalled, or killed. */
      readonly asking: Asking | null
      /** Answered when the tree is gone. */
      readonly stopReplies: ReadonlyArray<SessionReply>
      /** Answered when the next incarnation is ready. */
      readonly startReplies: ReadonlyArray<SessionReply>
    }
  /** Between the end of a process and the supervisor's word, and between the return of the runtime and `recover`. */
  | { readonly _tag: "Deciding"; readonly status: SessionStatus }
  | { readonly _tag: "Backoff"; readonly until: number; readonly attempt: number }
  /** Its supervisor starts it again, in its turn among others. */
  | {
      readonly _tag: "Parked"
      readonly cause: StartCause
      readonly replies: ReadonlyArray<SessionReply>
      /** When its own restart was due; undefined: it did not crash. */
      readonly dueAt?: number
    }
  | { readonly _tag: "Suspended"; readonly by: SuspendedBy }
  | { readonly _tag: "Stopped" }
  | { readonly _tag: "Failed"; readonly error: RuntimeError }
  /** Removed, or its first start failed: it takes nothing in any more. */
  | { readonly _tag: "Gone" }

/**
 * Times that clients see are of the wall clock. What has to pass before something is due (the fields of a phase,
 * `expiresAt`, `dueAt`, `begunAt`) is measured on a steady clock that no correction of the wall clock moves.
 */
export interface SessionState {
  readonly id: SessionId
  readonly spec: SessionSpec
  readonly protocol: Protocol
  /** Wall clock minus steady clock (ms). */
  readonly skewMs: number
  readonly createdAt: number
  readonly expiresAt: number | null
  readonly lastActiveAt: number
  readonly seq: number
  readonly incarnation: number
  /** When the start of this incarnation began, or was due: a store that was slow to take the wait down held it up. */
  readonly begunAt: number
  readonly restarts: number
  readonly completed: number
  readonly failed: number
  readonly exit: ExitReason | null
  readonly deaths: ReadonlyArray<Death>
  /** Pids of the last process tree that could not be killed. */
  readonly survivors: ReadonlyArray<number>
  readonly usage: Usage | null
  readonly conversation: string | null
  /** The conversation that it forks from, until it has one of its own. */
  readonly forkedFrom: string | null
  readonly queue: Mailbox.Mailbox<PendingTurn>
  readonly requests: ReadonlyArray<OpenRequest>
  /** The earliest `dueAt` in the queue, or earlier. */
  readonly queueDueAt: number | null
  readonly phase: Phase
}

/** How many past ends of its processes a session remembers. */
export const deathHistory = 10

/** A process that closed its stdout has this long to end by itself. */
export const eofGraceMs = 1_000

export const initialState = (
  id: SessionId,
  spec: SessionSpec,
  protocol: Protocol,
  now: number,
  skewMs = 0,
): SessionState => ({
  id,
  spec,
  protocol: guarded(protocol),
  skewMs,
  createdAt: now + skewMs,
  expiresAt: spec.expiresInMs === null ? null : now + spec.expiresInMs,
  lastActiveAt: now + skewMs,
  seq: 0,
  incarnation: 0,
  begunAt: now,
  restarts: 0,
  completed: 0,
  failed: 0,
  exit: null,
  deaths: [],
  survivors: [],
  usage: null,
  conversation: resumedConversation(spec),
  forkedFrom: null,
  queue: Mailbox.empty(spec.mailbox),
  requests: [],
  queueDueAt: null,
  phase: { _tag: "Stopped" },
})

/** The conversation that the next incarnation goes on with. */
export const resumptionOf = ({ conversation, forkedFrom }: SessionState): Resumption | null =>
  conversation !== null
    ? { conversation, fork: false }
    : forkedFrom !== null
      ? { conversation: forkedFrom, fork: true }
      : null

export const processOf = (phase: Phase): Incarnation | null => ("process" in phase ? phase.process : null)

/** Whether the process can still answer a prompt. */
export const answers = (process: Incarnation): boolean => process.exit === null && process.eofAt === null

/** Ready, and nothing to do: another session may have its place. */
export const isIdle = ({ phase, queue }: SessionState): boolean =>
  phase._tag === "Ready" && answers(phase.process) && Mailbox.isEmpty(queue)

const comesBack = (aim: Aim): boolean => aim === "replace" || aim === "restart" || aim === "crash" || aim === "park"

/** The status that clients see. */
export const statusOf = (phase: Phase): SessionStatus => {
  switch (phase._tag) {
    case "Starting":
      return phase.authenticating !== null ? "authenticating" : "starting"
    case "Ready":
      return "ready"
    case "Busy":
      return "busy"
    case "Ending":
      return comesBack(phase.aim) ? "starting" : "stopping"
    case "Deciding":
      return phase.status
    case "Backoff":
    case "Parked":
      return "backoff"
    case "Suspended":
      return "suspended"
    case "Stopped":
    case "Gone":
      return "stopped"
    case "Failed":
      return "failed"
  }
}

const pendingOf = ({ own: _own, call: _call, deadline, ...rest }: OpenRequest, skewMs: number): PendingRequest => ({
  ...rest,
  expiresAt: deadline + skewMs,
})

const noRequests: ReadonlyArray<PendingRequest> = []

const suspendedBy = (phase: Phase): SuspendedBy | null =>
  phase._tag === "Suspended" || (phase._tag === "Ending" && phase.aim === "suspend") ? phase.by : null

export const toSession = (state: SessionState): Session => {
  const process = processOf(state.phase)
  const running = state.phase._tag === "Busy" ? state.phase.running : null
  return {
    id: state.id,
    name: state.spec.name,
    supervisor: state.spec.supervisor,
    status: statusOf(state.phase),
    spec: state.spec,
    pid: process === null || process.exit !== null ? null : process.pid,
    incarnation: state.incarnation,
    restarts: state.restarts,
    turns: {
      queued: Mailbox.size(state.queue),
      running: running === null ? 0 : 1,
      completed: state.completed,
      failed: state.failed,
    },
    containment: process === null ? null : process.containment,
    agentSessionId: state.conversation,
    forkedFrom: state.forkedFrom,
    suspendedBy: suspendedBy(state.phase),
    pendingRequests:
      state.requests.length === 0 ? noRequests : state.requests.map((open) => pendingOf(open, state.skewMs)),
    createdAt: state.createdAt,
    lastActiveAt: state.lastActiveAt,
    expiresAt: state.expiresAt === null ? null : state.expiresAt + state.skewMs,
    exit: state.exit,
    deaths: state.deaths,
    survivors: state.survivors,
    usage: state.usage,
    seq: state.seq,
  }
}

export const isBeingRemoved = (phase: Phase): boolean => phase._tag === "Ending" && phase.aim === "remove"
