import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { SessionStore } from "../../src/domain/SessionStore.ts"
import { logSuffixes } from "../../src/store/CommitLog.ts"
import { DatabaseSync } from "../../src/store/Sqlite.ts"
import * as SqlSessionStore from "../../src/store/SqlSessionStore.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"
import { allOf, StoreWriter } from "./StoreWriter.ts"

let directory = ""
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-store-"))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

let files = 0

const withStore = <A>(
  use: (store: SessionStore["Service"], groups: Array<number>, file: string) => Effect.Effect<A, StoreUnavailable>,
): Promise<A> => {
  const groups: Array<number> = []
  const file = join(directory, `${files++}.db`)
  return Effect.runPromise(
    Effect.scoped(
      Effect.flatMap(SqlSessionStore.make({ file, onGroup: (count) => void groups.push(count) }), (store) =>
        use(store, groups, file),
      ),
    ),
  )
}

const writersOf = (store: SessionStore["Service"], count: number) =>
  Array.from({ length: count }, (_, i) => new StoreWriter(store, sessionOf(`s${i}`)))

const inParallel = { concurrency: "unbounded", discard: true } as const

describe("commits of many sessions", () => {
  it("share transactions: 64 at once take one", () =>
    withStore((store, groups) =>
      Effect.gen(function* () {
        yield* Effect.forEach(writersOf(store, 64), (writer) => writer.note(), inParallel)
        expect(groups).toEqual([64])
      }),
    ))

  it("keep sharing while each session waits for its own", () =>
    withStore((store, groups) =>
      Effect.gen(function* () {
        yield* Effect.forEach(
          writersOf(store, 64),
          (writer) => Effect.forEach(Array.from({ length: 50 }), () => writer.note(), { discard: true }),
          inParallel,
        )
        expect(groups.reduce((a, b) => a + b)).toBe(64 * 50)
        expect(groups.length).toBeLessThan(500)
      }),
    ))

  it("are answered only when they are in the files: a copy made then has each", () =>
    withStore((store, _, file) =>
      Effect.gen(function* () {
        let copies = 0
        yield* Effect.forEach(
          writersOf(store, 4),
          (writer) =>
            Effect.forEach(
              Array.from({ length: 10 }),
              () =>
                Effect.gen(function* () {
                  yield* writer.note()
                  const { id, seq } = writer.session
                  const copy = join(directory, `copy-${id}-${copies++}.db`)
                  for (const side of ["", "-wal", ...logSuffixes]) {
                    if (existsSync(file + side)) copyFileSync(file + side, copy + side)
                  }
                  const found = yield* Effect.scoped(
                    Effect.flatMap(SqlSessionStore.make({ file: copy }), (other) => other.transcript(id, {})),
                  )
                  expect(found.entries.length).toBeGreaterThanOrEqual(seq)
                }),
              { discard: true },
            ),
          inParallel,
        )
        expect(copies).toBe(40)
      }),
    ))

  it("are split where they hold much, so that nothing else waits long", () =>
    withStore((store, groups) =>
      Effect.gen(function* () {
        const much = "x".repeat(1024 * 1024)
        let ticks = 0
        const ticking = setInterval(() => ticks++, 0)
        yield* Effect.forEach(writersOf(store, 32), (writer) => writer.note(much), inParallel)
        clearInterval(ticking)
        expect(ticks).toBeGreaterThan(0)
        expect(groups.length).toBeGreaterThanOrEqual(6)
        expect(Math.max(...groups)).toBeLessThanOrEqual(5)
        groups.length = 0
        yield* Effect.forEach(writersOf(store, 1_000), (writer) => writer.write([], [], {}), inParallel)
        expect(Math.max(...groups)).toBeLessThanOrEqual(256)
      }),
    ))

  it("are written although nobody waits any more, and before their session is removed", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const [a, b] = writersOf(store, 2)
        const waiting = yield* Effect.forkChild(a!.note(), { startImmediately: true })
        yield* Fiber.interrupt(waiting)
        yield* b!.note()
        expect((yield* allOf(store)).map(({ name }) => name)).toEqual(["s0", "s1"])
        yield* Effect.forkChild(a!.note(), { startImmediately: true })
        yield* store.remove(a!.session.id)
        yield* b!.note()
        expect((yield* allOf(store)).map(({ name }) => name)).toEqual(["s1"])
      }),
    ))

  it("that are under way when the store closes are written", async () => {
    const file = join(directory, "closing.db")
    await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const store = yield* SqlSessionStore.make({ file })
          for (const writer of writersOf(store, 300)) yield* Effect.forkChild(writer.note(), { startImmediately: true })
        }),
      ),
    )
    const reader = new DatabaseSync(file)
    expect(reader.prepare("SELECT count(*) AS count FROM sessions").get()).toEqual({ count: 300 })
    reader.close()
  })
})
