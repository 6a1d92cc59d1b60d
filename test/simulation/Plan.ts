/**
 * A schedule as data: the world, the sessions with the lives of their processes, and what clients and misfortune do at which
 * moment. Made from a seed by `PlanMaker`, cut down by `Shrink`, carried out by `Simulation`. All times are milliseconds.
 */
import type { IntensitySpec, SessionSpecInput, Signal } from "../../src/domain/SessionSpec.ts"
import type { RestartStrategy } from "../../src/domain/SupervisorStore.ts"
import type { AdmissionSpec } from "../../src/supervisor/RuntimeConfig.ts"

/** How a process comes to an end. `guardLost`: somebody killed the guard, and with it the tree. */
export type End =
  | { readonly by: "exit"; readonly code: number }
  | { readonly by: "signal"; readonly signal: string }
  | { readonly by: "guardLost" }

/** What a process does with a prompt. */
export interface TurnPlan {
  readonly does: "answers" | "hangs" | "ends" | "asks" | "babbles" | "overflows" | "closesStdout"
  readonly afterMs: number
  /** Pieces that the answer comes in, whatever lines it has. */
  readonly pieces: number
  readonly end?: End
}

/** One process from its spawn to its end. */
export interface Life {
  readonly spawn: "works" | "fails" | "hangs"
  readonly spawnMs: number
  /** Of a protocol with a handshake. */
  readonly ready: "works" | "hangs" | "refuses"
  readonly readyMs: number
  /** For each prompt in turn; those after are answered. */
  readonly turns: ReadonlyArray<TurnPlan>
  /** It ends by itself so long after its spawn. */
  readonly endsAfterMs: number | null
  readonly end: End
  /** Told by SIGTERM it ends so much later; null: it ignores it. */
  readonly obeysAfterMs: number | null
  /** With stdin at its end it ends by itself. */
  readonly heedsEof: boolean
  /** What it started lives so much longer than itself. */
  readonly straysMs: number
  /** Somebody outside of the tree holds its stdout open so much longer. */
  readonly heldMs: number
  readonly unkillable: boolean
  /** Its stdin is full after every write, for so long. */
  readonly stdinFullMs: number
  /** Lines on stderr, and, where the protocol bears it, stray lines on stdout. */
  readonly chatter: number
}

/** How the store treats one session. */
export interface StorePlan {
  /** Instant: on the caller's stack, as memory does. */
  readonly commits: "instant" | "delayed"
  readonly mostMs: number
  /** Of commits and reads: nothing happened. */
  readonly fails: number
  /** Of commits: it happened, and the answer says otherwise. */
  readonly answersLost: number
  /** Of commits: it throws. */
  readonly dies: number
}

/** Below `root`; a session stands there by the `supervisor` of its spec. */
export interface SupervisorPlan {
  readonly path: string
  readonly strategy: RestartStrategy
  readonly intensity: IntensitySpec | null
}

export interface SessionPlan {
  readonly spec: SessionSpecInput & { readonly name: string }
  readonly lives: ReadonlyArray<Life>
  /** After the last of them: calm ones, or the last again and again. */
  readonly further: "calm" | "again"
  readonly store: StorePlan
}

export type SessionWish =
  | { readonly type: "start"; readonly ifExists: "fail" | "return" }
  | { readonly type: "configure"; readonly changed: boolean }
  | { readonly type: "ask" | "tell"; readonly key?: string; readonly timeoutMs?: number }
  /** As ask, by callback. */
  | { readonly type: "submit"; readonly key?: string; readonly timeoutMs?: number }
  | { readonly type: "wait"; readonly of: number; readonly timeoutMs?: number }
  | { readonly type: "cancel"; readonly of: number | null }
  | { readonly type: "answer"; readonly outcome: string }
  | { readonly type: "write" }
  | { readonly type: "signal"; readonly signal: Signal }
  | { readonly type: "suspend" | "resume" | "restart" | "remove" | "get" | "fork" }
  | { readonly type: "stop"; readonly mode: "graceful" | "kill" }
  | { readonly type: "extend"; readonly expiresInMs: number | null }
  | { readonly type: "subscribe"; readonly after: number | null }

export type SupervisorWish = { readonly type: "supervisorStart" | "supervisorStop"; readonly supervisor: number }

export type Misfortune =
  /** A client goes away while its request `of` is under way. */
  | { readonly type: "disconnect"; readonly of: number }
  /** The runtime dies after so many more of the things that it does to the world; the next one comes `downMs` later. */
  | { readonly type: "kill"; readonly after: number; readonly downMs: number }
  | { readonly type: "shutdown"; readonly drainMs: number; readonly downMs: number }
  | { readonly type: "outage"; readonly forMs: number }
  /** Somebody sets the wall clock. */
  | { readonly type: "clock"; readonly byMs: number }

/** `n` names a step for others, also when some were taken out. */
export type Step = { readonly at: number; readonly n: number } & (
  | (SessionWish & { readonly session: number })
  | SupervisorWish
  | { readonly type: "end"; readonly session: number; readonly end: End }
  | { readonly type: "list" }
  | { readonly type: "watch" }
  | Misfortune
)

export interface WorldPlan {
  readonly durable: boolean
  readonly restarts: { readonly burst: number; readonly perSecond: number }
  readonly admission: AdmissionSpec
  readonly retentionMs: number | null
  /** Reads of the store take so long, at most, and so many of them fail. */
  readonly readMs: number
  readonly readFails: number
  /** What happens at the same moment: in order of arrival, or as it falls. */
  readonly ties: "arrival" | "lot"
  /** Timers go off so much too late, at most. */
  readonly lateMs: number
  /** After so many steps a fiber lets others go first. */
  readonly yieldAfter: number
}

export interface Plan {
  readonly seed: number
  readonly world: WorldPlan
  readonly supervisors: ReadonlyArray<SupervisorPlan>
  readonly sessions: ReadonlyArray<SessionPlan>
  /** In order of their moments. */
  readonly steps: ReadonlyArray<Step>
}

export const calmLife: Life = {
  spawn: "works",
  spawnMs: 2,
  ready: "works",
  readyMs: 1,
  turns: [],
  endsAfterMs: null,
  end: { by: "exit", code: 0 },
  obeysAfterMs: 1,
  heedsEof: false,
  straysMs: 0,
  heldMs: 0,
  unkillable: false,
  stdinFullMs: 0,
  chatter: 0,
}

export const calmTurn: TurnPlan = { does: "answers", afterMs: 2, pieces: 1 }

export const calmStore: StorePlan = { commits: "instant", mostMs: 0, fails: 0, answersLost: 0, dies: 0 }
