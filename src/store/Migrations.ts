/**
 * The numbered steps that lead from an empty file to today's tables. Append only: a step that was released is never
 * changed. A file that has more steps than are known here is refused before anything is written.
 */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { foreignStore, newerStore, toFailure } from "./SqliteFailure.ts"
import { prepareForWriting, type SqliteClient } from "./SqliteClient.ts"

const table = "creche_migrations"

/** `PRAGMA application_id` of our files: "crch". */
const applicationId = 0x63726368

/**
 * `sessions.ordinal` counts sessions in order of creation and is never given twice; the other tables name a session by
 * it. What changes with every turn stands in columns without an index, what hardly changes in `session_details`.
 */
const tables = [
  `CREATE TABLE sessions (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    supervisor TEXT NOT NULL,
    task TEXT,
    template TEXT,
    standing TEXT NOT NULL, -- 'live' for every status with a process, else the status: does not change with each turn
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    expires_at INTEGER,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL -- JSON: the rest of the record that changes with each turn
  )`,
  "CREATE INDEX sessions_by_name ON sessions (name)",
  "CREATE INDEX sessions_by_task ON sessions (task) WHERE task IS NOT NULL",
  "CREATE INDEX sessions_by_template ON sessions (template) WHERE template IS NOT NULL",
  "CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL",
  "CREATE INDEX sessions_by_standing ON sessions (standing)",
  "CREATE INDEX sessions_by_supervisor ON sessions (supervisor, standing)",
  `CREATE TABLE session_details (
    session INTEGER PRIMARY KEY,
    spec TEXT NOT NULL, -- JSON; the same text for sessions that only differ in their own fields
    own TEXT NOT NULL, -- JSON: those fields
    retention TEXT, -- JSON, as in the spec
    deaths TEXT NOT NULL,
    history TEXT,
    transcript_entries INTEGER NOT NULL,
    transcript_bytes INTEGER
  )`,
  "CREATE INDEX session_details_by_retention ON session_details (session) WHERE retention IS NOT NULL",
  `CREATE TABLE session_tags (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (key, value, session)
  ) WITHOUT ROWID`,
  "CREATE INDEX session_tags_by_session ON session_tags (session)",
  // One row for entries of a session that came one after the other: `entries` is a JSON array of those from first_seq to
  // last_seq. In order of arrival, not clustered by session: rows of many sessions then share pages when they are written.
  `CREATE TABLE transcript (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    at INTEGER NOT NULL, -- of the last entry
    types INTEGER NOT NULL, -- a bit for each type that occurs
    entries TEXT NOT NULL
  )`,
  "CREATE UNIQUE INDEX transcript_by_session ON transcript (session, last_seq)",
  `CREATE TABLE open_turns (
    id TEXT PRIMARY KEY,
    session INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    turn TEXT NOT NULL
  ) WITHOUT ROWID`,
  "CREATE INDEX open_turns_by_session ON open_turns (session, first_seq)",
  // Only ever appended to, in the order in which turns end, and deleted from: `ordinal` is that order, never given twice.
  `CREATE TABLE ended_turns (
    ordinal INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    turn TEXT NOT NULL
  )`,
  "CREATE INDEX ended_turns_by_session ON ended_turns (session, first_seq)",
  `CREATE TABLE turn_keys (
    session INTEGER NOT NULL,
    key TEXT NOT NULL,
    turn TEXT NOT NULL,
    PRIMARY KEY (session, key)
  ) WITHOUT ROWID`,
  "CREATE INDEX turn_keys_by_turn ON turn_keys (turn)",
  // Rows are ended turns by ordinal. It follows behind: what ended after `search_progress.through` is not in it yet. Words are folded before they get here.
  `CREATE VIRTUAL TABLE turn_words USING fts5(
    session, prompt, text, content = '', contentless_delete = 1, detail = column, tokenize = ascii
  )`,
  "CREATE TABLE search_progress (through INTEGER NOT NULL)",
  "INSERT INTO search_progress VALUES (0)",
  // The newest epoch of the log that the tables hold; see CommitLog.
  "CREATE TABLE log_progress (epoch INTEGER NOT NULL)",
  "INSERT INTO log_progress VALUES (0)",
  "CREATE TABLE templates (name TEXT PRIMARY KEY, template TEXT NOT NULL) WITHOUT ROWID",
  // Sessions that are removed already and whose rows are still being deleted.
  "CREATE TABLE removed_sessions (session INTEGER PRIMARY KEY)",
]

const migrations: Readonly<Record<string, Effect.Effect<void, unknown, SqlClient>>> = {
  "1_tables": Effect.gen(function* () {
    const sql = yield* SqlClient
    for (const statement of tables) yield* sql.unsafe(statement)
    yield* sql.unsafe(`PRAGMA application_id = ${applicationId}`)
  }),
  "2_supervisors": Effect.gen(function* () {
    const sql = yield* SqlClient
    yield* sql.unsafe(`CREATE TABLE supervisors (
      ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
      path TEXT NOT NULL UNIQUE,
      record TEXT NOT NULL -- JSON
    )`)
  }),
}

/** The newest step that this version knows. */
export const newest = Math.max(...Object.keys(migrations).map((name) => Number.parseInt(name, 10)))

/** Refuses files of others and of newer versions. Reads only. */
const inspect = ({ file, prepare }: SqliteClient): void => {
  const has = (name: string) => prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(name) !== undefined
  if (!has(table)) {
    if (prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() !== undefined) throw foreignStore(file)
    return
  }
  const found = prepare(`SELECT max(migration_id) AS id FROM ${table}`).get()?.["id"]
  if (typeof found === "number" && found > newest) throw newerStore(file, found, newest)
}

/** Brings the file to the newest step. */
export const migrate = (client: SqliteClient): Effect.Effect<void, StoreUnavailable> =>
  client
    .attempt(() => {
      inspect(client)
      prepareForWriting(client)
    })
    .pipe(
      Effect.andThen(
        Migrator.make({})({ loader: Migrator.fromRecord(migrations), table }).pipe(
          Effect.provideService(SqlClient, client.sql),
          Effect.catch((error) => Effect.suspend(() => Effect.fail(toFailure(client.file, causeOf(error))))),
        ),
      ),
      Effect.asVoid,
    )

/** What SQLite itself threw, beneath what Effect's layers made of it. */
const causeOf = (error: unknown): unknown => {
  let found: unknown = error
  while (typeof found === "object" && found !== null && !("errcode" in found)) {
    const { reason, cause } = found as { readonly reason?: unknown; readonly cause?: unknown }
    const next = reason ?? cause
    if (next === undefined) return error
    found = next
  }
  return found
}
