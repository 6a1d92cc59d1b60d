/**
 * Writes batches into the tables, with as few statements as they need: a bounded memory of the sessions that were written
 * last tells where their rows are and what their indexed columns hold. Runs in any thread, over its connection; imports
 * nothing, so that a thread is quick to start.
 */
import type { StatementSync } from "./Sqlite.ts"
import type { Details, Identity, RowBatch, SessionRows, Stretch, TurnRow } from "./RowBatch.ts"

/** Where a session's rows are, and what its indexed columns hold. */
interface Place extends Omit<Identity, "createdAt"> {
  readonly ordinal: number
  readonly expiresAt: number | null
  readonly standing: string
  /** Of the newest entry that is stored. */
  seq: number
}

const maxRemembered = 65_536

export class BatchWriter {
  readonly #prepare: (sql: string) => StatementSync
  readonly #places = new Map<string, Place>()
  #lastEnded: number | undefined

  constructor(prepare: (sql: string) => StatementSync) {
    this.#prepare = prepare
  }

  /** All of a batch, or nothing: then it throws. */
  write(batch: RowBatch): void {
    const prepare = this.#prepare
    for (const id of batch.forgotten) this.#places.delete(id)
    prepare("BEGIN IMMEDIATE").run()
    try {
      const ordinals = batch.sessions.map((session) => this.#writeSession(session))
      for (const turn of batch.turns) this.#writeTurn(ordinals[turn[0]]!, turn)
      prepare("UPDATE log_progress SET epoch = ?").run(batch.epoch)
      prepare("COMMIT").run()
    } catch (error) {
      this.#places.clear()
      this.#lastEnded = undefined
      try {
        prepare("ROLLBACK").run()
      } catch {
        // A full disk, for one, has rolled back already.
      }
      throw error
    }
  }

  #remember(id: string, place: Place): Place {
    this.#places.set(id, place)
    if (this.#places.size > maxRemembered) this.#places.delete(this.#places.keys().next().value!)
    return place
  }

  /** Answers its ordinal. */
  #writeSession(session: SessionRows): number {
    const { id, status, lastActiveAt, seq, state, details, history, stretches } = session
    let place = this.#places.get(id) ?? this.#find(id)
    if (place === undefined) {
      place = this.#insert(session)
    } else {
      this.#prepare("UPDATE sessions SET status = ?, last_active_at = ?, seq = ?, state = ? WHERE ordinal = ?").run(
        status,
        lastActiveAt,
        seq,
        state,
        place.ordinal,
      )
      place = this.#writeIndexed(place, session)
    }
    const { ordinal } = place
    if (details !== undefined) this.#writeDetails(ordinal, details)
    if (history !== undefined) {
      this.#prepare("UPDATE session_details SET history = ? WHERE session = ?").run(history, ordinal)
    }
    for (const stretch of stretches) this.#writeStretch(place, stretch)
    return ordinal
  }

  #insert({ id, identity, status, standing, lastActiveAt, expiresAt, seq, state }: SessionRows): Place {
    if (identity === undefined) throw new Error(`nothing is known of ${id}`)
    const { name, supervisor, task, template, createdAt } = identity
    const { lastInsertRowid } = this.#prepare(
      `INSERT INTO sessions (id, name, supervisor, task, template, standing, status, created_at, last_active_at, expires_at, seq, state)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(id, name, supervisor, task, template, standing, status, createdAt, lastActiveAt, expiresAt, seq, state)
    const ordinal = Number(lastInsertRowid)
    return this.#remember(id, { ordinal, name, supervisor, task, template, expiresAt, standing, seq: 0 })
  }

  #find(id: string): Place | undefined {
    const row = this.#prepare(
      `SELECT ordinal, name, supervisor, task, template, expires_at AS expiresAt, standing,
         coalesce((SELECT max(last_seq) FROM transcript WHERE session = ordinal), 0) AS seq
       FROM sessions WHERE id = ?`,
    ).get(id)
    return row === undefined ? undefined : this.#remember(id, { ...row } as unknown as Place)
  }

  #writeIndexed(place: Place, { id, identity, expiresAt, standing }: SessionRows): Place {
    const { name, supervisor, task, template } = identity ?? place
    if (
      place.standing === standing &&
      place.expiresAt === expiresAt &&
      place.name === name &&
      place.supervisor === supervisor &&
      place.task === task &&
      place.template === template
    ) {
      return place
    }
    const { ordinal, seq } = place
    this.#prepare(
      "UPDATE sessions SET name = ?, supervisor = ?, task = ?, template = ?, expires_at = ?, standing = ? WHERE ordinal = ?",
    ).run(name, supervisor, task, template, expiresAt, standing, ordinal)
    return this.#remember(id, { ordinal, name, supervisor, task, template, expiresAt, standing, seq })
  }

  #writeDetails(ordinal: number, details: Details): void {
    const prepare = this.#prepare
    const { spec, own, retention, deaths, transcriptEntries, transcriptBytes, tags } = details
    const { changes } = prepare("UPDATE session_details SET deaths = ? WHERE session = ? AND spec = ? AND own = ?").run(
      deaths,
      ordinal,
      spec,
      own,
    )
    if (Number(changes) > 0) return
    prepare(
      `INSERT INTO session_details (session, spec, own, retention, deaths, transcript_entries, transcript_bytes)
       VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (session) DO UPDATE SET spec = excluded.spec, own = excluded.own, retention = excluded.retention,
         deaths = excluded.deaths, transcript_entries = excluded.transcript_entries,
         transcript_bytes = excluded.transcript_bytes`,
    ).run(ordinal, spec, own, retention, deaths, transcriptEntries, transcriptBytes)
    prepare("DELETE FROM session_tags WHERE session = ?").run(ordinal)
    for (const [key, value] of tags) {
      prepare("INSERT INTO session_tags (key, value, session) VALUES (?, ?, ?)").run(key, value, ordinal)
    }
  }

  #writeStretch(place: Place, { firstSeq, lastSeq, at, types, json }: Stretch): void {
    // A commit that was made again.
    if (lastSeq <= place.seq) return
    const known = place.seq + 1 - firstSeq
    const whole = `[${json}]`
    const entries = known > 0 ? JSON.stringify((JSON.parse(whole) as ReadonlyArray<unknown>).slice(known)) : whole
    this.#prepare(
      "INSERT INTO transcript (session, last_seq, first_seq, at, types, entries) VALUES (?, ?, ?, ?, ?, ?)",
    ).run(place.ordinal, lastSeq, Math.max(firstSeq, place.seq + 1), at, types, entries)
    place.seq = lastSeq
  }

  #writeTurn(session: number, [, id, firstSeq, lastSeq, endedAt, key, fresh, json]: TurnRow): void {
    const prepare = this.#prepare
    if (key !== null) {
      prepare("INSERT INTO turn_keys (session, key, turn) VALUES (?, ?, ?) ON CONFLICT (session, key) DO NOTHING").run(
        session,
        key,
        id,
      )
    }
    if (endedAt === null) {
      prepare(
        `INSERT INTO open_turns (id, session, first_seq, turn) VALUES (?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET first_seq = excluded.first_seq, turn = excluded.turn`,
      ).run(id, session, firstSeq, json)
      return
    }
    if (!fresh) prepare("DELETE FROM open_turns WHERE id = ?").run(id)
    prepare(
      `INSERT INTO ended_turns (ordinal, id, session, first_seq, last_seq, ended_at, turn) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET first_seq = excluded.first_seq, last_seq = excluded.last_seq,
         ended_at = excluded.ended_at, turn = excluded.turn`,
    ).run(this.#nextEnded(), id, session, firstSeq, lastSeq, endedAt, json)
  }

  /** Also never that of a turn which was deleted: the search index remembers how far it came. */
  #nextEnded(): number {
    this.#lastEnded ??= this.#prepare(
      "SELECT max(coalesce((SELECT max(ordinal) FROM ended_turns), 0), through) AS last FROM search_progress",
    ).get()!["last"] as number
    return ++this.#lastEnded
  }
}
