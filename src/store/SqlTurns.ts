/** Reads turns, open and ended, and what a runtime that comes back has to take care of. */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { RecoverableSession } from "../domain/SessionStore.ts"
import type { Turn } from "../domain/Turn.ts"
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

export const readRecoverable = (client: SqliteClient): ReadonlyArray<RecoverableSession> => {
  const open = Map.groupBy(readOpenTurns(client), (turn) => turn.session)
  return client
    .prepare(
      `SELECT ${sessionColumns}, d.history FROM sessions s JOIN session_details d ON d.session = s.ordinal
       WHERE s.standing IN ('live', 'suspended') OR s.ordinal IN (SELECT session FROM open_turns) ORDER BY s.ordinal`,
    )
    .all()
    .map((row) => {
      const session = decodeSession(row as unknown as SessionRow)
      const history = row["history"] as string | null
      return {
        session,
        openTurns: open.get(session.id) ?? [],
        history: history === null ? undefined : (JSON.parse(history) as unknown),
      }
    })
}
