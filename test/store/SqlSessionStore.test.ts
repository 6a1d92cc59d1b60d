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
import { suite } from "../contracts/SessionStoreSuite.ts"

/** A new file each time; gone with the scope. */
const inFile: Layer.Layer<SessionStore> = Layer.effect(
  SessionStore,
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "creche-store-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true })),
  ).pipe(Effect.flatMap((directory) => SqlSessionStore.make({ file: join(directory, "creche.db") }))),
).pipe(Layer.orDie)

suite("in an SQLite file", inFile, { archives: true })
queriesSuite("in an SQLite file", inFile, { archives: true })
queriesSuite("in memory", MemorySessionStore.layer)
historySuite("in an SQLite file", inFile)
historySuite("in memory", MemorySessionStore.layer)
