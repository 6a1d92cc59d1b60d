/**
 * Writes commits as rows: which statements one step of a session needs, and no more. What hardly changes (spec, deaths,
 * the indexed columns) is written only when it is another object than last time; a bounded memory of the sessions that
 * were written last tells. Runs inside `GroupCommit`'s transactions.
 */
import type { SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { Commit } from "../domain/SessionStore.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { PreparedWrite } from "./GroupCommit.ts"
import { encodeEntries, encodeState, encodeTurn, standingOf, type Standing, type Stretch } from "./SessionRows.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** What the tables hold of a session already. */
interface Known {
  readonly ordinal: number
  name: string
  supervisor: string
  standing: Standing
  spec: SessionSpec
  deaths: Session["deaths"]
}

const maxKnown = 65_536

interface Details {
  readonly specJson: string
  readonly deathsJson: string
}

const encodeDetails = ({ spec, deaths }: Session): Details => ({
  specJson: JSON.stringify(spec),
  deathsJson: JSON.stringify(deaths),
})

export class CommitWriter {
  readonly #client: SqliteClient
  readonly #known = new Map<SessionId, Known>()
  #lastEnded: number | undefined

  constructor(client: SqliteClient) {
    this.#client = client
  }

  /** Turns a commit into text, outside of any transaction: what cannot be written as JSON harms nobody else. */
  prepare({ session, entries, turns, history }: Commit): PreparedWrite {
    const state = encodeState(session)
    const stretches = encodeEntries(entries)
    const newest = new Map<string, Turn>()
    for (const turn of turns) newest.set(turn.id, turn)
    const encoded = [...newest.values()].map((turn) => ({ turn, json: encodeTurn(turn) }))
    const historyJson = history === undefined ? undefined : JSON.stringify(history)
    // Made now, although they are seldom written: afterwards nothing may fail.
    const details = this.#changedDetails(session)
    let size = state.length
    for (const { entries: json } of stretches) size += json.length
    for (const { json } of encoded) size += json.length
    return {
      size,
      write: () => {
        const ordinal = this.#writeSession(session, state, details)
        if (historyJson !== undefined) {
          this.#client.prepare("UPDATE session_details SET history = ? WHERE session = ?").run(historyJson, ordinal)
        }
        for (const stretch of stretches) this.#writeStretch(ordinal, stretch)
        for (const { turn, json } of encoded) this.#writeTurn(ordinal, turn, json)
      },
    }
  }

  /** Forgets what it remembers, of one session or of all. */
  forget(session?: SessionId): void {
    if (session === undefined) this.#known.clear()
    else this.#known.delete(session)
  }

  #changedDetails(session: Session): Details | undefined {
    const before = this.#known.get(session.id)
    return before !== undefined && before.spec === session.spec && before.deaths === session.deaths
      ? undefined
      : encodeDetails(session)
  }

  #writeSession(session: Session, state: string, details: Details | undefined): number {
    const { prepare } = this.#client
    const { id, status, lastActiveAt, expiresAt, seq } = session
    const known = this.#known.get(id) ?? this.#find(session)
    if (known === undefined) return this.#insertSession(session, state, details)
    const { ordinal } = known
    prepare(
      "UPDATE sessions SET status = ?, last_active_at = ?, expires_at = ?, seq = ?, state = ? WHERE ordinal = ?",
    ).run(status, lastActiveAt, expiresAt, seq, state, ordinal)
    this.#writeIndexed(known, session)
    if (known.spec !== session.spec || known.deaths !== session.deaths) {
      this.#writeDetails(ordinal, session, details ?? encodeDetails(session), known.spec !== session.spec)
      known.spec = session.spec
      known.deaths = session.deaths
    }
    return ordinal
  }

  #insertSession(session: Session, state: string, details: Details | undefined): number {
    const { id, name, supervisor, status, spec, deaths, createdAt, lastActiveAt, expiresAt, seq } = session
    const standing = standingOf(status)
    const { lastInsertRowid } = this.#client
      .prepare(
        `INSERT INTO sessions (id, name, supervisor, task, standing, status, created_at, last_active_at, expires_at, seq, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(id, name, supervisor, spec.task, standing, status, createdAt, lastActiveAt, expiresAt, seq, state)
    const ordinal = Number(lastInsertRowid)
    this.#writeDetails(ordinal, session, details ?? encodeDetails(session), true)
    this.#remember(id, { ordinal, name, supervisor, standing, spec, deaths })
    return ordinal
  }

  /** A session that is stored already and not remembered: everything of it is written anew. */
  #find(session: Session): Known | undefined {
    const found = this.#client.prepare("SELECT ordinal FROM sessions WHERE id = ?").get(session.id)
    if (found === undefined) return undefined
    const { supervisor, status, spec, deaths } = session
    const ordinal = found["ordinal"] as number
    const known: Known = { ordinal, name: "", supervisor, standing: standingOf(status), spec, deaths }
    this.#writeDetails(ordinal, session, encodeDetails(session), true)
    this.#writeIndexed(known, session)
    this.#remember(session.id, known)
    return known
  }

  #writeIndexed(known: Known, { name, supervisor, status, spec }: Session): void {
    const standing = standingOf(status)
    if (
      known.name === name &&
      known.supervisor === supervisor &&
      known.standing === standing &&
      known.spec.task === spec.task
    ) {
      return
    }
    this.#client
      .prepare("UPDATE sessions SET name = ?, supervisor = ?, task = ?, standing = ? WHERE ordinal = ?")
      .run(name, supervisor, spec.task, standing, known.ordinal)
    Object.assign(known, { name, supervisor, standing })
  }

  #writeDetails(ordinal: number, { spec }: Session, { specJson, deathsJson }: Details, withTags: boolean): void {
    const { prepare } = this.#client
    const { transcriptEntries, transcriptBytes = null } = spec.limits
    prepare(
      `INSERT INTO session_details (session, spec, deaths, transcript_entries, transcript_bytes) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (session) DO UPDATE SET spec = excluded.spec, deaths = excluded.deaths,
         transcript_entries = excluded.transcript_entries, transcript_bytes = excluded.transcript_bytes`,
    ).run(ordinal, specJson, deathsJson, transcriptEntries, transcriptBytes)
    if (!withTags) return
    prepare("DELETE FROM session_tags WHERE session = ?").run(ordinal)
    for (const [key, value] of Object.entries(spec.tags)) {
      prepare("INSERT INTO session_tags (key, value, session) VALUES (?, ?, ?)").run(key, value, ordinal)
    }
  }

  #writeStretch(ordinal: number, { firstSeq, lastSeq, at, types, entries }: Stretch): void {
    // Again after a COMMIT whose outcome is not known: the same rows.
    this.#client
      .prepare(
        "INSERT OR REPLACE INTO transcript (session, last_seq, first_seq, at, types, entries) VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(ordinal, lastSeq, firstSeq, at, types, entries)
  }

  #writeTurn(ordinal: number, turn: Turn, json: string): void {
    const { prepare } = this.#client
    const { id, firstSeq, lastSeq, idempotencyKey } = turn
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
    prepare("DELETE FROM open_turns WHERE id = ?").run(id)
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

  #remember(id: SessionId, known: Known): void {
    this.#known.set(id, known)
    if (this.#known.size > maxKnown) this.#known.delete(this.#known.keys().next().value!)
  }
}
