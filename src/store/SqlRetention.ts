/**
 * Takes away what is too old or too much: in small transactions, with room for
 * everything else in between. A transcript only ever loses its beginning, so it never has a gap.
 */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { RetentionSpec } from "../domain/SessionSpec.ts"
import type { Retained, Retention } from "../domain/SessionStore.ts"
import { archivedThrough, headOf } from "./SqlTranscript.ts"
import { indexedThrough } from "./SqlSearch.ts"
import { inSteps } from "./LongWork.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** Rows that one transaction takes away. */
export const batch = 64
/** Pages given back to the file system at a time. */
const vacuumPages = 256

export interface EndedTurn {
  readonly ordinal: number
  readonly id: string
  readonly session: number
  readonly first_seq: number
  readonly ended_at: number
  readonly size: number
}

export const turnColumns = "ordinal, id, session, first_seq, ended_at, octet_length(turn) AS size"

/** What was deleted of a transcript; `bytes` as `shareOf` counts. */
interface Deleted {
  readonly entries: number
  readonly bytes: number
}

const numberOf = (client: SqliteClient, sql: string, ...values: ReadonlyArray<number>): number =>
  Number(Object.values(client.prepare(sql).get(...values) ?? {})[0] ?? 0)

/** What the tables take, without pages that are free again (bytes). */
export const sizeOf = (client: SqliteClient): number =>
  (numberOf(client, "PRAGMA page_count") - numberOf(client, "PRAGMA freelist_count")) *
  numberOf(client, "PRAGMA page_size")

/** What one session's turns and entries take, as text. */
const shareOf = (client: SqliteClient, session: number): number =>
  numberOf(client, "SELECT sum(octet_length(entries)) FROM transcript WHERE session = ?", session) +
  numberOf(client, "SELECT sum(octet_length(turn)) FROM ended_turns WHERE session = ?", session)

export const deleteTurn = ({ prepare }: SqliteClient, { ordinal, id }: EndedTurn, indexed: number): void => {
  if (ordinal <= indexed) prepare("DELETE FROM turn_words WHERE rowid = ?").run(ordinal)
  prepare("DELETE FROM turn_keys WHERE turn = ?").run(id)
  prepare("DELETE FROM ended_turns WHERE ordinal = ?").run(ordinal)
}

/** The first entry that a turn which stays needs; beyond all where there is none. */
const firstNeeded = (client: SqliteClient, session: number): number => {
  const first = (table: string) =>
    client.prepare(`SELECT min(first_seq) AS seq FROM ${table} WHERE session = ?`).get(session)!["seq"] as number | null
  return Math.min(first("ended_turns") ?? Number.MAX_SAFE_INTEGER, first("open_turns") ?? Number.MAX_SAFE_INTEGER)
}

/** Deletes some of the entries of a session that are older than `before`, from the front through `seq`. */
export const deleteEntries = (client: SqliteClient, session: number, through: number, before: number): Deleted => {
  const rows = client
    .prepare(
      `SELECT first_seq, last_seq, at, octet_length(entries) AS size FROM transcript
       WHERE session = ? ORDER BY last_seq LIMIT ${batch}`,
    )
    .all(session) as unknown as ReadonlyArray<{ first_seq: number; last_seq: number; at: number; size: number }>
  let entries = 0
  let bytes = 0
  for (const { first_seq: first, last_seq: last, at, size } of rows) {
    if (first > through) break
    if (last > through || at >= before) {
      const cut = cutRow(client, session, last, through, before)
      return { entries: entries + cut.entries, bytes: bytes + cut.bytes }
    }
    client.prepare("DELETE FROM transcript WHERE session = ? AND last_seq = ?").run(session, last)
    entries += last - first + 1
    bytes += size
  }
  return { entries, bytes }
}

/** The same within one row, of which the end stays. */
const cutRow = ({ prepare }: SqliteClient, session: number, last: number, through: number, before: number): Deleted => {
  const row = prepare("SELECT first_seq, entries FROM transcript WHERE session = ? AND last_seq = ?").get(
    session,
    last,
  )!
  const first = row["first_seq"] as number
  const text = row["entries"] as string
  const entries = JSON.parse(text) as ReadonlyArray<{ readonly at: number }>
  const stays = entries.findIndex(({ at }, i) => first + i > through || at >= before)
  if (stays <= 0) return { entries: 0, bytes: 0 }
  const left = JSON.stringify(entries.slice(stays))
  prepare("UPDATE transcript SET first_seq = ?, entries = ? WHERE session = ? AND last_seq = ?").run(
    first + stays,
    left,
    session,
    last,
  )
  return { entries: stays, bytes: Buffer.byteLength(text) - Buffer.byteLength(left) }
}

class Cleaning {
  readonly #client: SqliteClient
  readonly #retention: Retention
  readonly #session: number | undefined
  /** What the one session still takes, once it was added up. */
  #share: number | undefined
  removedTurns = 0
  removedEntries = 0

  constructor(client: SqliteClient, retention: Retention, session: number | undefined) {
    this.#client = client
    this.#retention = retention
    this.#session = session
  }

  /** Too old. */
  *byAge(): Generator<void> {
    const { maxAgeMs, now } = this.#retention
    if (maxAgeMs === undefined) return
    const before = now - maxAgeMs
    yield* this.#turns((turn) => turn.ended_at < before)
    for (let after = 0; ;) {
      const sessions = this.#sessions(after)
      if (sessions.length === 0) return
      after = sessions.at(-1)!
      const more = this.#client.transaction(() =>
        sessions.filter((session) => this.#delete(session, firstNeeded(this.#client, session) - 1, before) > 0),
      )
      yield
      for (const session of more) yield* this.#entries(session, "needed", before)
    }
  }

  /** Too much: the oldest turns first; when only turns that stay are left, what is over the limits of their sessions. */
  *bySize(): Generator<void> {
    const { maxBytes } = this.#retention
    if (maxBytes === undefined) return
    const over = () => {
      if (this.#session === undefined) return sizeOf(this.#client) > maxBytes
      return (this.#share ??= shareOf(this.#client, this.#session)) > maxBytes
    }
    if (over()) yield* this.#turns(over)
    for (let after = 0; over();) {
      const sessions = this.#sessions(after)
      if (sessions.length === 0) return
      after = sessions.at(-1)!
      for (const session of sessions) {
        yield* this.#entries(session, this.#archived(session), Infinity)
        if (!over()) return
      }
      yield
    }
  }

  #sessions(after: number): ReadonlyArray<number> {
    if (this.#session !== undefined) return after < this.#session ? [this.#session] : []
    return this.#client
      .prepare(`SELECT ordinal FROM sessions WHERE ordinal > ? ORDER BY ordinal LIMIT ${batch}`)
      .all(after)
      .map((row) => row["ordinal"] as number)
  }

  /** Answers how many entries went. */
  #delete(session: number, through: number, before: number): number {
    const { entries, bytes } = deleteEntries(this.#client, session, through, before)
    this.removedEntries += entries
    if (this.#share !== undefined) this.#share -= bytes
    return entries
  }

  #archived(session: number): number {
    const id = this.#client.prepare("SELECT id FROM sessions WHERE ordinal = ?").get(session)?.["id"]
    const head = id === undefined ? undefined : headOf(this.#client, id as SessionId)
    return head === undefined ? 0 : archivedThrough(this.#client, head)
  }

  /** Some ended turns after that ordinal. */
  #ended(after: number): ReadonlyArray<EndedTurn> {
    const { prepare } = this.#client
    const rows =
      this.#session === undefined
        ? prepare(`SELECT ${turnColumns} FROM ended_turns WHERE ordinal > ? ORDER BY ordinal LIMIT ${batch}`).all(after)
        : // The index knows the ordinals of one session: only the rows of this page are looked at.
          prepare(
            `SELECT ${turnColumns} FROM ended_turns WHERE ordinal IN (
               SELECT ordinal FROM ended_turns INDEXED BY ended_turns_by_session
               WHERE session = ? AND +ordinal > ? ORDER BY +ordinal LIMIT ${batch}
             ) ORDER BY ordinal`,
          ).all(this.#session, after)
    return rows as unknown as ReadonlyArray<EndedTurn>
  }

  /** Takes ended turns away in the order in which they ended, as long as `goes` says so. */
  *#turns(goes: (turn: EndedTurn) => boolean): Generator<void> {
    for (let after = 0; ;) {
      const next = this.#ended(after)
      if (next.length === 0) return
      after = next.at(-1)!.ordinal
      const touched = new Set<number>()
      const done = this.#client.transaction(() => {
        const indexed = indexedThrough(this.#client)
        for (const turn of next) {
          if (!goes(turn)) return true
          const newest = numberOf(
            this.#client,
            "SELECT max(first_seq) FROM ended_turns WHERE session = ?",
            turn.session,
          )
          if (turn.first_seq === newest) continue
          deleteTurn(this.#client, turn, indexed)
          this.removedTurns++
          if (this.#share !== undefined) this.#share -= turn.size
          // Their entries go with them, so that the size that decides about the next is the true one.
          this.#delete(turn.session, firstNeeded(this.#client, turn.session) - 1, Infinity)
          touched.add(turn.session)
        }
        return false
      })
      yield
      for (const session of touched) yield* this.#entries(session, "needed", Infinity)
      if (done) return
    }
  }

  /** Takes the entries of a session through `seq`, or through the last that no turn needs. */
  *#entries(session: number, through: number | "needed", before: number): Generator<void> {
    for (;;) {
      // Looked up anew for each step: turns come in between.
      const count = this.#client.transaction(() => {
        const last = through === "needed" ? firstNeeded(this.#client, session) - 1 : through
        return this.#delete(session, last, before)
      })
      if (count === 0) return
      yield
    }
  }
}

/** Gives free pages back to the file system. */
function* vacuum(client: SqliteClient): Generator<void> {
  for (let free = numberOf(client, "PRAGMA freelist_count"); free > 0;) {
    client.database.exec(`PRAGMA incremental_vacuum(${vacuumPages})`)
    yield
    const left = numberOf(client, "PRAGMA freelist_count")
    if (left >= free) return
    free = left
  }
}

interface Total {
  removedTurns: number
  removedEntries: number
}

/** All sessions, or one of them, held to these bounds. */
function* held(client: SqliteClient, retention: Retention, session: number | undefined, total: Total): Generator<void> {
  const cleaning = new Cleaning(client, retention, session)
  yield* cleaning.byAge()
  yield* cleaning.bySize()
  total.removedTurns += cleaning.removedTurns
  total.removedEntries += cleaning.removedEntries
}

/** Each session that has bounds of its own held to them. */
function* heldToTheirOwn(client: SqliteClient, now: number, total: Total): Generator<void> {
  for (let after = 0; ;) {
    const rows = client
      .prepare(
        `SELECT session, retention FROM session_details
         WHERE retention IS NOT NULL AND session > ? ORDER BY session LIMIT ${batch}`,
      )
      .all(after)
    for (const row of rows) {
      after = row["session"] as number
      yield* held(client, { ...(JSON.parse(row["retention"] as string) as RetentionSpec), now }, after, total)
    }
    if (rows.length < batch) return
  }
}

export const retain = (client: SqliteClient, retention: Retention): Effect.Effect<Retained, StoreUnavailable> =>
  Effect.gen(function* () {
    const { session, now } = retention
    const total = { removedTurns: 0, removedEntries: 0 }
    if (session === undefined) {
      yield* inSteps(client, heldToTheirOwn(client, now, total))
      yield* inSteps(client, held(client, retention, undefined, total))
    } else {
      const ordinal = (yield* client.attempt(() => headOf(client, session)))?.ordinal
      if (ordinal !== undefined) yield* inSteps(client, held(client, retention, ordinal, total))
    }
    if (total.removedEntries + total.removedTurns > 0) yield* inSteps(client, vacuum(client))
    return total
  })
