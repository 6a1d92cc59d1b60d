/**
 * Commits that are durable in the log and not in the tables yet, merged by session: what a batch has of a session is its
 * newest record and all its new entries. Answers for them until the tables can, together with the batch before it while
 * that one is on its way there. Bounded by who fills it.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { Description, PreparedCommit, PreparedTurn } from "./PreparedCommit.ts"
import type { RowBatch, Stretch } from "./RowBatch.ts"
import { joinStretches, standingOf, stretchesOf } from "./SessionRows.ts"

interface BatchedSession {
  /** The newest record; undefined where it comes from a log and only its rows are known. */
  session: Session | undefined
  newest: PreparedCommit
  description: Description | undefined
  historyJson: string | undefined
  /** In order and without gaps. */
  readonly entries: Array<TranscriptEntry>
  readonly stretches: Array<Stretch>
  size: number
}

interface BatchedTurn extends PreparedTurn {
  readonly owner: SessionId
  /** It was accepted within this batch: the tables have never seen it. */
  readonly fresh: boolean
}

const keyOf = (session: SessionId, key: string): string => `${session}\0${key}`

export class CommitBatch {
  readonly #sessions = new Map<SessionId, BatchedSession>()
  /** In the order of their newest state. */
  readonly #turns = new Map<TurnId, BatchedTurn>()
  readonly #keys = new Map<string, TurnId>()
  /** What is not in the tables either; older than all of this. */
  before: CommitBatch | undefined
  count = 0
  /** Text, in UTF-16 units. */
  size = 0

  constructor(before?: CommitBatch) {
    this.before = before
  }

  add(commit: PreparedCommit, session: Session | undefined, size: number): void {
    const { id, description, historyJson, turns } = commit
    this.count++
    this.size += size
    let batched = this.#sessions.get(id)
    if (batched === undefined) {
      batched = { session, newest: commit, description, historyJson, entries: [], stretches: [], size: 0 }
      this.#sessions.set(id, batched)
    }
    batched.size += size
    batched.session = session
    batched.newest = commit
    if (description !== undefined) batched.description = description
    if (historyJson !== undefined) batched.historyJson = historyJson
    addEntries(batched, commit)
    if (turns.length === 0) return
    const first = batched.entries[0]?.seq ?? Infinity
    for (const { turn, json } of turns) {
      const before = this.#turns.get(turn.id)
      // Its first entry is here, and it was seen before it ended: then no other place has it.
      const fresh = before?.fresh ?? (!isTerminal(turn) && turn.firstSeq >= first && turn.firstSeq > 0)
      if (before !== undefined) this.#turns.delete(turn.id)
      this.#turns.set(turn.id, { turn, json, owner: id, fresh })
      const { idempotencyKey } = turn
      if (idempotencyKey === null) continue
      const key = keyOf(id, idempotencyKey)
      if (!this.#keys.has(key)) this.#keys.set(key, turn.id)
    }
  }

  /** What the tables are to hold with this batch. */
  rows(epoch: number, forgotten: ReadonlyArray<SessionId>): RowBatch {
    const places = new Map<SessionId, number>()
    const sessions = [...this.#sessions].map(([id, { newest, description, historyJson, stretches }], place) => {
      places.set(id, place)
      const { status, lastActiveAt, expiresAt, seq, stateJson } = newest
      return {
        id,
        status,
        standing: standingOf(status),
        lastActiveAt,
        expiresAt,
        seq,
        state: stateJson,
        identity: description?.identity,
        details: description?.details,
        history: historyJson,
        stretches,
      }
    })
    const turns = [...this.#turns.values()].map(({ turn, json, owner, fresh }) => {
      const { id, firstSeq, lastSeq, idempotencyKey, endedAt, queuedAt } = turn
      const ended = isTerminal(turn) ? (endedAt ?? queuedAt) : null
      return [places.get(owner)!, id, firstSeq, lastSeq, ended, idempotencyKey, fresh, json] as const
    })
    return { epoch, sessions, turns, forgotten }
  }

  // Reading: what is here, or in the batch before

  has(id: SessionId): boolean {
    return this.#sessions.has(id) || this.before?.has(id) === true
  }

  /** Text of this session's. */
  sizeOf(id: SessionId): number {
    return (this.#sessions.get(id)?.size ?? 0) + (this.before?.sizeOf(id) ?? 0)
  }

  session(id: SessionId): Session | undefined {
    return this.#sessions.get(id)?.session ?? this.before?.session(id)
  }

  /** Every session, the newest record of each; in order of creation as far as the tables do not know them. */
  sessions(): ReadonlyMap<SessionId, Session> {
    const all = new Map(this.before?.sessions())
    for (const [id, { session }] of this.#sessions) if (session !== undefined) all.set(id, session)
    return all
  }

  historyJson(id: SessionId): string | undefined {
    return this.#sessions.get(id)?.historyJson ?? this.before?.historyJson(id)
  }

  /** In order and without gaps. */
  entries(id: SessionId): ReadonlyArray<TranscriptEntry> {
    const own = this.#sessions.get(id)?.entries ?? []
    const older = this.before?.entries(id) ?? []
    if (older.length === 0 || own.length === 0) return older.length === 0 ? own : older
    // The commit that was made again may be in both.
    return [...older, ...own.slice(Math.max(0, older.at(-1)!.seq + 1 - own[0]!.seq))]
  }

  turn(id: TurnId): Turn | undefined {
    return this.#turns.get(id)?.turn ?? this.before?.turn(id)
  }

  /** A session's own, the newest state of each. */
  turnsOf(session: SessionId): ReadonlyArray<Turn> {
    const older = this.before?.turnsOf(session).filter(({ id }) => !this.#turns.has(id)) ?? []
    if (!this.#sessions.has(session)) return older
    return [...older, ...[...this.#turns.values()].flatMap(({ owner, turn }) => (owner === session ? [turn] : []))]
  }

  keyed(session: SessionId, key: string): TurnId | undefined {
    return this.before?.keyed(session, key) ?? this.#keys.get(keyOf(session, key))
  }
}

const addEntries = ({ entries, stretches }: BatchedSession, commit: PreparedCommit): void => {
  const last = entries.at(-1)?.seq ?? 0
  let added = commit.stretches
  if (commit.entries.length > 0 && commit.entries[0]!.seq <= last) {
    // A commit that is made again.
    const fresh = commit.entries.filter(({ seq }) => seq > last)
    added = stretchesOf(fresh)
    entries.push(...fresh)
  } else {
    for (const entry of commit.entries) entries.push(entry)
  }
  for (const stretch of added) {
    const open = stretches.at(-1)
    const joined = open === undefined ? undefined : joinStretches(open, stretch)
    if (joined === undefined) stretches.push(stretch)
    else stretches[stretches.length - 1] = joined
  }
}
