/**
 * Reads transcripts. The ring of a session's limits is a boundary here, not a deletion: what lies before it is the
 * archive, which `all` reads too, as far as retention has left it.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { TranscriptPage, TranscriptQuery } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal } from "../domain/Turn.ts"
import type { CommitBatch } from "./CommitBatch.ts"
import { decodeEntries, typesMask, type TranscriptRow } from "./SessionRows.ts"
import type { SqliteClient } from "./SqliteClient.ts"

const defaultLimit = 1000

interface Head {
  readonly ordinal: number
  readonly seq: number
  readonly transcript_entries: number
  readonly transcript_bytes: number | null
}

/** The greatest `seq` that is not stored any more. */
const removedThrough = (client: SqliteClient, { ordinal, seq }: Head, firstBatched = seq + 1): number => {
  const first = client
    .prepare("SELECT first_seq FROM transcript WHERE session = ? ORDER BY last_seq LIMIT 1")
    .get(ordinal)
  return (first === undefined ? firstBatched : (first["first_seq"] as number)) - 1
}

/** The greatest `seq` that is over the session's limits. The newest entry never is. */
export const archivedThrough = (client: SqliteClient, head: Head): number => {
  const byEntries = Math.max(0, head.seq - head.transcript_entries)
  if (head.transcript_bytes === null) return byEntries
  let room = head.transcript_bytes
  const rows = client
    .prepare("SELECT first_seq, last_seq, entries FROM transcript WHERE session = ? ORDER BY last_seq DESC")
    .iterate(head.ordinal) as Iterable<unknown> as Iterable<TranscriptRow>
  for (const { first_seq, last_seq, entries } of rows) {
    if (last_seq <= byEntries) break
    room -= entries.length
    if (room >= 0) continue
    // The limit lies within this row.
    room += entries.length
    const sizes = (JSON.parse(entries) as ReadonlyArray<unknown>).map((entry) => JSON.stringify(entry).length)
    let seq = last_seq
    for (; seq >= first_seq; seq--) {
      room -= sizes[seq - first_seq]!
      if (room < 0) break
    }
    return Math.max(byEntries, Math.min(seq, head.seq - 1))
  }
  return byEntries
}

export const headOf = (client: SqliteClient, session: SessionId): Head | undefined =>
  client
    .prepare(
      `SELECT s.ordinal, s.seq, d.transcript_entries, d.transcript_bytes
       FROM sessions s JOIN session_details d ON d.session = s.ordinal WHERE s.id = ?`,
    )
    .get(session) as Head | undefined

/** Where the entries of a turn lie; an open turn's may go on to the end. */
const rangeOf = (
  client: SqliteClient,
  ordinal: number,
  turn: TurnId,
  batch: CommitBatch,
): readonly [number, number] | undefined => {
  const batched = batch.turn(turn)
  if (batched !== undefined) return [batched.firstSeq, isTerminal(batched) ? batched.lastSeq : Number.MAX_SAFE_INTEGER]
  const ended = client
    .prepare("SELECT first_seq, last_seq FROM ended_turns WHERE id = ? AND session = ?")
    .get(turn, ordinal)
  if (ended !== undefined) return [ended["first_seq"] as number, ended["last_seq"] as number]
  const open = client.prepare("SELECT first_seq FROM open_turns WHERE id = ? AND session = ?").get(turn, ordinal)
  return open === undefined ? undefined : [open["first_seq"] as number, Number.MAX_SAFE_INTEGER]
}

const lastStored = (client: SqliteClient, ordinal: number): number =>
  client.prepare("SELECT coalesce(max(last_seq), 0) AS seq FROM transcript WHERE session = ?").get(ordinal)![
    "seq"
  ] as number

/** What the database holds of a session, or would hold: one that is only in the batch has the ordinal 0. */
const wholeHead = (stored: Head | undefined, batched: Session | undefined): Head | undefined => {
  if (batched === undefined) return stored
  const { transcriptEntries, transcriptBytes = null } = batched.spec.limits
  return {
    ordinal: stored?.ordinal ?? 0,
    seq: batched.seq,
    transcript_entries: transcriptEntries,
    transcript_bytes: transcriptBytes,
  }
}

/**
 * A page of what the database holds and, after that, of what the batch does. A limit of bytes is only looked at in the
 * database: whoever calls this for a session that has one takes the batch in before.
 */
export const readTranscript = (
  client: SqliteClient,
  session: SessionId,
  query: TranscriptQuery,
  batch: CommitBatch,
): TranscriptPage => {
  const { after = 0, limit = defaultLimit, types, turn, all = false } = query
  const head = wholeHead(headOf(client, session), batch.session(session))
  if (head === undefined) return { entries: [], nextAfter: after, trimmed: 0 }
  const fresh = batch.entries(session)
  // The batch may be on its way into the tables: what they had at this moment is read there, all else in the batch.
  const stored = lastStored(client, head.ordinal)
  const removed = removedThrough(client, head, fresh[0]?.seq)
  const trimmed = all ? removed : Math.max(removed, archivedThrough(client, head))
  const from = Math.max(after, trimmed)
  const end = Math.max(from, head.seq)
  const entries: Array<TranscriptEntry> = []
  if (limit <= 0) return { entries, nextAfter: from, trimmed }
  // A turn that retention has removed may have left entries: then everything is looked through.
  const [first, last] = (turn === undefined ? undefined : rangeOf(client, head.ordinal, turn, batch)) ?? [0, end]
  const wanted = types === undefined ? undefined : new Set(types)
  const fits = (entry: TranscriptEntry) =>
    entry.seq > from && (wanted === undefined || wanted.has(entry.type)) && (turn === undefined || entry.turn === turn)
  const rows = client
    .prepare(
      `SELECT first_seq, last_seq, entries FROM transcript
       WHERE session = ? AND last_seq > ? AND last_seq <= ? AND first_seq <= ? AND types & ? ORDER BY last_seq`,
    )
    .iterate(head.ordinal, Math.max(from, first - 1), stored, last, types === undefined ? -1 : typesMask(types))
  for (const row of rows) {
    for (const entry of decodeEntries(session, row as unknown as TranscriptRow)) {
      if (!fits(entry)) continue
      entries.push(entry)
      if (entries.length >= limit) return { entries, nextAfter: entry.seq, trimmed }
    }
  }
  if (fresh.length === 0) return { entries, nextAfter: end, trimmed }
  for (let i = Math.max(0, Math.max(from, stored) + 1 - fresh[0]!.seq); i < fresh.length; i++) {
    const entry = fresh[i]!
    if (!fits(entry)) continue
    entries.push(entry)
    if (entries.length >= limit) return { entries, nextAfter: entry.seq, trimmed }
  }
  return { entries, nextAfter: end, trimmed }
}
