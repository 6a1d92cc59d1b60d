/** Reads turns, open and ended, and what a runtime that comes back has to take care of. */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { RecoverableSession, TurnsPage, TurnsQuery } from "../domain/SessionStore.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { CommitBatch } from "./CommitBatch.ts"
import { decodeSession, decodeTurn, sessionColumns, type SessionRow, type TurnRow } from "./SessionRows.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** Joined with the session, so that what is left of a removed one is not found. */
const columns = "t.id, s.id AS session, t.first_seq, t.turn"

export const readTurn = ({ prepare }: SqliteClient, id: TurnId, batch: CommitBatch): Turn | undefined => {
  const batched = batch.turn(id)
  if (batched !== undefined) return batched
  const row =
    prepare(`SELECT ${columns} FROM ended_turns t JOIN sessions s ON s.ordinal = t.session WHERE t.id = ?`).get(id) ??
    prepare(`SELECT ${columns} FROM open_turns t JOIN sessions s ON s.ordinal = t.session WHERE t.id = ?`).get(id)
  return row === undefined ? undefined : decodeTurn(row as unknown as TurnRow)
}

export const readTurnByKey = (
  client: SqliteClient,
  session: SessionId,
  key: string,
  batch: CommitBatch,
): Turn | undefined => {
  const row = client
    .prepare("SELECT k.turn FROM turn_keys k JOIN sessions s ON s.ordinal = k.session WHERE s.id = ? AND k.key = ?")
    .get(session, key)
  const id = (row?.["turn"] as TurnId | undefined) ?? batch.keyed(session, key)
  return id === undefined ? undefined : readTurn(client, id, batch)
}

/** Every open turn, in the order in which each session accepted its own. */
export const readOpenTurns = ({ prepare }: SqliteClient): ReadonlyArray<Turn> =>
  prepare(
    `SELECT ${columns} FROM open_turns t JOIN sessions s ON s.ordinal = t.session ORDER BY t.session, t.first_seq`,
  )
    .all()
    .map((row) => decodeTurn(row as unknown as TurnRow))

/** Some of a session's turns in the tables, newest first. */
const readSome = (
  { prepare }: SqliteClient,
  table: "ended_turns" | "open_turns",
  session: SessionId,
  before: number,
  limit: number,
): ReadonlyArray<Turn> =>
  prepare(
    `SELECT ${columns} FROM sessions s CROSS JOIN ${table} t ON t.session = s.ordinal
     WHERE s.id = ? AND t.first_seq < ? ORDER BY t.first_seq DESC LIMIT ?`,
  )
    .all(session, before, limit)
    .map((row) => decodeTurn(row as unknown as TurnRow))

const defaultLimit = 100

export const readTurns = (
  client: SqliteClient,
  session: SessionId,
  { limit = defaultLimit, before = Number.MAX_SAFE_INTEGER }: TurnsQuery,
  batch: CommitBatch,
): TurnsPage => {
  if (!(limit > 0)) return { turns: [], nextBefore: null }
  const batched = batch.turnsOf(session)
  // What the batch has of these is newer than the tables; so that enough are left, that many more are read.
  const enough = Math.trunc(limit) + 1 + batched.length
  const stored = [
    ...readSome(client, "ended_turns", session, before, enough),
    ...readSome(client, "open_turns", session, before, enough),
  ].filter(({ id }) => batch.turn(id) === undefined)
  const fitting = [...batched.filter(({ firstSeq }) => firstSeq < before), ...stored].toSorted(
    (a, b) => b.firstSeq - a.firstSeq,
  )
  const turns = fitting.slice(0, limit)
  return { turns, nextBefore: fitting.length > turns.length ? turns.at(-1)!.firstSeq : null }
}

const parseHistory = (json: string | null): unknown => (json === null ? undefined : (JSON.parse(json) as unknown))

/** One session with its open turns and its history, in the tables or in the batch. */
export const readRecovered = (
  client: SqliteClient,
  id: SessionId,
  batch: CommitBatch,
): RecoverableSession | undefined => {
  const row = client
    .prepare(
      `SELECT ${sessionColumns}, d.history FROM sessions s JOIN session_details d ON d.session = s.ordinal WHERE s.id = ?`,
    )
    .get(id)
  const session = batch.session(id) ?? (row === undefined ? undefined : decodeSession(row as unknown as SessionRow))
  if (session === undefined) return undefined
  const openTurns = [
    ...readSome(client, "open_turns", id, Number.MAX_SAFE_INTEGER, -1).filter(
      (turn) => batch.turn(turn.id) === undefined,
    ),
    ...batch.turnsOf(id).filter((turn) => !isTerminal(turn)),
  ].toSorted((a, b) => a.firstSeq - b.firstSeq)
  const history = parseHistory(batch.historyJson(id) ?? ((row?.["history"] ?? null) as string | null))
  return { session, openTurns, history }
}

export const readRecoverable = (client: SqliteClient): ReadonlyArray<RecoverableSession> => {
  const open = Map.groupBy(readOpenTurns(client), (turn) => turn.session)
  const rows = client
    .prepare(
      `SELECT ${sessionColumns}, d.history FROM sessions s CROSS JOIN session_details d ON d.session = s.ordinal
       WHERE s.standing IN ('live', 'suspended') OR s.ordinal IN (SELECT session FROM open_turns)
         OR s.ordinal IN (SELECT ordinal FROM sessions WHERE expires_at IS NOT NULL) ORDER BY s.ordinal`,
    )
    .iterate()
  const found: Array<RecoverableSession> = []
  for (const row of rows) {
    const session = decodeSession(row as unknown as SessionRow)
    const history = parseHistory(row["history"] as string | null)
    found.push({ session, openTurns: open.get(session.id) ?? none, history })
  }
  return found
}

const none: ReadonlyArray<never> = []
