/**
 * Turns commits into text, and batches of them into rows: which statements they need, and no more. What hardly changes
 * (spec, deaths, the indexed columns) is written only when it is another object than last time; a bounded memory of the
 * sessions that were written last tells.
 */
import type { SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { Commit } from "../domain/SessionStore.ts"
import { isTerminal } from "../domain/Turn.ts"
import type { BatchedSession, BatchedTurn, CommitBatch } from "./CommitBatch.ts"
import { prepareCommit, type PreparedCommit, type SessionDetails, type SessionHead } from "./PreparedCommit.ts"
import { standingOf, stretchesOf, type Standing } from "./SessionRows.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** What the log or the database holds of a session's details. */
interface Description {
  readonly spec: SessionSpec
  readonly deaths: Session["deaths"]
}

/** Where a session's rows are, and what its indexed columns hold. */
interface Place {
  readonly ordinal: number
  name: string
  supervisor: string
  task: string | null
  template: string | null
  expiresAt: number | null
  standing: Standing
  /** Of the newest entry that is stored. */
  seq: number
}

const indexedFields = ["name", "supervisor", "task", "template", "expiresAt", "standing"] as const

const maxRemembered = 65_536

const remember = <A>(memory: Map<SessionId, A>, id: SessionId, value: A): void => {
  memory.set(id, value)
  if (memory.size > maxRemembered) memory.delete(memory.keys().next().value!)
}

export class CommitWriter {
  readonly #client: SqliteClient
  readonly #descriptions = new Map<SessionId, Description>()
  readonly #places = new Map<SessionId, Place>()
  #lastEnded: number | undefined

  constructor(client: SqliteClient) {
    this.#client = client
  }

  prepare(commit: Commit): PreparedCommit {
    const { id, spec, deaths } = commit.session
    const before = this.#descriptions.get(id)
    const known = before !== undefined && before.spec === spec && before.deaths === deaths
    const prepared = prepareCommit(commit, !known)
    if (!known) remember(this.#descriptions, id, { spec, deaths })
    return prepared
  }

  /** Inside a transaction: all of a batch, and that the database holds the log's `epoch` now. */
  write(batch: CommitBatch, epoch: number): void {
    for (const session of batch.sessions.values()) this.#writeSession(session)
    for (const turn of batch.turns.values()) this.#writeTurn(turn)
    this.#client.prepare("UPDATE log_progress SET epoch = ?").run(epoch)
  }

  forget(session: SessionId): void {
    this.#descriptions.delete(session)
    this.#places.delete(session)
  }

  forgetDescriptions(): void {
    this.#descriptions.clear()
  }

  forgetPlaces(): void {
    this.#places.clear()
    this.#lastEnded = undefined
  }

  #writeSession(session: BatchedSession): void {
    const { prepare } = this.#client
    const { newest, details, historyJson, entries, entriesJson } = session
    const { head, stateJson } = newest
    const { id, status, lastActiveAt, seq } = head
    let place = this.#places.get(id) ?? this.#find(head)
    if (place === undefined) {
      place = this.#insert(head, stateJson)
    } else {
      prepare("UPDATE sessions SET status = ?, last_active_at = ?, seq = ?, state = ? WHERE ordinal = ?").run(
        status,
        lastActiveAt,
        seq,
        stateJson,
        place.ordinal,
      )
      this.#writeIndexed(place, head)
    }
    const { ordinal } = place
    if (details !== undefined) this.#writeDetails(ordinal, details)
    if (historyJson !== undefined) {
      prepare("UPDATE session_details SET history = ? WHERE session = ?").run(historyJson, ordinal)
    }
    let first = 0
    // A commit that was made again.
    while (first < entries.length && entries[first]!.seq <= place.seq) first++
    for (const { firstSeq, lastSeq, at, types, json } of stretchesOf(entries, entriesJson, first)) {
      prepare(
        "INSERT INTO transcript (session, last_seq, first_seq, at, types, entries) VALUES (?, ?, ?, ?, ?, ?)",
      ).run(ordinal, lastSeq, firstSeq, at, types, json)
    }
    if (first < entries.length) place.seq = entries.at(-1)!.seq
  }

  #insert(head: SessionHead, stateJson: string): Place {
    const { id, name, supervisor, task, template, status, createdAt, lastActiveAt, expiresAt, seq } = head
    const standing = standingOf(status)
    const { lastInsertRowid } = this.#client
      .prepare(
        `INSERT INTO sessions (id, name, supervisor, task, template, standing, status, created_at, last_active_at, expires_at, seq, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(id, name, supervisor, task, template, standing, status, createdAt, lastActiveAt, expiresAt, seq, stateJson)
    const ordinal = Number(lastInsertRowid)
    const place: Place = { ordinal, name, supervisor, task, template, expiresAt, standing, seq: 0 }
    remember(this.#places, id, place)
    return place
  }

  #find({ id }: SessionHead): Place | undefined {
    const row = this.#client
      .prepare(
        `SELECT ordinal, name, supervisor, task, template, expires_at AS expiresAt, standing,
           coalesce((SELECT max(last_seq) FROM transcript WHERE session = ordinal), 0) AS seq
         FROM sessions WHERE id = ?`,
      )
      .get(id)
    if (row === undefined) return undefined
    const place = { ...row } as unknown as Place
    remember(this.#places, id, place)
    return place
  }

  #writeIndexed(place: Place, { name, supervisor, task, template, expiresAt, status }: SessionHead): void {
    const standing = standingOf(status)
    const indexed = { name, supervisor, task, template, expiresAt, standing }
    if (indexedFields.every((field) => place[field] === indexed[field])) return
    this.#client
      .prepare(
        "UPDATE sessions SET name = ?, supervisor = ?, task = ?, template = ?, expires_at = ?, standing = ? WHERE ordinal = ?",
      )
      .run(name, supervisor, task, template, expiresAt, standing, place.ordinal)
    Object.assign(place, indexed)
  }

  #writeDetails(ordinal: number, { spec, specText, deathsJson }: SessionDetails): void {
    const { prepare } = this.#client
    const { shared, own } = specText
    const { changes } = prepare("UPDATE session_details SET deaths = ? WHERE session = ? AND spec = ? AND own = ?").run(
      deathsJson,
      ordinal,
      shared,
      own,
    )
    if (Number(changes) > 0) return
    const { transcriptEntries, transcriptBytes = null } = spec.limits
    const retention = spec.retention === null ? null : JSON.stringify(spec.retention)
    prepare(
      `INSERT INTO session_details (session, spec, own, retention, deaths, transcript_entries, transcript_bytes)
       VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (session) DO UPDATE SET spec = excluded.spec, own = excluded.own, retention = excluded.retention,
         deaths = excluded.deaths, transcript_entries = excluded.transcript_entries,
         transcript_bytes = excluded.transcript_bytes`,
    ).run(ordinal, shared, own, retention, deathsJson, transcriptEntries, transcriptBytes)
    prepare("DELETE FROM session_tags WHERE session = ?").run(ordinal)
    for (const [key, value] of Object.entries(spec.tags)) {
      prepare("INSERT INTO session_tags (key, value, session) VALUES (?, ?, ?)").run(key, value, ordinal)
    }
  }

  #writeTurn({ turn, json, owner, fresh }: BatchedTurn): void {
    const { prepare } = this.#client
    const { id, firstSeq, lastSeq, idempotencyKey } = turn
    // Written just before: a turn comes with its session.
    const { ordinal } = this.#places.get(owner)!
    if (idempotencyKey !== null) {
      prepare("INSERT INTO turn_keys (session, key, turn) VALUES (?, ?, ?) ON CONFLICT (session, key) DO NOTHING").run(
        ordinal,
        idempotencyKey,
        id,
      )
    }
    if (!isTerminal(turn)) {
      prepare(
        `INSERT INTO open_turns (id, session, first_seq, turn) VALUES (?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET first_seq = excluded.first_seq, turn = excluded.turn`,
      ).run(id, ordinal, firstSeq, json)
      return
    }
    if (!fresh) prepare("DELETE FROM open_turns WHERE id = ?").run(id)
    prepare(
      `INSERT INTO ended_turns (ordinal, id, session, first_seq, last_seq, ended_at, turn) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET first_seq = excluded.first_seq, last_seq = excluded.last_seq,
         ended_at = excluded.ended_at, turn = excluded.turn`,
    ).run(this.#nextEnded(), id, ordinal, firstSeq, lastSeq, turn.endedAt ?? turn.queuedAt, json)
  }

  /** Also never that of a turn which was deleted: the search index remembers how far it came. */
  #nextEnded(): number {
    this.#lastEnded ??= this.#client
      .prepare("SELECT max(coalesce((SELECT max(ordinal) FROM ended_turns), 0), through) AS last FROM search_progress")
      .get()!["last"] as number
    return ++this.#lastEnded
  }
}
