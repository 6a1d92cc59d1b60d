/**
 * What a runtime does for its clients: the one service that every transport's handlers, the CLI in process
 * and the library call. Each failure is one of `domain/Errors`. Implemented by `SessionSupervisor`.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { RuntimeError, StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { Prompt } from "../domain/Prompt.ts"
import type { ContainmentReport, Session, SessionStatus } from "../domain/Session.ts"
import type { SessionSpecInput, Signal } from "../domain/SessionSpec.ts"
import type { TranscriptEntry, TranscriptType } from "../domain/Transcript.ts"
import type { SearchHit, TranscriptPage, TranscriptQuery, TurnsPage, TurnsQuery } from "../domain/SessionStore.ts"
import type { MetricSample } from "../domain/Telemetry.ts"
import type { RestartStrategy } from "../domain/SupervisorStore.ts"
import type { Turn, TurnStatus } from "../domain/Turn.ts"
import type { UsageReport } from "./UsageTotals.ts"
import type { SupervisorRequest } from "./Supervisors.ts"
import type { Templates } from "./Templates.ts"

/** The version of the protocol that this runtime speaks. */
export const protocolVersion = 1

export interface TurnRequest {
  /** Name or id. */
  readonly session: string
  readonly prompt: Prompt
  /** The turn ends as `timed_out` this long after it was accepted, also while queued; besides the session's `turnTimeoutMs`. */
  readonly timeoutMs?: number
  /** The same key in the same session gives the first turn again instead of a second one. */
  readonly idempotencyKey?: string
}

export interface PermissionAnswer {
  /** Name, task or id. */
  readonly session: string
  readonly request: string
  readonly outcome: string
  /** Who answers, for the record; default `client`. */
  readonly by?: string
  /** What the agent is told besides, where the request takes it. */
  readonly result?: unknown
}

export interface ListQuery {
  readonly status?: SessionStatus | ReadonlyArray<SessionStatus>
  readonly tags?: Readonly<Record<string, string>>
  readonly task?: string
  readonly supervisor?: string
  /** Default 100. */
  readonly limit?: number
  readonly cursor?: string
}

export interface SubscribeRequest {
  /** Name or id; without one, every session's entries from now on. */
  readonly session?: string
  /** First what is stored after this `seq`, then live. Default: live only. Needs `session`. */
  readonly after?: number
  readonly types?: ReadonlyArray<TranscriptType>
  /** Only the entries of this turn. Needs `session`. */
  readonly turn?: string
}

/** What a subscriber is given: entries in order, or word of a range that the session's limits had dropped before it came. */
export interface SubscriptionBatch {
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly missed: ReadonlyArray<{ readonly session: SessionId; readonly after: number; readonly through: number }>
  /** The session was removed and this was all; every further pull says so again. */
  readonly ended?: true
}

/** A cursor, not a buffer: what was not pulled yet stays in the transcript. */
export interface Subscription {
  /** Waits until there is something, then gives at most `limit` (default 256) entries. */
  readonly pull: (limit?: number) => Effect.Effect<SubscriptionBatch, StoreUnavailable>
}

export interface RuntimeInfo {
  readonly name: "creche"
  readonly version: string
  readonly protocolVersion: number
  readonly pid: number
  readonly node: string
  readonly platform: string
  readonly startedAt: number
  readonly containment: ContainmentReport
  readonly dataDirectory: string
  readonly socket: string | null
}

/** How long completed turns took from start to end, since the runtime started (ms); null before the first. */
export interface TurnDurations {
  readonly count: number
  readonly meanMs: number | null
  readonly p50Ms: number | null
  readonly p90Ms: number | null
  readonly p99Ms: number | null
  readonly maxMs: number | null
}

export interface RuntimeStats {
  readonly sessions: Readonly<Record<SessionStatus, number>>
  /** Sessions by the template that they were started from. */
  readonly templates: Readonly<Record<string, number>>
  /** Sessions whose `expiresAt` has passed and that are still being removed. */
  readonly expiredPending: number
  /** What turns used up since the runtime started: tokens, costUsd, … as agents tell. */
  readonly usage: UsageReport
  readonly durations: TurnDurations
  readonly store: { readonly durable: boolean; readonly sizeBytes: number }
  readonly turns: Readonly<Record<TurnStatus, number>>
  readonly restarts: number
  readonly crashes: number
  readonly gaveUp: number
  readonly spawns: number
  readonly uptimeMs: number
  readonly memory: { readonly rssBytes: number; readonly heapUsedBytes: number }
}

export interface SupervisorTreeNode {
  readonly type: "supervisor"
  readonly path: string
  /** `failed`: it has given up, and so have all below it. */
  readonly status: "running" | "failed"
  readonly strategy: RestartStrategy
  /** Its own limit; null where it has none. */
  readonly maxRestarts: number | null
  readonly withinMs: number | null
  /** Why it is failed; null while it is not. */
  readonly reason: string | null
  /** How often its parent restarted it since the runtime started. */
  readonly restarts: number
  /** In start order; those of root: its sessions, then its supervisors. */
  readonly children: ReadonlyArray<TreeNode>
}

/** `session` nodes are leaves. */
export type TreeNode =
  | SupervisorTreeNode
  | {
      readonly type: "session"
      readonly id: SessionId
      readonly name: string
      readonly status: SessionStatus
      readonly pid: number | null
      readonly incarnation: number
      readonly restarts: number
    }

export interface RuntimeHealth {
  readonly status: "ok" | "starting" | "degraded" | "draining"
  /** It answers, so it lives: false is never said. */
  readonly live: true
  /** Whether it takes work: it is neither starting nor draining, and its store answers. */
  readonly ready: boolean
  /** One line for each thing that is not as it should be; empty when `ok`. */
  readonly problems: ReadonlyArray<string>
}

/** Of whom health tells. */
export interface HealthView {
  readonly session: (spec: { readonly supervisor: string; readonly tags: Readonly<Record<string, string>> }) => boolean
  readonly supervisor: (path: string) => boolean
  /** Tags that all sessions have that it sees. */
  readonly tags?: Readonly<Record<string, string>>
}

/** Called once. */
export type TurnReply = (exit: Exit.Exit<Turn, RuntimeError>) => void

type Answer<A> = Effect.Effect<A, RuntimeError>

export class Runtime extends Context.Service<
  Runtime,
  {
    readonly info: Effect.Effect<RuntimeInfo>
    readonly stats: Effect.Effect<RuntimeStats, StoreUnavailable>
    readonly tree: Effect.Effect<TreeNode>
    readonly health: Effect.Effect<RuntimeHealth>
    /** As it is for who sees no more than that. */
    readonly healthFor: (view: HealthView) => Effect.Effect<RuntimeHealth>
    /** Every metric as it stands now; where the store does not answer, without what only it knows. */
    readonly metrics: Effect.Effect<ReadonlyArray<MetricSample>>
    /** Says that what had to be started is there: from now on the runtime is ready. Only for one that `opensLater`. */
    readonly opened: Effect.Effect<void>
    /** Refuses new work, waits up to `drainMs` (default 0) for running turns, stops every session; later calls join, and one with no drain ends the drain of those before. */
    readonly shutdown: (drainMs?: number) => Effect.Effect<{ readonly survivors: ReadonlyArray<number> }>
    /** Resolves once a shutdown begins. */
    readonly ending: Effect.Effect<void>
    /** For a shutdown that takes too long: every process gets SIGKILL now, and a store that does not answer is waited for no more. */
    readonly kill: Effect.Effect<void>
    /** Resolves once a shutdown is complete. */
    readonly closed: Effect.Effect<void>
    /** A supervisor below `root`, once it is on record; its parent must be there. One that gave up begins anew, with its sessions. */
    readonly startSupervisor: (
      request: SupervisorRequest,
      /** One that runs with other settings: refused (the default), or given these. */
      whenOther?: "fail" | "change",
    ) => Answer<SupervisorTreeNode>
    /** Ends all below it in reverse start order and forgets it; its sessions stay on record, and need it to be started again. */
    readonly stopSupervisor: (path: string) => Answer<{ readonly survivors: ReadonlyArray<number> }>
    /** Answers once the session is ready. When the first start fails no session is left behind. */
    readonly start: (spec: SessionSpecInput, ifExists: "fail" | "return") => Answer<Session>
    /**
     * A session that has to be there, by its name: started where there is none, started again where it does not run. Where
     * it exists with another spec, this one counts from now on, and a process by the old one is replaced.
     */
    readonly configure: (spec: SessionSpecInput) => Answer<Session>
    readonly get: (session: string) => Answer<Session>
    readonly list: (
      query: ListQuery,
    ) => Answer<{ readonly sessions: ReadonlyArray<Session>; readonly nextCursor: string | null }>
    /** The turn once it ended. Interrupting the ask leaves the turn running. */
    readonly ask: (request: TurnRequest) => Answer<Turn>
    /** The turn once it is durable. */
    readonly tell: (request: TurnRequest) => Answer<Turn>
    /** The same as `ask` (`ended`) or `tell` (`accepted`), for a caller that is no fiber and does not go away. */
    readonly submit: (request: TurnRequest, until: "accepted" | "ended", reply: TurnReply) => void
    readonly turn: (turn: string) => Answer<Turn>
    /** The turn once it ended, or as it stands after `timeoutMs`. */
    readonly wait: (turn: string, timeoutMs?: number) => Answer<Turn>
    /** Cancels the given turn, queued or running; without one, the running turn. */
    readonly cancel: (session: string, turn?: string) => Answer<Turn>
    /** Answers a permission request: `allow`, `allow_always`, `deny`, or an option's own id; the first answer wins. */
    readonly answer: (answer: PermissionAnswer) => Answer<Session>
    /** Goes on with a start that waits for it, once the session is ready. `method`: default the first that the agent offered. */
    readonly authenticate: (session: string, method?: string) => Answer<Session>
    readonly write: (session: string, data: Uint8Array) => Answer<Session>
    readonly signal: (session: string, signal: Signal) => Answer<Session>
    readonly suspend: (session: string) => Answer<Session>
    readonly resume: (session: string) => Answer<Session>
    readonly restart: (session: string) => Answer<Session>
    readonly stop: (session: string, mode: "graceful" | "kill") => Answer<Session>
    readonly remove: (session: string) => Answer<void>
    readonly transcript: (session: string, query: TranscriptQuery) => Answer<TranscriptPage>
    /** What the session was asked, newest first. */
    readonly history: (session: string, query: TurnsQuery) => Answer<TurnsPage>
    /** Turns whose prompt or answer holds the words; see `SearchQuery`. */
    readonly search: (query: {
      readonly query: string
      /** Name, task or id; default: every session. */
      readonly session?: string
      readonly limit?: number
    }) => Answer<ReadonlyArray<SearchHit>>
    /** From now on it has so long until it is stopped and removed; null: for ever. */
    readonly extend: (session: string, expiresInMs: number | null) => Answer<Session>
    /** A new session that goes on from where this one's conversation stands, once it is ready; `Unsupported` where its protocol cannot. */
    readonly fork: (session: string, name?: string) => Answer<Session>
    readonly templates: Omit<Templates, "expand">
    readonly subscribe: (request: SubscribeRequest) => Effect.Effect<Subscription, RuntimeError, Scope.Scope>
  }
>()("creche/supervisor/Runtime") {}
