/**
 * The port behind which sessions, turns and transcripts are kept. One writer per session (its actor) calls
 * `commit`; what a commit holds becomes durable together, before anything in it is acknowledged.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreUnavailable } from "./Errors.ts"
import type { SessionId, TurnId } from "./Ids.ts"
import type { Session } from "./Session.ts"
import type { TranscriptEntry, TranscriptType } from "./Transcript.ts"
import type { Turn } from "./Turn.ts"

/** One step of one session. `entries` are in order and continue the session's `seq`. */
export interface Commit {
  readonly session: Session
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly turns: ReadonlyArray<Turn>
}

export interface TranscriptQuery {
  /** Entries with a greater `seq`; default 0. */
  readonly after?: number
  /** At most this many entries; default 1000. */
  readonly limit?: number
  readonly types?: ReadonlyArray<TranscriptType>
  readonly turn?: TurnId
}

export interface TranscriptPage {
  readonly entries: ReadonlyArray<TranscriptEntry>
  /** Pass as `after` to go on; entries that the query filters out are passed over. */
  readonly nextAfter: number
  /** The greatest `seq` that the session's limits have dropped; 0 while the transcript is whole. */
  readonly trimmed: number
}

export class SessionStore extends Context.Service<
  SessionStore,
  {
    readonly commit: (commit: Commit) => Effect.Effect<void, StoreUnavailable>
    readonly transcript: (session: SessionId, query: TranscriptQuery) => Effect.Effect<TranscriptPage, StoreUnavailable>
    readonly turn: (turn: TurnId) => Effect.Effect<Turn | undefined, StoreUnavailable>
    /** The turn that the session accepted under this key before, if any. */
    readonly turnByKey: (session: SessionId, key: string) => Effect.Effect<Turn | undefined, StoreUnavailable>
    readonly session: (session: SessionId) => Effect.Effect<Session | undefined, StoreUnavailable>
    /** Every session that was not removed, in order of creation. */
    readonly sessions: Effect.Effect<ReadonlyArray<Session>, StoreUnavailable>
    /** Forgets a session: record, turns and transcript. */
    readonly remove: (session: SessionId) => Effect.Effect<void, StoreUnavailable>
  }
>()("creche/domain/SessionStore") {}
