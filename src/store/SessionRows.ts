/**
 * How records become rows and rows records again. What a row's own columns say is left out of its JSON. Text goes
 * through JSON everywhere, so that whatever a child prints (lone surrogates, NUL) comes back as it was.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import { isLive, type Session, type SessionStatus } from "../domain/Session.ts"
import { transcriptTypes, type TranscriptEntry, type TranscriptType } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import { decodeSpec } from "./SpecText.ts"

/** The part of the status that does not change with every turn. */
export type Standing = "live" | "suspended" | "stopped" | "failed"

export const standings: ReadonlyArray<Standing> = ["live", "suspended", "stopped", "failed"]

export const standingOf = (status: SessionStatus): Standing => (isLive(status) ? "live" : (status as Standing))

/** The changing part of a record, as JSON. */
export const encodeState = (session: Session): string => {
  const { pid, incarnation, restarts, turns, containment, agentSessionId, pendingRequests, exit, usage } = session
  const { forkedFrom, suspendedBy } = session
  return JSON.stringify({
    pid,
    incarnation,
    restarts,
    turns,
    containment,
    agentSessionId,
    forkedFrom,
    suspendedBy,
    pendingRequests,
    exit,
    usage,
  })
}

export const sessionColumns = `s.ordinal, s.id, s.name, s.supervisor, s.status, s.created_at, s.last_active_at,
  s.expires_at, s.seq, s.state, d.spec, d.own, d.deaths`

/** What `sessionColumns` reads. */
export interface SessionRow {
  readonly ordinal: number
  readonly id: string
  readonly name: string
  readonly supervisor: string
  readonly status: string
  readonly created_at: number
  readonly last_active_at: number
  readonly expires_at: number | null
  readonly seq: number
  readonly state: string
  readonly spec: string
  readonly own: string
  readonly deaths: string
}

type State = Pick<
  Session,
  | "pid"
  | "incarnation"
  | "restarts"
  | "turns"
  | "containment"
  | "agentSessionId"
  | "forkedFrom"
  | "suspendedBy"
  | "pendingRequests"
  | "exit"
  | "usage"
>

const none: ReadonlyArray<never> = []

export const decodeSession = (row: SessionRow): Session => {
  const state = JSON.parse(row.state) as State
  return {
    id: row.id as SessionId,
    name: row.name,
    supervisor: row.supervisor,
    status: row.status as SessionStatus,
    spec: decodeSpec(row.spec, row.own),
    pid: state.pid,
    incarnation: state.incarnation,
    restarts: state.restarts,
    turns: state.turns,
    containment: state.containment,
    agentSessionId: state.agentSessionId,
    // Older records have no such field.
    forkedFrom: state.forkedFrom ?? null,
    suspendedBy: state.suspendedBy ?? null,
    pendingRequests: state.pendingRequests.length === 0 ? none : state.pendingRequests,
    createdAt: row.created_at,
    lastActiveAt: row.last_active_at,
    expiresAt: row.expires_at,
    exit: state.exit,
    deaths: row.deaths === "[]" ? none : (JSON.parse(row.deaths) as Session["deaths"]),
    usage: state.usage,
    seq: row.seq,
  }
}

export interface TurnRow {
  readonly id: string
  /** The id of its session, not the ordinal. */
  readonly session: string
  readonly first_seq: number
  readonly turn: string
}

export const decodeTurn = (row: TurnRow): Turn => ({
  ...(JSON.parse(row.turn) as Omit<Turn, "id" | "session" | "firstSeq">),
  id: row.id as TurnId,
  session: row.session as SessionId,
  firstSeq: row.first_seq,
})

const bits: ReadonlyMap<TranscriptType, number> = new Map(transcriptTypes.map((type, i) => [type, 1 << i]))

export const typesMask = (types: Iterable<TranscriptType>): number => {
  let mask = 0
  for (const type of types) mask |= bits.get(type) ?? 0
  return mask
}

/** One row of the transcript: entries that follow one another. */
export interface Stretch {
  readonly firstSeq: number
  readonly lastSeq: number
  readonly at: number
  readonly types: number
  readonly json: string
}

/** More entries, or more text, stand in several rows: a reader who wants one has to take in its row. */
const stretchEntries = 64
const stretchSize = 64 * 1024

/** The rows for the entries from `first` on. */
export const stretchesOf = (
  entries: ReadonlyArray<TranscriptEntry>,
  entriesJson: ReadonlyArray<string>,
  first: number,
): ReadonlyArray<Stretch> => {
  const stretches: Array<Stretch> = []
  while (first < entries.length) {
    let json = ""
    let types = 0
    let next = first
    for (; next < entries.length && next - first < stretchEntries && json.length < stretchSize; next++) {
      types |= bits.get(entries[next]!.type) ?? 0
      json += (json === "" ? "[" : ",") + entriesJson[next]!
    }
    const last = entries[next - 1]!
    stretches.push({ firstSeq: entries[first]!.seq, lastSeq: last.seq, at: last.at, types, json: `${json}]` })
    first = next
  }
  return stretches
}

export interface TranscriptRow {
  readonly first_seq: number
  readonly last_seq: number
  readonly entries: string
}

export const decodeEntries = (session: SessionId, row: TranscriptRow): ReadonlyArray<TranscriptEntry> =>
  (JSON.parse(row.entries) as ReadonlyArray<Omit<TranscriptEntry, "session" | "seq">>).map(
    (entry, i) => ({ session, seq: row.first_seq + i, ...entry }) as TranscriptEntry,
  )
