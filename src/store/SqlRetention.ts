/**
 * Takes away what is too old or too much, and what removed sessions have left: in small transactions, with room for
 * everything else in between. A transcript only ever loses its beginning, so it never has a gap.
 */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { Retained, Retention } from "../domain/SessionStore.ts"
import { archivedThrough, headOf } from "./SqlTranscript.ts"
import { indexedThrough } from "./SqlSearch.ts"
import { nextTick, type SqliteClient } from "./SqliteClient.ts"

/** Rows that one transaction takes away. */
const batch = 64
/** Pages given back to the file system at a time. */
const vacuumPages = 256

interface EndedTurn {
  readonly ordinal: number
  readonly id: string
  readonly session: number
  readonly first_seq: number
  readonly ended_at: number
}

const numberOf = (client: SqliteClient, sql: string, ...values: ReadonlyArray<number>): number =>
  Number(Object.values(client.prepare(sql).get(...values) ?? {})[0] ?? 0)

/** What the tables take, without pages that are free again (bytes). */
export const sizeOf = (client: SqliteClient): number =>
  (numberOf(client, "PRAGMA page_count") - numberOf(client, "PRAGMA freelist_count")) *
  numberOf(client, "PRAGMA page_size")

/** What one session's turns and entries take, as text. */
const shareOf = (client: SqliteClient, session: number): number =>
  numberOf(client, "SELECT sum(length(entries)) FROM transcript WHERE session = ?", session) +
  numberOf(client, "SELECT sum(length(turn)) FROM ended_turns WHERE session = ?", session)

const deleteTurn = ({ prepare }: SqliteClient, { ordinal, id }: EndedTurn, indexed: number): void => {
  if (ordinal <= indexed) prepare("DELETE FROM turn_words WHERE rowid = ?").run(ordinal)
  prepare("DELETE FROM turn_keys WHERE turn = ?").run(id)
  prepare("DELETE FROM ended_turns WHERE ordinal = ?").run(ordinal)
}

/** For each session with open turns the first entry of the oldest. */
const openSince = ({ prepare }: SqliteClient): ReadonlyMap<number, number> =>
  new Map(
    prepare("SELECT session, min(first_seq) AS seq FROM open_turns GROUP BY session")
      .all()
      .map((row) => [row["session"] as number, row["seq"] as number]),
  )

/** The first entry that a turn which stays needs; beyond all where there is none. */
const firstNeeded = (client: SqliteClient, open: ReadonlyMap<number, number>, session: number): number => {
  const first = client.prepare("SELECT min(first_seq) AS seq FROM ended_turns WHERE session = ?").get(session)!["seq"]
  return Math.min((first as number | null) ?? Number.MAX_SAFE_INTEGER, open.get(session) ?? Number.MAX_SAFE_INTEGER)
}

/** Deletes some of the entries of a session that are older than `before`, from the front through `seq`; answers how many. */
const deleteEntries = (client: SqliteClient, session: number, through: number, before: number): number => {
  const rows = client
    .prepare(`SELECT first_seq, last_seq, at FROM transcript WHERE session = ? ORDER BY last_seq LIMIT ${batch}`)
    .all(session) as unknown as ReadonlyArray<{ first_seq: number; last_seq: number; at: number }>
  let count = 0
  for (const { first_seq: first, last_seq: last, at } of rows) {
    if (first > through) break
    if (last > through || at >= before) return count + cutRow(client, session, last, through, before)
    client.prepare("DELETE FROM transcript WHERE session = ? AND last_seq = ?").run(session, last)
    count += last - first + 1
  }
  return count
}

/** The same within one row, of which the end stays. */
const cutRow = ({ prepare }: SqliteClient, session: number, last: number, through: number, before: number): number => {
  const row = prepare("SELECT first_seq, entries FROM transcript WHERE session = ? AND last_seq = ?").get(
    session,
    last,
  )!
  const first = row["first_seq"] as number
  const entries = JSON.parse(row["entries"] as string) as ReadonlyArray<{ readonly at: number }>
  const stays = entries.findIndex(({ at }, i) => first + i > through || at >= before)
  if (stays <= 0) return 0
  prepare("UPDATE transcript SET first_seq = ?, entries = ? WHERE session = ? AND last_seq = ?").run(
    first + stays,
    JSON.stringify(entries.slice(stays)),
    session,
    last,
  )
  return stays
}

class Cleaning {
  readonly #client: SqliteClient
  readonly #retention: Retention
  readonly #session: number | undefined
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
      const more = this.#client.transaction(() => {
        const open = openSince(this.#client)
        return sessions.filter((session) => {
          const count = deleteEntries(this.#client, session, firstNeeded(this.#client, open, session) - 1, before)
          this.removedEntries += count
          return count > 0
        })
      })
      yield
      for (const session of more) yield* this.#entries(session, "needed", before)
    }
  }

  /** Too much: the oldest turns first; when only turns that stay are left, what is over the limits of their sessions. */
  *bySize(): Generator<void> {
    const { maxBytes } = this.#retention
    if (maxBytes === undefined) return
    const over = () =>
      (this.#session === undefined ? sizeOf(this.#client) : shareOf(this.#client, this.#session)) > maxBytes
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

  #archived(session: number): number {
    const id = this.#client.prepare("SELECT id FROM sessions WHERE ordinal = ?").get(session)?.["id"]
    const head = id === undefined ? undefined : headOf(this.#client, id as SessionId)
    return head === undefined ? 0 : archivedThrough(this.#client, head)
  }

  /** Takes ended turns away in the order in which they ended, as long as `goes` says so. */
  *#turns(goes: (turn: EndedTurn) => boolean): Generator<void> {
    const { prepare } = this.#client
    const one = this.#session
    const columns = "ordinal, id, session, first_seq, ended_at"
    for (let after = 0; ;) {
      const next = prepare(
        `SELECT ${columns} FROM ended_turns WHERE ordinal > ? ${one === undefined ? "" : "AND session = ?"} ORDER BY ordinal LIMIT ${batch}`,
      ).all(...(one === undefined ? [after] : [after, one])) as unknown as ReadonlyArray<EndedTurn>
      if (next.length === 0) return
      after = next.at(-1)!.ordinal
      const touched = new Set<number>()
      const done = this.#client.transaction(() => {
        const indexed = indexedThrough(this.#client)
        const open = openSince(this.#client)
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
          // Their entries go with them, so that the size that decides about the next is the true one.
          this.removedEntries += deleteEntries(
            this.#client,
            turn.session,
            firstNeeded(this.#client, open, turn.session) - 1,
            Infinity,
          )
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
        const last = through === "needed" ? firstNeeded(this.#client, openSince(this.#client), session) - 1 : through
        return deleteEntries(this.#client, session, last, before)
      })
      this.removedEntries += count
      if (count === 0) return
      yield
    }
  }
}

/** Takes one step of long work after the other, each on its own. */
const inSteps = (client: SqliteClient, steps: Generator<void>): Effect.Effect<void, StoreUnavailable> =>
  Effect.suspend(() => {
    let done = false
    return Effect.whileLoop({
      while: () => !done,
      body: () =>
        Effect.andThen(
          nextTick,
          client.attempt(() => steps.next().done === true),
        ),
      step: (ended) => {
        done = ended
      },
    })
  })

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

export const retain = (client: SqliteClient, retention: Retention): Effect.Effect<Retained, StoreUnavailable> =>
  Effect.gen(function* () {
    const { session } = retention
    const ordinal = session === undefined ? undefined : (yield* client.attempt(() => headOf(client, session)))?.ordinal
    if (session !== undefined && ordinal === undefined) return { removedTurns: 0, removedEntries: 0 }
    const cleaning = new Cleaning(client, retention, ordinal)
    yield* inSteps(client, cleaning.byAge())
    yield* inSteps(client, cleaning.bySize())
    const { removedTurns, removedEntries } = cleaning
    if (removedEntries + removedTurns > 0) yield* inSteps(client, vacuum(client))
    return { removedTurns, removedEntries }
  })

/** Takes a session out of every list at once; what it leaves is for `sweepRemoved`. */
export const removeSession = (client: SqliteClient, id: SessionId): void =>
  client.transaction(() => {
    const { prepare } = client
    const ordinal = prepare("SELECT ordinal FROM sessions WHERE id = ?").get(id)?.["ordinal"]
    if (ordinal === undefined) return
    prepare("INSERT INTO removed_sessions (session) VALUES (?)").run(ordinal)
    prepare("DELETE FROM sessions WHERE ordinal = ?").run(ordinal)
    for (const table of ["session_details", "session_tags", "turn_keys"]) {
      prepare(`DELETE FROM ${table} WHERE session = ?`).run(ordinal)
    }
  })

function* remains(client: SqliteClient): Generator<void> {
  const { prepare } = client
  for (;;) {
    const next = prepare("SELECT session FROM removed_sessions LIMIT 1").get()
    if (next === undefined) return
    const session = next["session"] as number
    let left = true
    while (left) {
      left = client.transaction(() => {
        const indexed = indexedThrough(client)
        const turns = prepare(
          `SELECT ordinal, id, session, first_seq, ended_at FROM ended_turns WHERE session = ? LIMIT ${batch}`,
        ).all(session) as unknown as ReadonlyArray<EndedTurn>
        for (const turn of turns) deleteTurn(client, turn, indexed)
        prepare("DELETE FROM open_turns WHERE session = ?").run(session)
        const entries = deleteEntries(client, session, Number.MAX_SAFE_INTEGER, Infinity)
        if (turns.length + entries > 0) return true
        prepare("DELETE FROM removed_sessions WHERE session = ?").run(session)
        return false
      })
      if (left) yield
    }
    yield
  }
}

export const sweepRemoved = (client: SqliteClient): Effect.Effect<void, StoreUnavailable> =>
  inSteps(client, remains(client))
