import { spawn } from "node:child_process"
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import type { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import { TemplateStore } from "../../src/domain/TemplateStore.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { BatchWriter } from "../../src/store/BatchWriter.ts"
import { logSuffixes } from "../../src/store/CommitLog.ts"
import { DatabaseSync } from "../../src/store/Sqlite.ts"
import * as SqlSessionStore from "../../src/store/SqlSessionStore.ts"
import * as SqlStores from "../../src/store/SqlStores.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"
import { HeldThread, noThread } from "./HeldThread.ts"
import { allOf, StoreWriter } from "./StoreWriter.ts"

let directory = ""
let file = ""
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-store-"))
  file = join(directory, "creche.db")
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(directory, { recursive: true, force: true })
})

type Store = SessionStore["Service"]

const withStore = <A>(
  thread: HeldThread | "own" | "none",
  use: (store: Store) => Effect.Effect<A, StoreUnavailable>,
): Promise<A> => {
  const startThread = thread === "own" ? {} : { startThread: thread === "none" ? noThread : thread.start }
  // The store may not be left with a thread that does nothing.
  const release = Effect.sync(() => thread instanceof HeldThread && thread.release())
  return Effect.runPromise(
    Effect.scoped(
      Effect.flatMap(SqlSessionStore.make({ file, busyTimeoutMs: 20, ...startThread }), (store) =>
        Effect.ensuring(use(store), release),
      ),
    ),
  )
}

const tick = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** Started, and let run as far as it gets. */
const begun = <A>(effect: Effect.Effect<A, StoreUnavailable>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let i = 0; i < 5; i++) yield* tick
    return fiber
  })

const isDone = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.pollUnsafe() !== undefined

/** A batch with the thread that has a session `a`, a turn of which is over and one is open. */
const underWay = (store: Store, thread: HeldThread) =>
  Effect.gen(function* () {
    const writer = new StoreWriter(store, sessionOf("a"))
    const over = writer.turn("over", "k1")
    yield* store.commit(writer.accepted(over))
    const [done, commit] = writer.ended(over, "t")
    yield* store.commit(commit)
    const open = writer.turn("open", "k2")
    yield* store.commit({ ...writer.accepted(open), history: { step: 1 } })
    const reading = yield* begun(allOf(store))
    expect(thread.batch?.sessions.length).toBe(1)
    return { writer, done, open, reading }
  })

const tables = () => {
  const database = new DatabaseSync(file)
  try {
    return database
      .prepare(
        "SELECT (SELECT count(*) FROM sessions) AS sessions, (SELECT sum(last_seq - first_seq + 1) FROM transcript) AS entries",
      )
      .get()
  } finally {
    database.close()
  }
}

describe("the tables", () => {
  it("are written by a thread of their own, and what reads them waits for it", () => {
    const write = vi.spyOn(BatchWriter.prototype, "write")
    return withStore("own", (store) =>
      Effect.gen(function* () {
        const writer = new StoreWriter(store, sessionOf("a"))
        yield* writer.note()
        expect((yield* allOf(store)).length).toBe(1)
        yield* writer.note()
        expect((yield* store.counts(0)).created).toBe(1)
        expect(tables()).toEqual({ sessions: 1, entries: 2 })
        expect(write).not.toHaveBeenCalled()
      }),
    )
  })

  it("are behind while the thread works: what a session itself needs is answered all the same, old and new as one", () => {
    const thread = new HeldThread()
    return withStore(thread, (store) =>
      Effect.gen(function* () {
        const { writer, done, open, reading } = yield* underWay(store, thread)
        const id = writer.session.id
        const look = Effect.gen(function* () {
          const running: Turn = { ...open, status: "running" }
          expect((yield* store.transcript(id, {})).entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4])
          expect((yield* store.transcript(id, { after: 2, limit: 1 })).entries.map(({ seq }) => seq)).toEqual([3])
          expect((yield* store.transcript(id, { types: ["turn/started"] })).entries.map(({ seq }) => seq)).toEqual([4])
          expect((yield* store.transcript(id, { turn: open.id })).entries.map(({ seq }) => seq)).toEqual([3, 4])
          expect(yield* store.turn(done.id)).toEqual(done)
          expect(yield* store.turnByKey(id, "k1")).toEqual(done)
          expect(yield* store.turnByKey(id, "k2")).toEqual(running)
          expect((yield* store.turns(id, {})).turns).toEqual([running, done])
          expect(yield* store.recover(id)).toEqual({
            session: writer.session,
            openTurns: [running],
            history: { step: 1 },
          })
          expect(yield* store.session(id)).toEqual(writer.session)
          expect((yield* store.find("a"))?.seq).toBe(4)
          expect(yield* store.ids).toEqual([id])
        })
        const started: Turn = { ...open, status: "running" }
        yield* writer.write([[{ type: "turn/started", attempt: 1 }, started]], [started])
        yield* look
        expect([isDone(reading), tables()]).toEqual([false, { sessions: 0, entries: null }])
        // In the tables, and nobody has said so yet.
        thread.apply()
        yield* look
        expect(isDone(reading)).toBe(false)
        thread.answer()
        expect((yield* Fiber.join(reading)).length).toBe(1)
        yield* look
        const again = yield* begun(store.counts(0))
        thread.apply()
        thread.answer()
        yield* Fiber.join(again)
        yield* look
      }),
    )
  })

  it("take a removal, a retention and a template only when the thread is not at work", async () => {
    const thread = new HeldThread()
    const scope = Effect.runSync(Scope.make())
    const context = await Effect.runPromise(
      Layer.buildWithScope(SqlStores.layer({ file, startThread: thread.start }), scope),
    )
    await Effect.runPromise(
      Effect.gen(function* () {
        const store = Context.get(context, SessionStore)
        const { writer } = yield* underWay(store, thread)
        const removing = yield* begun(store.remove(writer.session.id))
        const putting = yield* begun(Context.get(context, TemplateStore).put("t", { command: "x" }))
        const retaining = yield* begun(store.retain({ maxAgeMs: 0, now: 1e9 }))
        // Its actor had one more under way, which comes in meanwhile.
        const late = yield* begun(writer.note())
        expect([removing, putting, retaining].map(isDone)).toEqual([false, false, false])
        yield* Fiber.join(late)
        while (thread.batch !== undefined) {
          thread.apply()
          thread.answer()
          for (let i = 0; i < 5; i++) yield* tick
        }
        yield* Fiber.join(removing)
        yield* Fiber.join(putting)
        yield* Fiber.join(retaining)
        expect(yield* store.session(writer.session.id)).toBe(undefined)
        expect(yield* store.ids).toEqual([])
        expect(tables()).toEqual({ sessions: 0, entries: null })
        // The same id again is another session.
        yield* new StoreWriter(store, sessionOf("a")).note()
        const counting = yield* begun(store.counts(0))
        thread.apply()
        thread.answer()
        expect((yield* Fiber.join(counting)).created).toBe(2)
      }),
    )
    thread.release()
    await Effect.runPromise(Scope.close(scope, Exit.void))
  })

  it("never lag behind without bound: then a commit waits, and goes on when the thread has done something", () => {
    const thread = new HeldThread()
    return withStore(thread, (store) =>
      Effect.gen(function* () {
        const text = "x".repeat(1024 * 1024)
        let taken = 0
        const note = (writer: StoreWriter) =>
          Effect.andThen(
            writer.note(text),
            Effect.sync(() => taken++),
          )
        const settled = Effect.gen(function* () {
          for (let before = -1; before < taken;) {
            before = taken
            for (let i = 0; i < 50; i++) yield* tick
          }
        })
        const writer = new StoreWriter(store, sessionOf("a"))
        const flooding = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 10 }), () => note(writer), { discard: true }),
          { startImmediately: true },
        )
        yield* settled
        // One session has its share, and the others go past it.
        expect(taken).toBeLessThanOrEqual(2)
        const others = Array.from({ length: 30 }, (_, at) => new StoreWriter(store, sessionOf(`b${at}`)))
        const writing = yield* Effect.forkChild(
          Effect.forEach(others, note, { concurrency: "unbounded", discard: true }),
          { startImmediately: true },
        )
        yield* settled
        expect(taken).toBeGreaterThan(14)
        expect(taken).toBeLessThan(20)
        for (const suffix of logSuffixes) expect(statSync(file + suffix).size).toBeLessThan(20 * 1024 * 1024)
        while (!isDone(writing) || !isDone(flooding)) {
          if (thread.batch !== undefined) {
            thread.apply()
            thread.answer()
          }
          yield* tick
        }
        expect(taken).toBe(40)
        expect((yield* store.transcript(writer.session.id, {})).entries.length).toBe(10)
      }),
    )
  })

  it("get a batch again that the thread could not write, and no reader is left waiting", () => {
    const thread = new HeldThread()
    return withStore(thread, (store) =>
      Effect.gen(function* () {
        const { writer, reading } = yield* underWay(store, thread)
        yield* writer.note()
        const refusal = Object.assign(new Error("database is locked"), { code: "ERR_SQLITE_ERROR", errcode: 5 })
        thread.answer(refusal)
        const { detail } = yield* Effect.orDie(Effect.flip(Fiber.join(reading)))
        expect(detail).toMatch(/creche\.db is locked by another process/)
        expect((yield* store.transcript(writer.session.id, {})).entries.length).toBe(4)
        yield* writer.note()
        const again = yield* begun(allOf(store))
        while (!isDone(again)) {
          thread.apply()
          thread.answer()
          yield* tick
        }
        expect((yield* Fiber.join(again))[0]).toEqual(writer.session)
        expect(tables()).toEqual({ sessions: 1, entries: 5 })
      }),
    )
  })

  it.each([
    ["with its batch undone", false],
    ["when its batch was in the tables", true],
  ])("are written in the runtime's own thread after the other died, %s", (_, applied) => {
    const thread = new HeldThread()
    return withStore(thread, (store) =>
      Effect.gen(function* () {
        const { writer, reading } = yield* underWay(store, thread)
        yield* writer.note()
        if (applied) thread.apply()
        thread.die()
        expect((yield* Fiber.join(reading))[0]?.id).toBe(writer.session.id)
        yield* writer.note()
        expect((yield* allOf(store))[0]).toEqual(writer.session)
        expect(tables()).toEqual({ sessions: 1, entries: 5 })
        expect(thread.batches).toBe(1)
      }),
    )
  })

  it("are written in the runtime's own thread where there is no other", () =>
    withStore("none", (store) =>
      Effect.gen(function* () {
        yield* new StoreWriter(store, sessionOf("a")).note()
        expect((yield* allOf(store)).length).toBe(1)
        yield* store.remove("ses_a" as SessionId)
        expect(tables()).toEqual({ sessions: 0, entries: null })
      }),
    ))

  it("have everything once the store is closed, also what was with the thread", async () => {
    const thread = new HeldThread()
    await withStore(thread, (store) =>
      Effect.gen(function* () {
        const { writer } = yield* underWay(store, thread)
        yield* writer.note()
        expect(tables()).toEqual({ sessions: 0, entries: null })
      }),
    )
    expect(thread.ended).toBe(true)
    expect(tables()).toEqual({ sessions: 1, entries: 4 })
    for (const suffix of logSuffixes) expect(existsSync(file + suffix)).toBe(false)
  })

  it.each([
    ["before the thread wrote its batch", false],
    ["between that and word of it", true],
  ])("get what stands in both files of the log when the process died %s", async (_, applied) => {
    const thread = new HeldThread()
    const copy = join(directory, "copy.db")
    let turns: ReadonlyArray<Turn> = []
    await withStore(thread, (store) =>
      Effect.gen(function* () {
        const { writer, done, open } = yield* underWay(store, thread)
        // All that may be null is.
        const plain = writer.turn("plain")
        yield* store.commit(writer.accepted(plain))
        yield* writer.note()
        turns = [plain, open, done]
        if (applied) thread.apply()
        for (const side of ["", "-wal", ...logSuffixes]) {
          if (existsSync(file + side)) copyFileSync(file + side, copy + side)
        }
        if (!applied) thread.apply()
        thread.answer()
      }),
    )
    for (let i = 0; i < 2; i++) {
      const found = await Effect.runPromise(
        Effect.scoped(
          Effect.flatMap(SqlSessionStore.make({ file: copy }), (store) =>
            Effect.all([store.transcript("ses_a" as SessionId, {}), store.turns("ses_a" as SessionId, {})]),
          ),
        ),
      )
      expect(found[0].entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5])
      expect(found[1].turns).toEqual(turns)
    }
  })

  it("keep no process alive, unless somebody waits for them", async () => {
    const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)
    const program = `
      const { make } = await import(${at("../../src/store/SqlSessionStore.ts")})
      const { StoreWriter, allOf } = await import(${at("./StoreWriter.ts")})
      const Effect = await import(${at("../../node_modules/effect/dist/Effect.js")})
      const Scope = await import(${at("../../node_modules/effect/dist/Scope.js")})
      const session = JSON.parse(${JSON.stringify(JSON.stringify(sessionOf("a")))})
      const scope = Effect.runSync(Scope.make())
      const store = await Effect.runPromise(Scope.provide(make({ file: ${JSON.stringify(file)} }), scope))
      const writer = new StoreWriter(store, session)
      await Effect.runPromise(writer.note())
      console.log((await Effect.runPromise(allOf(store))).length)
      // So much that commits wait for the tables.
      for (let i = 0; i < 60; i++) await Effect.runPromise(writer.note("x".repeat(1_000_000)))
      await Effect.runPromise(writer.note())`
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "pipe"] })
    let said = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += String(chunk)))
    const code = await new Promise((resolve) => child.on("close", resolve))
    expect([said, code]).toEqual(["1\n", 0])
    await withStore("own", (store) =>
      Effect.map(store.transcript("ses_a" as SessionId, {}), ({ entries }) => expect(entries.length).toBe(62)),
    )
  })

  it("are given nothing more while they end, also where a large batch is due just then, and nothing is lost", async () => {
    class SlowToEnd extends HeldThread {
      override async end(): Promise<void> {
        await super.end()
        for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const thread = new SlowToEnd()
    thread.release()
    const commits = Array.from({ length: 3_000 }, (_, i) => ({ session: sessionOf(`s${i}`), entries: [], turns: [] }))
    await withStore(thread, (store) =>
      Effect.gen(function* () {
        yield* store.commit({ session: sessionOf("first"), entries: [], turns: [] })
        yield* store.ids
        yield* store.list({ limit: 1 })
        for (const commit of commits) yield* Effect.forkDetach(store.commit(commit), { startImmediately: true })
      }),
    )
    expect(thread.ended).toBe(true)
    await withStore("none", (store) => Effect.map(store.ids, (ids) => expect(ids.length).toBe(3_001)))
  })
})
