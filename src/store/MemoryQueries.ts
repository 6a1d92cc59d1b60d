/**
 * Lists, search and recovery over the records of the memory store, by looking at each. Pure: time and records are given.
 */
import { sessionStatuses, type Session, type SessionStatus } from "../domain/Session.ts"
import type {
  RecoverableSession,
  SearchHit,
  SearchQuery,
  SessionPage,
  SessionQuery,
  StoreCounts,
  TurnsPage,
  TurnsQuery,
} from "../domain/SessionStore.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import { matches, parseQuery, snippetOf } from "./SearchWords.ts"

export interface MemoryRecord {
  /** The place in the order of creation, from 1. */
  readonly ordinal: number
  readonly session: Session
  readonly history: unknown
  openTurns(): ReadonlyArray<Turn>
}

/** A count for each status. */
export const noSessions = (): Record<SessionStatus, number> =>
  Object.fromEntries(sessionStatuses.map((status) => [status, 0])) as Record<SessionStatus, number>

const fits = ({ status, tags, task, supervisor, name }: SessionQuery, session: Session): boolean =>
  (status === undefined || status.includes(session.status)) &&
  (task === undefined || session.spec.task === task) &&
  (supervisor === undefined || session.supervisor === supervisor) &&
  (name === undefined || session.name === name) &&
  Object.entries(tags ?? {}).every(([key, value]) => session.spec.tags[key] === value)

export const listOf = (records: Iterable<MemoryRecord>, query: SessionQuery): SessionPage => {
  const { limit } = query
  const after = query.after === undefined ? 0 : Number(query.after)
  if (!(limit > 0) || !Number.isSafeInteger(after)) return { sessions: [], next: null }
  const sessions: Array<Session> = []
  let last = after
  for (const { ordinal, session } of records) {
    if (ordinal <= after || !fits(query, session)) continue
    if (sessions.length >= limit) return { sessions, next: String(last) }
    sessions.push(session)
    last = ordinal
  }
  return { sessions, next: null }
}

export const recoveredOf = (record: MemoryRecord): RecoverableSession => ({
  session: record.session,
  openTurns: record.openTurns().toSorted((a, b) => a.firstSeq - b.firstSeq),
  history: record.history,
})

export const recoverableOf = (records: Iterable<MemoryRecord>): ReadonlyArray<RecoverableSession> => {
  const found: Array<RecoverableSession> = []
  for (const record of records) {
    const recovered = recoveredOf(record)
    const { status, expiresAt } = recovered.session
    const isOver = status === "stopped" || status === "failed"
    if (isOver && expiresAt === null && recovered.openTurns.length === 0) continue
    found.push(recovered)
  }
  return found
}

/** A page of these turns, newest first. */
export const turnsOf = (turns: Iterable<Turn>, { limit = 100, before = Infinity }: TurnsQuery): TurnsPage => {
  if (!(limit > 0)) return { turns: [], nextBefore: null }
  const fitting = [...turns].filter(({ firstSeq }) => firstSeq < before).toSorted((a, b) => b.firstSeq - a.firstSeq)
  const page = fitting.slice(0, limit)
  return { turns: page, nextBefore: fitting.length > page.length ? page.at(-1)!.firstSeq : null }
}

export const countsOf = (records: Iterable<MemoryRecord>, created: number, now: number): StoreCounts => {
  const sessions = noSessions()
  const templates: Record<string, number> = Object.create(null) as {}
  let expired = 0
  for (const { session } of records) {
    sessions[session.status]++
    const { template } = session.spec
    if (template !== null) templates[template] = (templates[template] ?? 0) + 1
    if (session.expiresAt !== null && session.expiresAt <= now) expired++
  }
  return { sessions, templates: { ...templates }, expired, created }
}

const defaultSearchLimit = 50

export const searchIn = (turns: Iterable<Turn>, query: SearchQuery): ReadonlyArray<SearchHit> => {
  const { session, limit = defaultSearchLimit } = query
  const words = parseQuery(query.query)
  if (words.length === 0 || !(limit > 0)) return []
  const hits: Array<Turn> = []
  for (const turn of turns) {
    if ((session === undefined || turn.session === session) && matches(words, turn)) hits.push(turn)
  }
  const ended = hits.filter(isTerminal).toSorted((a, b) => b.endedAt! - a.endedAt! || b.lastSeq - a.lastSeq)
  const open = hits
    .filter((turn) => !isTerminal(turn))
    .toSorted((a, b) => b.queuedAt - a.queuedAt || b.firstSeq - a.firstSeq)
  return [...open, ...ended].slice(0, limit).map((turn) => ({ turn, snippet: snippetOf(words, turn) }))
}
