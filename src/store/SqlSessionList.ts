/**
 * Lists sessions in order of creation, by whichever index the filters allow: with a status, only the sessions of its
 * standing are looked at; a page costs the same however many sessions there are.
 */
import type { Session } from "../domain/Session.ts"
import type { SessionPage, SessionQuery } from "../domain/SessionStore.ts"
import { decodeSession, sessionColumns, standingOf, standings, type SessionRow } from "./SessionRows.ts"
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

/** One SELECT under construction: what it reads from, what must hold, and the values for that. */
class Selection {
  readonly conditions: Array<string> = []
  readonly values: Array<SQLInputValue> = []
  readonly #client: SqliteClient
  readonly #source: string
  readonly #order: string

  constructor(client: SqliteClient, source: string, order: string, after: number) {
    this.#client = client
    this.#source = source
    this.#order = order
    this.where(`${order} > ?`, after)
  }

  where(condition: string, ...values: ReadonlyArray<SQLInputValue>): this {
    this.conditions.push(condition)
    this.values.push(...values)
    return this
  }

  rows(count: number): ReadonlyArray<SessionRow> {
    const conditions = this.conditions.join(" AND ")
    // CROSS JOIN keeps the order of the tables: without statistics SQLite takes any index for as good as another.
    const sql = `SELECT ${sessionColumns} FROM ${this.#source} CROSS JOIN session_details d ON d.session = s.ordinal
      WHERE ${conditions} ORDER BY ${this.#order} LIMIT ?`
    return this.#client.prepare(sql).all(...this.values, count) as unknown as ReadonlyArray<SessionRow>
  }
}

/** The filters that no index was chosen for. A plus sign keeps SQLite from choosing one after all. */
const rest = (selection: Selection, { status, supervisor }: SessionQuery, tags: ReadonlyArray<[string, string]>) => {
  if (supervisor !== undefined) selection.where("+s.supervisor = ?", supervisor)
  if (status !== undefined) selection.where("s.status IN (SELECT value FROM json_each(?))", JSON.stringify(status))
  for (const [key, value] of tags) {
    selection.where(
      "EXISTS (SELECT 1 FROM session_tags x WHERE x.key = ? AND x.value = ? AND x.session = s.ordinal)",
      key,
      value,
    )
  }
  return selection
}

/** One selection, or one for each standing; each is in order and reads no more rows than it must. */
const selectionsOf = (client: SqliteClient, query: SessionQuery, after: number): ReadonlyArray<Selection> => {
  const { status, tags, task, supervisor, name } = query
  const tagged = Object.entries(tags ?? {})
  const among = "sessions s"
  if (name !== undefined || task !== undefined) {
    const selection = new Selection(client, among, "s.ordinal", after)
    if (name !== undefined) selection.where("s.name = ?", name)
    if (task !== undefined) selection.where(name === undefined ? "s.task = ?" : "+s.task = ?", task)
    return [rest(selection, query, tagged)]
  }
  const [first, ...others] = tagged
  if (first !== undefined) {
    const selection = new Selection(
      client,
      "session_tags t CROSS JOIN sessions s ON s.ordinal = t.session",
      "t.session",
      after,
    ).where("t.key = ? AND t.value = ?", ...first)
    return [rest(selection, query, others)]
  }
  if (status === undefined && supervisor === undefined) return [new Selection(client, among, "s.ordinal", after)]
  const wanted = status === undefined ? standings : [...new Set(status.map(standingOf))]
  return wanted.map((standing) => {
    const selection = new Selection(client, among, "s.ordinal", after)
    if (supervisor !== undefined) selection.where("s.supervisor = ?", supervisor)
    selection.where("s.standing = ?", standing)
    return rest(selection, status === undefined ? { limit: 0 } : { limit: 0, status }, [])
  })
}

export const listSessions = (client: SqliteClient, query: SessionQuery): SessionPage => {
  const { limit } = query
  const after = query.after === undefined ? 0 : Number(query.after)
  if (!(limit > 0) || !Number.isSafeInteger(after)) return { sessions: [], next: null }
  const selections = selectionsOf(client, query, after)
  const rows = selections.flatMap((selection) => selection.rows(limit + 1))
  if (selections.length > 1) rows.sort((a, b) => a.ordinal - b.ordinal)
  const page = rows.slice(0, limit)
  return { sessions: page.map(decodeSession), next: rows.length > limit ? String(page.at(-1)!.ordinal) : null }
}
