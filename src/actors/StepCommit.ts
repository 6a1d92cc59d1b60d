/** One step's commit. What the session looks like is only worked out for a store that wants to know. */
import type { Session } from "../domain/Session.ts"
import type { Commit } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import { toSession, type SessionState } from "./SessionState.ts"

export class StepCommit implements Commit {
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly turns: ReadonlyArray<Turn>
  readonly history?: unknown
  readonly #state: SessionState
  #session: Session | undefined

  constructor(
    state: SessionState,
    entries: ReadonlyArray<TranscriptEntry>,
    turns: ReadonlyArray<Turn>,
    history?: unknown,
  ) {
    this.#state = state
    this.entries = entries
    this.turns = turns
    if (history !== undefined) this.history = history
  }

  get session(): Session {
    return (this.#session ??= toSession(this.#state))
  }
}
