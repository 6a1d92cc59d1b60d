/**
 * Commits that are durable in the log and not in the database yet, merged by session: what a batch has of a session is
 * its newest record and all its new entries. Answers for them until the database can. Bounded by who fills it.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { PreparedCommit, PreparedTurn, SessionDetails } from "./PreparedCommit.ts"

export interface BatchedSession {
  /** The newest record; undefined where it comes from a log and only its rows are known. */
  session: Session | undefined
  newest: PreparedCommit
  details: SessionDetails | undefined
  historyJson: string | undefined
  /** In order and without gaps. */
  readonly entries: Array<TranscriptEntry>
  readonly entriesJson: Array<string>
}

export interface BatchedTurn extends PreparedTurn {
  readonly owner: SessionId
  /** It was accepted within this batch: the database has never seen it. */
  readonly fresh: boolean
}

const keyOf = (session: SessionId, key: string): string => `${session}\0${key}`

export class CommitBatch {
  readonly sessions = new Map<SessionId, BatchedSession>()
  /** In the order of their newest state. */
  readonly turns = new Map<TurnId, BatchedTurn>()
  readonly #keys = new Map<string, TurnId>()
  count = 0
  /** Text, in UTF-16 units. */
  size = 0

  add(commit: PreparedCommit, session: Session | undefined, size: number): void {
    const { head, details, historyJson, entries, entriesJson, turns } = commit
    this.count++
    this.size += size
    let batched = this.sessions.get(head.id)
    if (batched === undefined) {
      batched = { session, newest: commit, details, historyJson, entries: [], entriesJson: [] }
      this.sessions.set(head.id, batched)
    }
    batched.session = session
    batched.newest = commit
    if (details !== undefined) batched.details = details
    if (historyJson !== undefined) batched.historyJson = historyJson
    const last = batched.entries.at(-1)?.seq ?? 0
    for (let i = 0; i < entries.length; i++) {
      // A commit that is made again.
      if (entries[i]!.seq <= last) continue
      batched.entries.push(entries[i]!)
      batched.entriesJson.push(entriesJson[i]!)
    }
    const first = batched.entries[0]?.seq ?? Infinity
    for (const { turn, json } of turns) {
      const before = this.turns.get(turn.id)
      // Its first entry is here, and it was seen before it ended: then no other place has it.
      const fresh = before?.fresh ?? (!isTerminal(turn) && turn.firstSeq >= first && turn.firstSeq > 0)
      if (before !== undefined) this.turns.delete(turn.id)
      this.turns.set(turn.id, { turn, json, owner: head.id, fresh })
      const { idempotencyKey } = turn
      if (idempotencyKey === null) continue
      const key = keyOf(head.id, idempotencyKey)
      if (!this.#keys.has(key)) this.#keys.set(key, turn.id)
    }
  }

  turn(id: TurnId): Turn | undefined {
    return this.turns.get(id)?.turn
  }

  /** A session's own, in the order of their newest state. */
  turnsOf(session: SessionId): ReadonlyArray<Turn> {
    return this.sessions.has(session)
      ? [...this.turns.values()].flatMap(({ owner, turn }) => (owner === session ? [turn] : []))
      : []
  }

  keyed(session: SessionId, key: string): TurnId | undefined {
    return this.#keys.get(keyOf(session, key))
  }
}
