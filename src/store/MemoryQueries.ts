/**
 * Lists, search and recovery over the records of the memory store, by looking at each. Pure: time and records are given.
 */
import type { RecoverableSession, SearchHit, SearchQuery, SessionPage, SessionQuery } from "../domain/SessionStore.ts"
import type { Session } from "../domain/Session.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import { matches, parseQuery, snippetOf } from "./SearchWords.ts"

export interface MemoryRecord {
  /** The place in the order of creation, from 1. */
  readonly ordinal: number
  readonly session: Session
  readonly history: unknown
  openTurns(): ReadonlyArray<Turn>
}

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

export const recoverableOf = (records: Iterable<MemoryRecord>): ReadonlyArray<RecoverableSession> => {
  const found: Array<RecoverableSession> = []
  for (const record of records) {
    const { session, history } = record
    const openTurns = record.openTurns().toSorted((a, b) => a.firstSeq - b.firstSeq)
    if ((session.status === "stopped" || session.status === "failed") && openTurns.length === 0) continue
    found.push({ session, openTurns, history })
  }
  return found
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
  const ended = hits.filter(isTerminal).toSorted((a, b) => b.endedAt! - a.endedAt!)
  const open = hits.filter((turn) => !isTerminal(turn)).toSorted((a, b) => b.queuedAt - a.queuedAt)
  return [...open, ...ended].slice(0, limit).map((turn) => ({ turn, snippet: snippetOf(words, turn) }))
}
