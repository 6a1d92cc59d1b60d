/**
 * How records become rows and rows records again. What a row's own columns say is left out of its JSON. Text goes
 * through JSON everywhere, so that whatever a child prints (lone surrogates, NUL) comes back as it was.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import { isLive, type Session, type SessionStatus } from "../domain/Session.ts"
import { transcriptTypes, type TranscriptEntry, type TranscriptType } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import { encodeEntry, flat, type State, type TurnText } from "./RecordText.ts"
import type { Stretch } from "./RowBatch.ts"
import { decodeSpec } from "./SpecText.ts"

/** The part of the status that does not change with every turn. */
export type Standing = "live" | "suspended" | "stopped" | "failed"

export const standings: ReadonlyArray<Standing> = ["live", "suspended", "stopped", "failed"]

export const standingOf = (status: SessionStatus): Standing => (isLive(status) ? "live" : (status as Standing))

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

const none: ReadonlyArray<never> = []

export const decodeSession = (row: SessionRow): Session => {
  const state = JSON.parse(row.state) as Partial<State> & Pick<State, "incarnation" | "turns">
  return {
    id: row.id as SessionId,
    name: row.name,
    supervisor: row.supervisor,
    status: row.status as SessionStatus,
    spec: decodeSpec(row.spec, row.own),
    pid: state.pid ?? null,
    incarnation: state.incarnation,
    restarts: state.restarts ?? 0,
    turns: state.turns,
    containment: state.containment ?? null,
    agentSessionId: state.agentSessionId ?? null,
    forkedFrom: state.forkedFrom ?? null,
    suspendedBy: state.suspendedBy ?? null,
    pendingRequests: state.pendingRequests ?? none,
    createdAt: row.created_at,
    lastActiveAt: row.last_active_at,
    expiresAt: row.expires_at,
    exit: state.exit ?? null,
    deaths: row.deaths === "[]" ? none : (JSON.parse(row.deaths) as Session["deaths"]),
    survivors: state.survivors ?? none,
    usage: state.usage ?? null,
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

/** What `encodeTurn` has left out. */
export const emptyTurn = {
  text: "",
  stopReason: null,
  usage: null,
  error: null,
  idempotencyKey: null,
  startedAt: null,
  endedAt: null,
} as const

export const decodeTurn = (row: TurnRow): Turn => ({
  ...emptyTurn,
  ...(JSON.parse(row.turn) as Omit<TurnText, keyof typeof emptyTurn> & Partial<TurnText>),
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

/** More entries, or more text, stand in several rows: a reader who wants one has to take in its row. */
const stretchEntries = 64
const stretchSize = 64 * 1024

const isRoomy = ({ count, json }: Stretch): boolean => count < stretchEntries && json.length < stretchSize

export const joinStretches = (a: Stretch, b: Stretch): Stretch | undefined =>
  isRoomy(a) && a.count + b.count <= stretchEntries
    ? {
        firstSeq: a.firstSeq,
        lastSeq: b.lastSeq,
        at: b.at,
        types: a.types | b.types,
        count: a.count + b.count,
        json: `${a.json},${b.json}`,
      }
    : undefined

/** The rows for these entries. */
export const stretchesOf = (entries: ReadonlyArray<TranscriptEntry>): ReadonlyArray<Stretch> => {
  const stretches: Array<Stretch> = []
  for (let next = 0; next < entries.length;) {
    const first = next
    let json = ""
    let types = 0
    for (; next < entries.length && next - first < stretchEntries && json.length < stretchSize; next++) {
      const entry = entries[next]!
      types |= bits.get(entry.type) ?? 0
      json += next === first ? encodeEntry(entry) : `,${encodeEntry(entry)}`
    }
    const { seq: lastSeq, at } = entries[next - 1]!
    stretches.push({ firstSeq: entries[first]!.seq, lastSeq, at, types, count: next - first, json: flat(json) })
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
