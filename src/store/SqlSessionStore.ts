/**
 * The store in an embedded SQLite file: what was acknowledged is there after any death of the runtime. A commit is durable
 * in the log beside the file and moves into the tables with many others; what reads looks at both. One runtime per file.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { SessionStore } from "../domain/SessionStore.ts"
import { Checkpointer } from "./Checkpointer.ts"
import { CommitBatch } from "./CommitBatch.ts"
import { CommitLog, readLog } from "./CommitLog.ts"
import { CommitWriter } from "./CommitWriter.ts"
import { GroupCommit } from "./GroupCommit.ts"
import * as Migrations from "./Migrations.ts"
import { fromLogText } from "./PreparedCommit.ts"
import { SearchIndexing } from "./SearchIndexing.ts"
import * as SqliteClient from "./SqliteClient.ts"
import { removeSession, retain, sizeOf, sweepRemoved } from "./SqlRetention.ts"
import { search } from "./SqlSearch.ts"
import { countSessions, findSession, listSessions, readIds, readSession } from "./SqlSessionList.ts"
import { readTranscript } from "./SqlTranscript.ts"
import { readRecoverable, readRecovered, readTurn, readTurnByKey, readTurns } from "./SqlTurns.ts"

export interface SqlSessionStoreConfig extends SqliteClient.SqliteConfig {
  /** After each write to the log: how many commits shared it. */
  readonly onGroup?: (commits: number) => void
}

/** What a step of retention or indexing counts for in SQLite's own log, about. */
const writesOfOneStep = 32

/** Takes into the tables what a process that died has left in the log. */
const replay = (client: SqliteClient.SqliteClient, writer: CommitWriter, file: string): number => {
  const epoch = client.prepare("SELECT epoch FROM log_progress").get()!["epoch"] as number
  const records = readLog(file, epoch)
  if (records.length === 0) return epoch
  const batch = new CommitBatch()
  for (const record of records) {
    for (const commit of fromLogText(record)) batch.add(commit, undefined, 0)
  }
  client.transaction(() => writer.write(batch, epoch + 1))
  return epoch + 1
}

/** The store over an open file that is migrated already. */
export const fromClient = (
  client: SqliteClient.SqliteClient,
  onGroup: (commits: number) => void = () => {},
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const { attempt } = client
    const writer = new CommitWriter(client)
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
        const file = client.file + SqliteClient.logSuffix
        const log = new CommitLog(file, replay(client, writer, file), client.durability === "power")
        return new GroupCommit({
          client,
          log,
          writer,
          onGroup,
          onApplied: (count, size) => {
            indexing.noticed(count)
            checkpointer.wrote(count, size)
          },
        })
      }),
      (opened) =>
        Effect.sync(() => {
          indexing.stop()
          opened.close()
        }),
    )
    /** For what only the tables can answer. */
    const settled = <A>(body: () => A): Effect.Effect<A, StoreUnavailable> =>
      attempt(() => {
        commits.apply()
        return body()
      })
    const settle = settled(() => {})
    return SessionStore.of({
      commit: (commit) => commits.submit(commit),
      transcript: (session, query) =>
        attempt(() => {
          const batched = commits.batch.sessions.get(session)
          if (batched?.session?.spec.limits.transcriptBytes !== undefined) commits.apply()
          return readTranscript(client, session, query, commits.batch)
        }),
      turn: (turn) => attempt(() => readTurn(client, turn, commits.batch)),
      turnByKey: (session, key) => attempt(() => readTurnByKey(client, session, key, commits.batch)),
      session: (session) => attempt(() => commits.batch.sessions.get(session)?.session ?? readSession(client, session)),
      ids: attempt(() => readIds(client, commits.batch)),
      find: (ref) => attempt(() => findSession(client, ref, commits.batch)),
      turns: (session, query) => attempt(() => readTurns(client, session, query, commits.batch)),
      counts: (now) => settled(() => countSessions(client, now)),
      recover: (session) => attempt(() => readRecovered(client, session, commits.batch)),
      list: (query) => settled(() => listSessions(client, query)),
      recoverable: settled(() => readRecoverable(client)),
      search: (query) => Effect.andThen(settle, search(background, query)),
      retain: (retention) => Effect.andThen(settle, retain(background, retention)),
      sizeBytes: settled(() => sizeOf(client)),
      remove: (session) =>
        attempt(() => {
          // What the session's actor still had under way comes first, or it would bring the session back.
          commits.flushAll()
          commits.apply()
          writer.forget(session)
          removeSession(client, session)
        }).pipe(Effect.andThen(sweepRemoved(background))),
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
  { onGroup }: SqlSessionStoreConfig,
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.tap(fromClient(client, onGroup), () => sweepRemoved(client))

export const make = (
  config: SqlSessionStoreConfig,
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.flatMap(open(config), (client) => start(client, config))

export const layer = (config: SqlSessionStoreConfig): Layer.Layer<SessionStore, StoreUnavailable> =>
  Layer.effect(SessionStore, make(config))
