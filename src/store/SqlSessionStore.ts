/**
 * The store in an embedded SQLite file: what was acknowledged is there after any death of the runtime. Writes go
 * through `GroupCommit` in the order in which they came; reads see what is committed. One runtime per file.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { SessionStore } from "../domain/SessionStore.ts"
import { Checkpointer } from "./Checkpointer.ts"
import { CommitWriter } from "./CommitWriter.ts"
import { GroupCommit } from "./GroupCommit.ts"
import * as Migrations from "./Migrations.ts"
import * as SqliteClient from "./SqliteClient.ts"
import { SearchIndexing } from "./SearchIndexing.ts"
import { removeSession, retain, sizeOf, sweepRemoved } from "./SqlRetention.ts"
import { search } from "./SqlSearch.ts"
import { listSessions, readSession, readSessions } from "./SqlSessionList.ts"
import { readTranscript } from "./SqlTranscript.ts"
import { readRecoverable, readTurn, readTurnByKey } from "./SqlTurns.ts"

export interface SqlSessionStoreConfig extends SqliteClient.SqliteConfig {
  /** After each transaction of commits: how many shared it. */
  readonly onTransaction?: (commits: number) => void
}

/** What a step of retention or indexing counts for in the log, about. */
const writesOfOneStep = 32

/** The store over an open file that is migrated already. */
export const fromClient = (
  client: SqliteClient.SqliteClient,
  onTransaction: (commits: number) => void = () => {},
): Effect.Effect<SessionStore["Service"], never, Scope.Scope> =>
  Effect.gen(function* () {
    const writer = new CommitWriter(client)
    const checkpointer = yield* Checkpointer.make(client)
    /** For long work in many small transactions: they fill the log as well. */
    const background: SqliteClient.SqliteClient = {
      ...client,
      transaction: (body) => {
        const result = client.transaction(body)
        checkpointer.wrote(writesOfOneStep, 0)
        return result
      },
    }
    const indexing = new SearchIndexing(background)
    const commits = new GroupCommit({
      client,
      onRollback: () => writer.forget(),
      onTransaction: (count, size) => {
        onTransaction(count)
        indexing.noticed(count)
        checkpointer.wrote(count, size)
      },
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        indexing.stop()
        commits.flushAll()
      }),
    )
    const { attempt } = client
    return SessionStore.of({
      commit: (commit) => commits.submit(() => writer.prepare(commit)),
      transcript: (session, query) => attempt(() => readTranscript(client, session, query)),
      turn: (turn) => attempt(() => readTurn(client, turn)),
      turnByKey: (session, key) => attempt(() => readTurnByKey(client, session, key)),
      session: (session) => attempt(() => readSession(client, session)),
      sessions: attempt(() => readSessions(client)),
      list: (query) => attempt(() => listSessions(client, query)),
      recoverable: attempt(() => readRecoverable(client)),
      search: (query) => search(background, query),
      retain: (retention) => retain(background, retention),
      sizeBytes: attempt(() => sizeOf(client)),
      remove: (session) =>
        attempt(() => {
          // What the session's actor still had under way comes first, or it would bring the session back.
          commits.flushAll()
          writer.forget(session)
          removeSession(client, session)
        }).pipe(Effect.andThen(sweepRemoved(background))),
    })
  })

/** Opens or makes the file. Fails where it is locked, damaged, of another program or of a newer version; changes nothing then. */
export const make = (
  config: SqlSessionStoreConfig,
): Effect.Effect<SessionStore["Service"], StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const client = yield* SqliteClient.open(config)
    yield* Migrations.migrate(client)
    yield* sweepRemoved(client)
    return yield* fromClient(client, config.onTransaction)
  })

export const layer = (config: SqlSessionStoreConfig): Layer.Layer<SessionStore, StoreUnavailable> =>
  Layer.effect(SessionStore, make(config))
