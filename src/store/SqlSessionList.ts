/**
 * Lists sessions in order of creation, by whichever index the filters allow: with a status, only the sessions of its
 * standing are looked at; a page costs the same however many sessions there are.
 */
import type { Session } from "../domain/Session.ts"
import type { SessionPage, SessionQuery } from "../domain/SessionStore.ts"
import { decodeSession, sessionColumns, standingOf, standings, type SessionRow, type Standing } from "./SessionRows.ts"
import type { SqliteClient } from "./SqliteClient.ts"
import type { SQLInputValue } from "./Sqlite.ts"

const from = "FROM sessions s JOIN session_details d ON d.session = s.ordinal"

export const readSession = (client: SqliteClient, id: string): Session | undefined => {
  const row = client.prepare(`SELECT ${sessionColumns} ${from} WHERE s.id = ?`).get(id)
  return row === undefined ? undefined : decodeSession(row as unknown as SessionRow)
}

export const readSessions = (client: SqliteClient): ReadonlyArray<Session> =>
  client
    .prepare(`SELECT ${sessionColumns} ${from} ORDER BY s.ordinal`)
    .all()
    .map((row) => decodeSession(row as unknown as SessionRow))

const rowsOf = (
  client: SqliteClient,
  query: SessionQuery,
  after: number,
  count: number,
  standing: Standing | undefined,
): ReadonlyArray<SessionRow> => {
  const { status, tags, task, supervisor, name } = query
  const conditions = ["s.ordinal > ?"]
  const values: Array<SQLInputValue> = [after]
  const equal = (column: string, value: SQLInputValue | undefined) => {
    if (value === undefined) return
    conditions.push(`${column} = ?`)
    values.push(value)
  }
  equal("s.name", name)
  equal("s.task", task)
  // Without statistics SQLite takes any index for as good as another: a plus sign keeps the wide ones out.
  const narrow = name !== undefined || task !== undefined
  const tagged = Object.entries(tags ?? {})
  equal(narrow || tagged.length > 0 ? "+s.supervisor" : "s.supervisor", supervisor)
  equal(narrow || tagged.length > 0 ? "+s.standing" : "s.standing", standing)
  if (status !== undefined) {
    conditions.push("s.status IN (SELECT value FROM json_each(?))")
    values.push(JSON.stringify(status))
  }
  tagged.forEach(([key, value], i) => {
    const rows = `SELECT session FROM session_tags WHERE key = ? AND value = ?`
    conditions.push(
      i === 0 && !narrow ? `s.ordinal IN (${rows} AND session > ?)` : `s.ordinal IN (${rows} AND session = s.ordinal)`,
    )
    values.push(key, value)
    if (i === 0 && !narrow) values.push(after)
  })
  values.push(count)
  return client
    .prepare(`SELECT ${sessionColumns} ${from} WHERE ${conditions.join(" AND ")} ORDER BY s.ordinal LIMIT ?`)
    .all(...values) as unknown as ReadonlyArray<SessionRow>
}

export const listSessions = (client: SqliteClient, query: SessionQuery): SessionPage => {
  const { status, limit, supervisor } = query
  const after = query.after === undefined ? 0 : Number(query.after)
  if (!(limit > 0) || !Number.isSafeInteger(after)) return { sessions: [], next: null }
  const among = status === undefined ? (supervisor === undefined ? [undefined] : standings) : standingsOf(status)
  const rows = among.flatMap((standing) => rowsOf(client, query, after, limit + 1, standing))
  if (among.length > 1) rows.sort((a, b) => a.ordinal - b.ordinal)
  const page = rows.slice(0, limit)
  return { sessions: page.map(decodeSession), next: rows.length > limit ? String(page.at(-1)!.ordinal) : null }
}

const standingsOf = (status: ReadonlyArray<Session["status"]>): ReadonlyArray<Standing> => [
  ...new Set(status.map(standingOf)),
]
