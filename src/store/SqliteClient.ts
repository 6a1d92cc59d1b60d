/**
 * One connection to one SQLite file, and a thin `effect/sql` client over it, so that migrations (and what another
 * database will share) are written against `SqlClient`. The store's own hot path takes `prepare` directly: a statement
 * through `SqlClient` costs several times what SQLite itself needs for it. Knows nothing of sessions.
 */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import { Reactivity, make as makeReactivity } from "effect/reactivity/Reactivity"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Connection } from "effect/sql/SqlConnection"
import * as Client from "effect/sql/SqlClient"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import { makeCompilerSqlite } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { logSuffixes } from "./CommitLog.ts"
import { WriteGate } from "./WriteGate.ts"
import { makeDirectory } from "./PrivateDirectory.ts"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "./Sqlite.ts"
import { corruptStore, toFailure } from "./SqliteFailure.ts"

export interface SqliteConfig {
  /** Path of the database; its directory is made where it is missing. */
  readonly file: string
  /**
   * What an acknowledged write survives. `process` (default): the death of this process at any instant; when the machine
   * loses power, the last moments may be missing, never damaged. `power`: that too, for one fsync per transaction.
   */
  readonly durability?: "process" | "power"
  /** How long a statement waits for a lock of another process (ms), holding up the event loop; default 250. */
  readonly busyTimeoutMs?: number
}

export interface SqliteClient {
  readonly file: string
  readonly durability: "process" | "power"
  readonly busyTimeoutMs: number
  readonly database: DatabaseSync
  /** A prepared statement of this connection, kept for the next time. */
  readonly prepare: (sql: string) => StatementSync
  /** Runs `body` in one transaction, all or nothing; what it throws is thrown on. */
  readonly transaction: <A>(body: () => A) => A
  /** Runs `body` so that all it reads is of one moment; what it throws is thrown on. */
  readonly snapshot: <A>(body: () => A) => A
  /** Runs what talks to SQLite; its refusals become failures, bugs die. */
  readonly attempt: <A>(body: () => A) => Effect.Effect<A, StoreUnavailable>
  /** The same for what writes: while another thread of this process does, it waits. */
  readonly exclusively: <A>(body: () => A) => Effect.Effect<A, StoreUnavailable>
  readonly gate: WriteGate
  /** For migrations and rare statements. Its transactions must not be open while the store's own are. */
  readonly sql: Client.SqlClient
}

/** Lets whatever else is due run before long work goes on. */
export const nextTick: Effect.Effect<void> = Effect.callback((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/** Beyond this the cache starts anew: only text that is made up of filters can get there. */
const maxStatements = 200

/** SQLite takes an empty file for a new database and throws away the log beside it: data may stand in there. */
const refuseEmptied = (file: string): void => {
  const size = (path: string) => {
    const found = statSync(path, { throwIfNoEntry: false })
    return found?.isFile() === true ? found.size : 0
  }
  if (size(file) > 0) return
  for (const side of ["-wal", ...logSuffixes]) {
    if (size(file + side) > 0) throw corruptStore(file, `it is empty, but its ${side} file is not`)
  }
}

/** Fields of the header that SQLite believes: with another reserved space in each page it would read, and write, nonsense. */
const refuseHeader = (file: string): void => {
  if (!existsSync(file)) return
  const header = Buffer.alloc(24)
  const fd = openSync(file, "r")
  const count = readSync(fd, header, 0, header.length, 0)
  closeSync(fd)
  if (count === 0 || header.toString("latin1", 0, 15) !== "SQLite format 3") return
  const [write, read, reserved, ...fractions] = header.subarray(18)
  if (count < 24 || ![1, 2].includes(write!) || write !== read || reserved !== 0 || fractions.join() !== "64,32,32") {
    throw corruptStore(file, "its header is damaged")
  }
}

const defaultBusyTimeoutMs = 250

const openDatabase = ({
  file,
  durability = "process",
  busyTimeoutMs = defaultBusyTimeoutMs,
}: SqliteConfig): DatabaseSync => {
  makeDirectory(dirname(file))
  refuseEmptied(file)
  refuseHeader(file)
  // Private from the first byte on; SQLite gives its side files the same mode.
  closeSync(openSync(file, "a", 0o600))
  const database = new DatabaseSync(file)
  try {
    database.exec(`PRAGMA busy_timeout = ${Math.trunc(busyTimeoutMs)}`)
    // Reads, changes nothing: what is no database at all is refused here.
    database.prepare("SELECT count(*) FROM sqlite_schema").get()
    database.exec(`PRAGMA foreign_keys = ON; PRAGMA synchronous = ${durability === "power" ? "FULL" : "NORMAL"}`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** Makes the file a log-structured one. Changes its header, so only after it is known to be ours. */
export const prepareForWriting = (client: SqliteClient): void => {
  const { database } = client
  // Only takes effect while the file has no table yet, but writes each time.
  const incremental = 2
  if (client.prepare("PRAGMA auto_vacuum").get()!["auto_vacuum"] !== incremental) {
    database.exec("PRAGMA auto_vacuum = INCREMENTAL")
  }
  database.prepare("PRAGMA journal_mode = WAL").get()
  // The checkpoint in this thread is only the net: see Checkpointer.
  database.exec("PRAGMA wal_autocheckpoint = 8000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16000")
}

/** Opens the file for as long as the scope. Fails where it is locked, not readable, or no database. */
export const open = (config: SqliteConfig): Effect.Effect<SqliteClient, StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const { file, durability = "process", busyTimeoutMs = defaultBusyTimeoutMs } = config
    const attempt = <A>(body: () => A): Effect.Effect<A, StoreUnavailable> =>
      Effect.suspend(() => {
        try {
          return Effect.succeed(body())
        } catch (error) {
          return Effect.fail(toFailure(file, error))
        }
      })
    const database = yield* Effect.acquireRelease(
      attempt(() => openDatabase(config)),
      (open) => Effect.sync(() => open.isOpen && open.close()),
    )
    const statements = new Map<string, StatementSync>()
    const prepare = (sql: string): StatementSync => {
      let statement = statements.get(sql)
      if (statement === undefined) {
        if (statements.size >= maxStatements) statements.clear()
        statement = database.prepare(sql)
        statements.set(sql, statement)
      }
      return statement
    }
    const transaction = <A>(body: () => A): A => {
      prepare("BEGIN IMMEDIATE").run()
      try {
        const result = body()
        prepare("COMMIT").run()
        return result
      } catch (error) {
        // A full disk, for one, has rolled back already.
        if (database.isTransaction) prepare("ROLLBACK").run()
        throw error
      }
    }
    const snapshot = <A>(body: () => A): A => {
      if (database.isTransaction) return body()
      prepare("BEGIN").run()
      try {
        return body()
      } finally {
        if (database.isTransaction) prepare("COMMIT").run()
      }
    }
    const gate = new WriteGate()
    const exclusively = <A>(body: () => A): Effect.Effect<A, StoreUnavailable> =>
      Effect.callback((resume) => gate.pass(() => resume(Effect.runSyncExit(attempt(body)))))
    const sql = yield* makeSqlClient(database, prepare)
    return {
      file,
      durability,
      busyTimeoutMs,
      database,
      prepare,
      transaction,
      snapshot,
      attempt,
      exclusively,
      gate,
      sql,
    }
  })

const makeSqlClient = (
  database: DatabaseSync,
  prepare: (sql: string) => StatementSync,
): Effect.Effect<Client.SqlClient> => {
  const attempt = <A>(operation: string, body: () => A): Effect.Effect<A, SqlError> =>
    Effect.suspend(() => {
      try {
        return Effect.succeed(body())
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause)
        return Effect.fail(new SqlError({ reason: classifySqliteError(cause, { message, operation }) }))
      }
    })
  const values = (params: ReadonlyArray<unknown>) =>
    params.map((value): SQLInputValue => {
      if (typeof value === "boolean") return value ? 1 : 0
      return value instanceof Date ? value.toISOString() : (value as SQLInputValue)
    })
  const execute =
    (statement: (sql: string) => StatementSync): Connection["execute"] =>
    (sql, params, transform = identity) =>
      attempt("execute", () => transform(statement(sql).all(...values(params))))
  const executeArrays = (sql: string, params: ReadonlyArray<unknown>) =>
    attempt("execute", () => {
      const statement = database.prepare(sql)
      statement.setReturnArrays(true)
      return statement.all(...values(params)) as unknown as ReadonlyArray<ReadonlyArray<unknown>>
    })
  const connection: Connection = {
    execute: execute(prepare),
    executeUnprepared: execute((sql) => database.prepare(sql)),
    executeRaw: (sql, params) => attempt("execute", () => prepare(sql).run(...values(params))),
    executeValues: executeArrays,
    executeValuesUnprepared: executeArrays,
    executeStream: (sql, params, transform = identity) =>
      Stream.fromIterableEffect(
        attempt("execute", () => transform(database.prepare(sql).all(...values(params)) as ReadonlyArray<object>)),
      ),
  }
  const one = Semaphore.makeUnsafe(1)
  const exclusive = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.scope, (scope) =>
      restore(one.take(1)).pipe(Effect.andThen(Scope.addFinalizer(scope, one.release(1))), Effect.as(connection)),
    ),
  )
  return Effect.flatMap(makeReactivity, (reactivity) =>
    Client.make({
      acquirer: one.withPermits(1)(Effect.succeed(connection)),
      transactionAcquirer: exclusive,
      compiler: makeCompilerSqlite(),
      driver: "sqlite-node",
      beginTransaction: "BEGIN IMMEDIATE",
      isTransaction: () => database.isTransaction,
      spanAttributes: [["db.system.name", "sqlite"]],
    }).pipe(Effect.provideService(Reactivity, reactivity)),
  )
}
