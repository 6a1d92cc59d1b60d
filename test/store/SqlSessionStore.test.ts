import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import * as SqlSessionStore from "../../src/store/SqlSessionStore.ts"
import { suite as historySuite } from "../contracts/SessionStoreHistorySuite.ts"
import { suite as queriesSuite } from "../contracts/SessionStoreQueriesSuite.ts"
import { noThread } from "./HeldThread.ts"
import { suite } from "../contracts/SessionStoreSuite.ts"

/** A new file each time; gone with the scope. */
const inFile = (startThread: Partial<SqlSessionStore.SqlSessionStoreConfig> = {}): Layer.Layer<SessionStore> =>
  Layer.effect(
    SessionStore,
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "creche-store-"))),
      (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true })),
    ).pipe(Effect.flatMap((directory) => SqlSessionStore.make({ file: join(directory, "creche.db"), ...startThread }))),
  ).pipe(Layer.orDie)

for (const [name, layer] of [
  ["in an SQLite file", inFile()],
  ["in an SQLite file, without a thread", inFile({ startThread: noThread })],
] as const) {
  suite(name, layer, { archives: true })
  queriesSuite(name, layer, { archives: true })
  historySuite(name, layer)
}
queriesSuite("in memory", MemorySessionStore.layer)
historySuite("in memory", MemorySessionStore.layer)
