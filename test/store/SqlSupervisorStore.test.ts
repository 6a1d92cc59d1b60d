import { mkdtempSync, rmSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import { layerMemory, SupervisorStore } from "../../src/domain/SupervisorStore.ts"
import * as SqlStores from "../../src/store/SqlStores.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"
import { recordOf, suite } from "../contracts/SupervisorStoreSuite.ts"
import { StoreWriter } from "./StoreWriter.ts"

let directory = ""
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-store-"))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

let files = 0
const newFile = () => join(directory, `${files++}.db`)

suite("in memory", layerMemory)
suite("in an SQLite file", Layer.orDie(Layer.unwrap(Effect.sync(() => SqlStores.layer({ file: newFile() })))))

describe("the supervisors of a file", () => {
  const within = <A>(file: string, use: Effect.Effect<A, unknown, SessionStore | SupervisorStore>): Promise<A> =>
    Effect.runPromise(use.pipe(Effect.provide(SqlStores.layer({ file }))))
  const all = Effect.flatMap(SupervisorStore, (store) => store.supervisors)

  it("are there again when it is opened anew", async () => {
    const file = newFile()
    const records = [recordOf("root/a", { strategy: "one_for_all" }), recordOf("root/a/b")]
    await within(
      file,
      Effect.flatMap(SupervisorStore, (store) => Effect.forEach(records, store.put, { discard: true })),
    )
    expect(await within(file, all)).toEqual(records)
  })

  it("come to a file that was made before there were any, and its sessions stay", async () => {
    const file = newFile()
    const session = sessionOf("s")
    await within(
      file,
      Effect.flatMap(SessionStore, (store) => new StoreWriter(store, session).note()),
    )
    const older = new DatabaseSync(file)
    older.exec("DROP TABLE supervisors; DELETE FROM creche_migrations WHERE migration_id = 2")
    older.close()
    expect(await within(file, all)).toEqual([])
    await within(
      file,
      Effect.flatMap(SupervisorStore, (store) => store.put(recordOf("root/a"))),
    )
    expect(await within(file, all)).toEqual([recordOf("root/a")])
    const found = await within(
      file,
      Effect.flatMap(SessionStore, (store) => store.session(session.id)),
    )
    expect(found?.name).toBe("s")
  })
})
