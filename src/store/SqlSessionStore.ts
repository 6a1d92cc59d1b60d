/**
 * The store in an embedded SQLite file: what was acknowledged is there after any death of the runtime. A commit is durable
 * in the log beside the file and moves into the tables with many others; what reads looks at both. One runtime per file.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import { SessionStore } from "../domain/SessionStore.ts"
import { BatchWriter } from "./BatchWriter.ts"
import { Checkpointer } from "./Checkpointer.ts"
import { CommitBatch } from "./CommitBatch.ts"
import { CommitLog, readLog } from "./CommitLog.ts"
import { GroupCommit } from "./GroupCommit.ts"
import * as Migrations from "./Migrations.ts"
import { fromLogText } from "./PreparedCommit.ts"
import { SearchIndexing } from "./SearchIndexing.ts"
import * as SqliteClient from "./SqliteClient.ts"
import { strangeLog } from "./SqliteFailure.ts"
import { removeSession, sweepRemoved } from "./SqlRemoval.ts"
import { retain, sizeOf } from "./SqlRetention.ts"
import { search } from "./SqlSearch.ts"
import { countSessions, findSession, listSessions, readIds, readSession } from "./SqlSessionList.ts"
import { TableWorkerThread, type TableThread, type TableThreadOptions } from "./TableThread.ts"
import { readTranscript } from "./SqlTranscript.ts"
import { readRecoverable, readRecovered, readTurn, readTurnByKey, readTurns } from "./SqlTurns.ts"

export interface SqlSessionStoreConfig extends SqliteClient.SqliteConfig {
  /** After each write to the log: how many commits shared it, and how long the first of them waited for it (ms). */
  readonly onGroup?: (commits: number, waitedMs: number) => void
  /** The thread that writes the tables; default: one of its own, and where it throws this one. */
  readonly startThread?: (options: TableThreadOptions) => TableThread
}

/** What a step of retention or indexing counts for in SQLite's own log, about. */
const writesOfOneStep = 32

/** Takes into the tables what a process that died has left in the log; answers the epoch to go on after. */
const replay = (client: SqliteClient.SqliteClient): number => {
  const held = client.prepare("SELECT epoch FROM log_progress").get()!["epoch"] as number
  const { records, epoch } = readLog(client.file, held)
  if (epoch === held) return held
  const batch = new CommitBatch()
  try {
    for (const record of records) for (const commit of fromLogText(record)) batch.add(commit, undefined, 0)
  } catch (error) {
    throw strangeLog(client.file, (error as Error).message)
  }
  new BatchWriter(client.prepare).write(batch.rows(epoch, []))
  return epoch
}

const startWorker = (options: TableThreadOptions): TableThread => new TableWorkerThread(options)

/** The store over an open file that is migrated already. */
export const fromClient = (
  client: SqliteClient.SqliteClient,
  { onGroup = () => {}, startThread = startWorker }: Pick<SqlSessionStoreConfig, "onGroup" | "startThread"> = {},
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const { attempt } = client
    const checkpointer = yield* Checkpointer.make(client)
    /** For long work in many small transactions: they fill SQLite's log as well. */
    const background: SqliteClient.SqliteClient = {
      ...client,
      transaction: (body) => {
        const result = client.transaction(body)
        checkpointer.wrote(writesOfOneStep, 0)
        return result
      },
    }
    const indexing = new SearchIndexing(background)
    const commits = yield* Effect.acquireRelease(
      attempt(() => {
        const log = new CommitLog(client.file, replay(client), client.durability === "power")
        return new GroupCommit({
          client,
          log,
          startThread,
          onGroup,
          onApplied: (count, size) => {
            indexing.noticed(count)
            checkpointer.wrote(count, size)
          },
        })
      }),
      (opened) =>
        Effect.promise(() => {
          indexing.stop()
          return opened.close()
        }),
    )
    /** For what only the tables can answer. */
    const settled = <A>(body: () => A): Effect.Effect<A, StoreUnavailable> =>
      Effect.andThen(
        commits.settle,
        attempt(() => client.snapshot(body)),
      )
    const remove = (session: SessionId): Effect.Effect<void, StoreUnavailable> =>
      Effect.suspend(() => {
        // What the session's actor still had under way comes first, or it would bring the session back.
        commits.flushAll()
        return commits.settle
      }).pipe(
        Effect.andThen(
          client.exclusively(() => {
            commits.flushAll()
            if (commits.batch.has(session)) return false
            commits.forget(session)
            removeSession(client, session)
            return true
          }),
        ),
        Effect.flatMap((done) => (done ? sweepRemoved(background) : remove(session))),
      )
    return SessionStore.of({
      commit: (commit) => commits.submit(commit),
      transcript: (session, query) => {
        const read = attempt(() => readTranscript(client, session, query, commits.batch))
        return Effect.suspend(() =>
          commits.batch.session(session)?.spec.limits.transcriptBytes === undefined
            ? read
            : Effect.andThen(commits.settle, read),
        )
      },
      turn: (turn) => attempt(() => readTurn(client, turn, commits.batch)),
      turnByKey: (session, key) => attempt(() => readTurnByKey(client, session, key, commits.batch)),
      session: (session) => attempt(() => commits.batch.session(session) ?? readSession(client, session)),
      ids: attempt(() => readIds(client, commits.batch)),
      find: (ref) => attempt(() => findSession(client, ref, commits.batch)),
      turns: (session, query) => attempt(() => readTurns(client, session, query, commits.batch)),
      counts: (now) => settled(() => countSessions(client, now)),
      recover: (session) => attempt(() => readRecovered(client, session, commits.batch)),
      list: (query) => settled(() => listSessions(client, query)),
      recoverable: settled(() => readRecoverable(client)),
      search: (query) => Effect.andThen(commits.settle, search(background, query)),
      retain: (retention) => Effect.andThen(commits.settle, retain(background, retention)),
      sizeBytes: settled(() => sizeOf(client)),
      remove,
    })
  })

/** Opens or makes the file. Fails where it is locked, damaged, of another program or of a newer version; changes nothing then. */
export const open = (
  config: SqlSessionStoreConfig,
): Effect.Effect<SqliteClient.SqliteClient, StoreUnavailable, Scope.Scope> =>
  Effect.tap(SqliteClient.open(config), Migrations.migrate)

/** The store over a file that was just opened. */
export const start = (
  client: SqliteClient.SqliteClient,
  config: SqlSessionStoreConfig,
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.tap(fromClient(client, config), () => sweepRemoved(client))

export const make = (
  config: SqlSessionStoreConfig,
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.flatMap(open(config), (client) => start(client, config))

export const layer = (config: SqlSessionStoreConfig): Layer.Layer<SessionStore, StoreUnavailable> =>
  Layer.effect(SessionStore, make(config))
