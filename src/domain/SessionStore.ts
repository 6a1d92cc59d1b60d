/**
 * The port behind which sessions, turns and transcripts are kept. One writer per session (its actor) calls
 * `commit`; what a commit holds becomes durable together, before anything in it is acknowledged.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreUnavailable } from "./Errors.ts"
import type { SessionId, TurnId } from "./Ids.ts"
import type { Session, SessionStatus } from "./Session.ts"
import type { TranscriptEntry, TranscriptType } from "./Transcript.ts"
import type { Turn } from "./Turn.ts"

/**
 * One step of one session. `entries` are in order and continue the session's `seq`. A commit that failed has left
 * nothing behind and may be made again as it is; made twice it counts once.
 */
export interface Commit {
  readonly session: Session
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly turns: ReadonlyArray<Turn>
  /** The supervisor's restart history, any JSON, kept with the record; left out: as it was. */
  readonly history?: unknown
}

export interface TranscriptQuery {
  /** Entries with a greater `seq`; default 0. */
  readonly after?: number
  /** At most this many entries; default 1000. */
  readonly limit?: number
  readonly types?: ReadonlyArray<TranscriptType>
  readonly turn?: TurnId
  /** Also what is over the session's limits, as far as the store still has it; default false. */
  readonly all?: boolean
}

export interface TranscriptPage {
  readonly entries: ReadonlyArray<TranscriptEntry>
  /** Pass as `after` to go on; entries that the query filters out are passed over. */
  readonly nextAfter: number
  /** The greatest `seq` that the session's limits (with `all`: retention) have dropped; 0 while the transcript is whole. */
  readonly trimmed: number
}

export interface SessionQuery {
  /** Any of these. */
  readonly status?: ReadonlyArray<SessionStatus>
  /** All of these. */
  readonly tags?: Readonly<Record<string, string>>
  readonly task?: string
  /** This path itself, not those below it. */
  readonly supervisor?: string
  readonly name?: string
  readonly limit: number
  /** A `next` of before. */
  readonly after?: string
}

export interface SessionPage {
  /** In order of creation. */
  readonly sessions: ReadonlyArray<Session>
  /** Pass as `after` to go on, also when the sessions seen so far are gone; null at the end. Opaque. */
  readonly next: string | null
}

/** What the runtime finds of a session when it comes back. */
export interface RecoverableSession {
  readonly session: Session
  /** Queued and running, in the order in which they were accepted. */
  readonly openTurns: ReadonlyArray<Turn>
  /** As given with the newest commit that had one; undefined when none had. */
  readonly history: unknown
}

export interface SearchQuery {
  /**
   * Words that must all occur in the prompt or the answer, in any order, without regard to case and accents. A word
   * that ends in `*` matches what begins so; every other sign only separates words. Without a word nothing is found.
   */
  readonly query: string
  readonly session?: SessionId
  /** Default 50. */
  readonly limit?: number
}

export interface SearchHit {
  readonly turn: Turn
  /** The text around the first word found, one line, some 200 characters. */
  readonly snippet: string
}

export interface TurnsQuery {
  /** Default 100. */
  readonly limit?: number
  /** A `nextBefore` of before: turns that were accepted earlier than this `firstSeq`. */
  readonly before?: number
}

export interface TurnsPage {
  /** Newest first, open ones among them. */
  readonly turns: ReadonlyArray<Turn>
  /** Pass as `before` to go on; null at the end. */
  readonly nextBefore: number | null
}

/** What all records together come to. */
export interface StoreCounts {
  readonly sessions: Readonly<Record<SessionStatus, number>>
  /** Sessions by the template that they were started from; those without one are not in it. */
  readonly templates: Readonly<Record<string, number>>
  /** Sessions whose time was over at `now` and that are still there. */
  readonly expired: number
  /** How many sessions were ever made here, the removed ones among them. */
  readonly created: number
}

export interface Retention {
  /** Ended turns, and entries, older than this go (ms). */
  readonly maxAgeMs?: number
  /** While the store is larger than this, the oldest ended turns go, with the entries up to their end. */
  readonly maxBytes?: number
  /**
   * Only of this session; `maxBytes` is then the session's share. Default: of all, and besides each session that has a
   * `spec.retention` is held to its own.
   */
  readonly session?: SessionId
  /** Epoch milliseconds. */
  readonly now: number
}

export interface Retained {
  readonly removedTurns: number
  readonly removedEntries: number
}

/** `sqlite`: in the data directory, so that what was accepted outlives the runtime; `memory`: gone with it. */
export type StoreKind = "sqlite" | "memory"

export class SessionStore extends Context.Service<
  SessionStore,
  {
    readonly commit: (commit: Commit) => Effect.Effect<void, StoreUnavailable>
    readonly transcript: (session: SessionId, query: TranscriptQuery) => Effect.Effect<TranscriptPage, StoreUnavailable>
    readonly turn: (turn: TurnId) => Effect.Effect<Turn | undefined, StoreUnavailable>
    /** The turn that the session accepted under this key before, if any. */
    readonly turnByKey: (session: SessionId, key: string) => Effect.Effect<Turn | undefined, StoreUnavailable>
    readonly session: (session: SessionId) => Effect.Effect<Session | undefined, StoreUnavailable>
    /** Of every session that was not removed. */
    readonly ids: Effect.Effect<ReadonlyArray<SessionId>, StoreUnavailable>
    /** The newest session of this name, or else the newest with this task. */
    readonly find: (nameOrTask: string) => Effect.Effect<Session | undefined, StoreUnavailable>
    /** A session's turns: the history of what it was asked. */
    readonly turns: (session: SessionId, query: TurnsQuery) => Effect.Effect<TurnsPage, StoreUnavailable>
    /** `now`: epoch milliseconds. */
    readonly counts: (now: number) => Effect.Effect<StoreCounts, StoreUnavailable>
    /** One session as a runtime that comes back finds it, whatever its status. */
    readonly recover: (session: SessionId) => Effect.Effect<RecoverableSession | undefined, StoreUnavailable>
    /** Those that match, in order of creation, page by page. */
    readonly list: (query: SessionQuery) => Effect.Effect<SessionPage, StoreUnavailable>
    /** What a runtime that comes back has to take care of: every session that is neither stopped nor failed, has open turns, or expires. */
    readonly recoverable: Effect.Effect<ReadonlyArray<RecoverableSession>, StoreUnavailable>
    /** Turns whose prompt or answer matches, newest first. */
    readonly search: (query: SearchQuery) => Effect.Effect<ReadonlyArray<SearchHit>, StoreUnavailable>
    /** Forgets what is too old or too much, oldest first; open turns and the newest ended turn of each session stay. */
    readonly retain: (retention: Retention) => Effect.Effect<Retained, StoreUnavailable>
    /** What sessions, turns and transcripts take, in memory or on disk. */
    readonly sizeBytes: Effect.Effect<number, StoreUnavailable>
    /** Forgets a session: record, turns and transcript. */
    readonly remove: (session: SessionId) => Effect.Effect<void, StoreUnavailable>
  }
>()("creche/domain/SessionStore") {}
