/** Writes into a store as a session's actor does: records, turns and entries that fit together. */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { TurnId } from "../../src/domain/Ids.ts"
import type { Session } from "../../src/domain/Session.ts"
import type { Commit, SessionStore } from "../../src/domain/SessionStore.ts"
import type { TranscriptBody, TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"

type Written = Effect.Effect<void, StoreUnavailable>

/** Every session, in order of creation, as the tables have it. */
export const allOf = (store: SessionStore["Service"]): Effect.Effect<ReadonlyArray<Session>, StoreUnavailable> =>
  Effect.map(store.list({ limit: 1_000_000 }), ({ sessions }) => sessions)

export class StoreWriter {
  readonly store: SessionStore["Service"]
  session: Session
  #turns = 0
  #at: number

  constructor(store: SessionStore["Service"], session: Session, at = 1_000) {
    this.store = store
    this.session = session
    this.#at = at
  }

  /** The next commit, as data. */
  commitOf(
    bodies: ReadonlyArray<readonly [TranscriptBody, Turn?]>,
    turns: ReadonlyArray<Turn> = [],
    change: Partial<Session> = {},
  ): Commit {
    const first = this.session.seq + 1
    this.session = { ...this.session, ...change, seq: this.session.seq + bodies.length }
    const { id, incarnation } = this.session
    const entries = bodies.map(([body, turn], i): TranscriptEntry => {
      const common = { session: id, seq: first + i, at: this.#at++, incarnation }
      return turn === undefined ? { ...common, ...body } : { ...common, turn: turn.id, ...body }
    })
    return { session: this.session, entries, turns }
  }

  write(
    bodies: ReadonlyArray<readonly [TranscriptBody, Turn?]>,
    turns: ReadonlyArray<Turn> = [],
    change?: Partial<Session>,
  ): Written {
    return this.store.commit(this.commitOf(bodies, turns, change))
  }

  note(text = "n"): Written {
    return this.write([[{ type: "note", text }]])
  }

  /** A turn that is accepted with the next commit. */
  turn(prompt: Turn["prompt"], idempotencyKey: string | null = null): Turn {
    return {
      id: `turn_${this.session.name}-${++this.#turns}` as TurnId,
      session: this.session.id,
      status: "queued",
      prompt,
      text: "",
      stopReason: null,
      usage: null,
      error: null,
      idempotencyKey,
      queuedAt: this.#at,
      startedAt: null,
      endedAt: null,
      firstSeq: this.session.seq + 1,
      lastSeq: this.session.seq + 1,
    }
  }

  accepted(turn: Turn): Commit {
    return this.commitOf([[{ type: "turn/queued", prompt: turn.prompt }, turn]], [turn])
  }

  /** The same turn at its end, and the commit that says so. */
  ended(turn: Turn, text: string): readonly [Turn, Commit] {
    const done: Turn = {
      ...turn,
      status: "completed",
      text,
      startedAt: turn.queuedAt,
      endedAt: this.#at,
      lastSeq: this.session.seq + 1,
    }
    const body: TranscriptBody = { type: "turn/ended", status: "completed", text, stopReason: null, durationMs: 1 }
    return [done, this.commitOf([[body, turn]], [done])]
  }
}
