import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import * as MemoryTemplateStore from "../../src/domain/TemplateStore.ts"
import { TemplateStore } from "../../src/domain/TemplateStore.ts"
import { logSuffixes } from "../../src/store/CommitLog.ts"
import * as SqlStores from "../../src/store/SqlStores.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"
import { suite } from "../contracts/TemplateStoreSuite.ts"
import { allOf, StoreWriter } from "./StoreWriter.ts"

let directory = ""
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-store-"))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

let files = 0
const newFile = () => join(directory, `${files++}.db`)

suite("in memory", MemoryTemplateStore.layerMemory)
suite("in an SQLite file", Layer.orDie(Layer.unwrap(Effect.sync(() => SqlStores.layer({ file: newFile() })))))

describe("the stores of one file", () => {
  const within = <A>(file: string, use: Effect.Effect<A, unknown, SessionStore | TemplateStore>): Promise<A> =>
    Effect.runPromise(use.pipe(Effect.provide(SqlStores.layer({ file }))))

  it("are there again, templates and sessions, when it is opened anew", async () => {
    const file = newFile()
    await within(
      file,
      Effect.gen(function* () {
        yield* (yield* TemplateStore).put("a", { command: "cat", tags: { x: "1" } })
        yield* (yield* TemplateStore).put("b", { command: "tac" })
        yield* (yield* TemplateStore).remove("b")
        yield* new StoreWriter(yield* SessionStore, sessionOf("s")).note()
      }),
    )
    await within(
      file,
      Effect.gen(function* () {
        expect([...(yield* (yield* TemplateStore).templates)]).toEqual([["a", { command: "cat", tags: { x: "1" } }]])
        expect((yield* allOf(yield* SessionStore)).map(({ name }) => name)).toEqual(["s"])
      }),
    )
  })

  it("have a template in the files once it was put: a copy made then has it", async () => {
    const file = newFile()
    await within(
      file,
      Effect.gen(function* () {
        const store = yield* TemplateStore
        for (let i = 0; i < 5; i++) {
          yield* store.put(`t${i}`, { command: "x" })
          const copy = newFile()
          for (const side of ["", "-wal", ...logSuffixes])
            if (existsSync(file + side)) copyFileSync(file + side, copy + side)
          const found = yield* Effect.flatMap(TemplateStore, (other) => other.templates).pipe(
            Effect.provide(SqlStores.layer({ file: copy })),
          )
          expect(found.size).toBe(i + 1)
        }
      }),
    )
  })

  it("fail to open, all of them, saying what is wrong with the file", async () => {
    const file = newFile()
    writeFileSync(file, "no database")
    const refused = Effect.flip(
      Effect.provide(
        Effect.flatMap(TemplateStore, (store) => store.templates),
        SqlStores.layer({ file }),
      ),
    )
    expect((await Effect.runPromise(refused)).detail).toMatch(/not a sound database/)
    const place = newFile()
    mkdirSync(place)
    const other = Effect.flip(Effect.provide(SessionStore, SqlStores.layer({ file: place })))
    expect((await Effect.runPromise(other)).detail).toContain(place)
  })
})
