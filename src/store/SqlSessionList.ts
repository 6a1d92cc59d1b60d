/**
 * Lists sessions in order of creation, by whichever index the filters allow: with a status, only the sessions of its
 * standing are looked at; a page costs the same however many sessions there are.
 */
import type { SessionId } from "../domain/Ids.ts"
import type { Session, SessionStatus } from "../domain/Session.ts"
import type { SessionPage, SessionQuery, StoreCounts } from "../domain/SessionStore.ts"
import type { CommitBatch } from "./CommitBatch.ts"
import { noSessions } from "./MemoryQueries.ts"
import { decodeSession, sessionColumns, standingOf, standings, type SessionRow } from "./SessionRows.ts"
import type { SqliteClient } from "./SqliteClient.ts"
import type { SQLInputValue } from "./Sqlite.ts"

const from = "FROM sessions s JOIN session_details d ON d.session = s.ordinal"

export const readSession = (client: SqliteClient, id: string): Session | undefined => {
  const row = client.prepare(`SELECT ${sessionColumns} ${from} WHERE s.id = ?`).get(id)
  return row === undefined ? undefined : decodeSession(row as unknown as SessionRow)
}

/** Of every session, in no order: an index alone answers. */
export const readIds = (client: SqliteClient, batch: CommitBatch): ReadonlyArray<SessionId> => {
  const stored = client.prepare("SELECT id FROM sessions").all()
  return [...new Set([...stored.map((row) => row["id"] as SessionId), ...batch.sessions().keys()])]
}

/** The newest session that the column says `value` of; the batch has newer records of some. */
const findBy = (
  client: SqliteClient,
  column: "name" | "task",
  value: string,
  batch: CommitBatch,
): Session | undefined => {
  const fits = ({ name, spec }: Session) => (column === "name" ? name : spec.task) === value
  let found: { readonly ordinal: number; readonly session: Session } | undefined
  const rows = client
    .prepare(`SELECT ${sessionColumns} ${from} WHERE s.${column} = ? ORDER BY s.ordinal DESC`)
    .iterate(value) as Iterable<unknown> as Iterable<SessionRow>
  for (const row of rows) {
    if (batch.has(row.id as SessionId)) continue
    found = { ordinal: row.ordinal, session: decodeSession(row) }
    break
  }
  for (const [id, session] of batch.sessions()) {
    if (!fits(session)) continue
    // What the tables do not have yet will come after all that they have, in this order.
    const ordinal = (client.prepare("SELECT ordinal FROM sessions WHERE id = ?").get(id)?.["ordinal"] ??
      Infinity) as number
    if (found === undefined || ordinal >= found.ordinal) found = { ordinal, session }
  }
  return found?.session
}

export const findSession = (client: SqliteClient, ref: string, batch: CommitBatch): Session | undefined =>
  findBy(client, "name", ref, batch) ?? findBy(client, "task", ref, batch)

/** From indexes alone, but for the status of sessions that live. */
export const countSessions = ({ prepare }: SqliteClient, now: number): StoreCounts => {
  const sessions = noSessions()
  for (const row of prepare("SELECT standing, count(*) AS count FROM sessions GROUP BY standing").all()) {
    if (row["standing"] !== "live") sessions[row["standing"] as SessionStatus] = row["count"] as number
  }
  for (const row of prepare("SELECT status FROM sessions WHERE standing = 'live'").iterate()) {
    sessions[row["status"] as SessionStatus]++
  }
  const templates = prepare(
    "SELECT template, count(*) AS count FROM sessions WHERE template IS NOT NULL GROUP BY template",
  ).all()
  const expired = prepare("SELECT count(*) AS count FROM sessions WHERE expires_at <= ?").get(now)!
  const created = prepare("SELECT seq FROM sqlite_sequence WHERE name = 'sessions'").get()
  return {
    sessions,
    templates: Object.fromEntries(templates.map((row) => [row["template"] as string, row["count"] as number])),
    expired: expired["count"] as number,
    created: (created?.["seq"] ?? 0) as number,
  }
}

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
