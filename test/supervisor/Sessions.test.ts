import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import type { SubscriptionBatch } from "../../src/supervisor/Runtime.ts"
import { during, inWorld, plain, settle } from "../support/FakeRuntime.ts"

const forked = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
const any = () => ({})
const silent = () => ({ answer: () => undefined })

describe("a name", () => {
  it.effect("belongs to one live or suspended session, and is free when that is stopped, failed or removed", () =>
    inWorld(any, ({ runtime, spawner }) =>
      Effect.gen(function* () {
        const start = runtime.start({ ...plain, name: "a", restart: "temporary" }, "fail")
        const first = yield* start
        expect(yield* Effect.flip(start)).toMatchObject({ _tag: "SessionAlreadyExists", field: "name" })
        yield* runtime.suspend("a")
        expect((yield* Effect.flip(start))._tag).toBe("SessionAlreadyExists")
        yield* runtime.stop("a", "graceful")
        const second = yield* start
        expect(second.id).not.toBe(first.id)
        expect((yield* runtime.get("a")).id).toBe(second.id)
        expect((yield* runtime.get(first.id)).status).toBe("stopped")
        // The older one may come back only while nobody else has its name.
        expect((yield* Effect.flip(runtime.restart(first.id)))._tag).toBe("SessionAlreadyExists")
        spawner.last.end(1)
        yield* settle
        expect((yield* runtime.restart(first.id)).status).toBe("ready")
        expect((yield* runtime.get("a")).id).toBe(first.id)
        yield* runtime.remove("a")
        expect((yield* start).status).toBe("ready")
      }),
    ),
  )

  it.effect(
    "is given to one of many that ask for it at once; with ifExists return all get the same session, ready",
    () =>
      inWorld(
        () => ({ spawnMs: 100 }),
        ({ runtime, spawner }) =>
          Effect.gen(function* () {
            const race = (name: string, ifExists: "fail" | "return") =>
              during(
                Effect.all(
                  Array.from({ length: 20 }, () => Effect.exit(runtime.start({ ...plain, name }, ifExists))),
                  { concurrency: "unbounded" },
                ),
              )
            const won = (yield* race("a", "fail")).filter((exit) => exit._tag === "Success")
            expect(won.length).toBe(1)
            const all = (yield* race("b", "return")).map((exit) => (exit._tag === "Success" ? exit.value : undefined))
            expect(new Set(all.map((session) => session?.id)).size).toBe(1)
            expect(new Set(all.map((session) => session?.status))).toEqual(new Set(["ready"]))
            expect(spawner.spawns).toBe(2)
          }),
      ),
  )

  it.effect("is made up where none is given, and never one that is taken", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "session-2" }, "fail")
        const names = [(yield* runtime.start(plain, "fail")).name, (yield* runtime.start(plain, "fail")).name]
        expect(names).toEqual(["session-1", "session-3"])
      }),
    ),
  )
})

it.effect("a task has at most one live session", () =>
  inWorld(any, ({ runtime }) =>
    Effect.gen(function* () {
      yield* runtime.start({ ...plain, name: "a", task: "t" }, "fail")
      const second = runtime.start({ ...plain, name: "b", task: "t" }, "fail")
      expect(yield* Effect.flip(second)).toMatchObject({ _tag: "SessionAlreadyExists", field: "task" })
      yield* runtime.stop("a", "graceful")
      expect((yield* second).name).toBe("b")
      expect((yield* runtime.list({ task: "t" })).sessions.map(({ name }) => name)).toEqual(["a", "b"])
    }),
  ),
)

describe("a list", () => {
  it.effect("shows what its filters say", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a", tags: { team: "x", env: "p" } }, "fail")
        yield* runtime.start({ ...plain, name: "b", tags: { team: "x" } }, "fail")
        yield* runtime.start({ ...plain, name: "c" }, "fail")
        yield* runtime.suspend("b")
        const names = (query: Parameters<typeof runtime.list>[0]) =>
          Effect.map(runtime.list(query), ({ sessions }) => sessions.map(({ name }) => name))
        expect(yield* names({})).toEqual(["a", "b", "c"])
        expect(yield* names({ tags: { team: "x" } })).toEqual(["a", "b"])
        expect(yield* names({ tags: { team: "x", env: "p" } })).toEqual(["a"])
        expect(yield* names({ status: "suspended" })).toEqual(["b"])
        expect(yield* names({ status: ["ready", "suspended"] })).toEqual(["a", "b", "c"])
        expect(yield* names({ supervisor: "root/other" })).toEqual([])
        expect(yield* names({ task: "t" })).toEqual([])
      }),
    ),
  )

  it.effect("comes in pages that miss nobody, also where the last of a page is removed before the next", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        for (let n = 0; n < 25; n++) yield* runtime.start({ ...plain, name: `s${n}` }, "fail")
        const seen: Array<string> = []
        let cursor: string | null | undefined
        do {
          const page = yield* runtime.list({ limit: 10, ...(cursor == null ? {} : { cursor }) })
          seen.push(...page.sessions.map(({ name }) => name))
          cursor = page.nextCursor
          if (cursor !== null) yield* runtime.remove(seen.at(-1)!)
        } while (cursor !== null)
        expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => `s${n}`))
        expect(yield* Effect.flip(runtime.list({ cursor: "nonsense" }))).toMatchObject({
          _tag: "InvalidParams",
          issues: [{ path: "cursor" }],
        })
      }),
    ),
  )
})

describe("a subscription", () => {
  it.effect("gives first what is stored after `after`, then what comes, while turns are written all the time", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        for (let n = 0; n < 5; n++) yield* runtime.ask({ session: "a", prompt: `${n}` })
        const subscription = yield* runtime.subscribe({ session: "a", after: 3 })
        const writing = yield* forked(
          Effect.forEach(Array.from({ length: 200 }), (_, n) => runtime.ask({ session: "a", prompt: `w${n}` })),
        )
        const seqs: Array<number> = []
        const wanted = 3 + 5 * 4 + 200 * 4
        while ((seqs.at(-1) ?? 0) < wanted) {
          const { entries, missed } = yield* subscription.pull(7)
          expect(missed).toEqual([])
          seqs.push(...entries.map(({ seq }) => seq))
        }
        yield* Fiber.join(writing)
        expect(seqs).toEqual(Array.from({ length: wanted - 3 }, (_, i) => i + 4))
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("without `after` gives only what is new, and only the types and the turn that were asked for", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        yield* runtime.ask({ session: "a", prompt: "old" })
        const live = yield* runtime.subscribe({ session: "a", types: ["turn/ended"] })
        const { id } = yield* runtime.ask({ session: "a", prompt: "new" })
        const { entries } = yield* live.pull()
        expect(entries.map((entry) => [entry.type, entry.turn])).toEqual([["turn/ended", id]])
        const ofTurn = yield* runtime.subscribe({ session: "a", after: 0, turn: id })
        expect((yield* ofTurn.pull()).entries.every((entry) => entry.turn === id)).toBe(true)
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("tells the range that the limits dropped, when its subscriber comes late", () =>
    inWorld(any, ({ runtime, store }) =>
      Effect.gen(function* () {
        const { id } = yield* runtime.start({ ...plain, name: "a", limits: { transcriptEntries: 10 } }, "fail")
        const behind = yield* runtime.subscribe({ session: "a", after: 0 })
        expect((yield* behind.pull(2)).entries.map(({ seq }) => seq)).toEqual([1, 2])
        for (let n = 0; n < 600; n++) yield* runtime.ask({ session: "a", prompt: "x" })
        const { trimmed } = yield* store.transcript(id, {})
        expect(trimmed).toBeGreaterThan(2)
        const { entries, missed } = yield* behind.pull()
        expect(missed).toEqual([{ session: id, after: 2, through: trimmed }])
        expect(entries[0]!.seq).toBe(trimmed + 1)
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("ends after the last entry when its session is removed, also where it waits, and says so again", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const live = yield* runtime.subscribe({ session: "a" })
        const late = yield* runtime.subscribe({ session: "a", after: 0 })
        const pulled: Array<SubscriptionBatch> = []
        const pulling = yield* forked(
          Effect.gen(function* () {
            do pulled.push(yield* live.pull())
            while (pulled.at(-1)!.ended !== true)
          }),
        )
        yield* runtime.ask({ session: "a", prompt: "x" })
        yield* during(runtime.remove("a"))
        yield* Fiber.join(pulling)
        const words = (batches: ReadonlyArray<SubscriptionBatch>) => batches.flatMap(({ entries }) => entries)
        expect(words(pulled).at(-1)).toMatchObject({ type: "status", status: "stopped" })
        expect(pulled.at(-1)).toEqual({ entries: [], missed: [], ended: true })
        const all: Array<SubscriptionBatch> = []
        do all.push(yield* late.pull(2))
        while (all.at(-1)!.ended !== true)
        expect(words(all).map(({ seq }) => seq)).toEqual(words(all).map((_, i) => i + 1))
        expect(words(all).at(-1)).toEqual(words(pulled).at(-1))
        expect(all.flatMap(({ missed }) => missed)).toEqual([])
        expect((yield* late.pull()).ended).toBe(true)
        expect((yield* Effect.flip(Effect.scoped(runtime.subscribe({ session: "a" }))))._tag).toBe("SessionNotFound")
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("that is far behind when its session is removed gets a batch and word of the rest", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        const { id } = yield* runtime.start({ ...plain, name: "a" }, "fail")
        const behind = yield* runtime.subscribe({ session: "a", after: 0 })
        for (let n = 0; n < 200; n++) yield* runtime.ask({ session: "a", prompt: "x" })
        const { seq } = yield* runtime.get("a")
        yield* during(runtime.remove("a"))
        expect((yield* behind.pull(200)).entries.at(-1)!.seq).toBe(200)
        const { entries } = yield* behind.pull()
        const last = yield* behind.pull()
        expect([entries.at(-1)!.seq, last.entries, last.ended]).toEqual([256, [], true])
        expect(last.missed).toEqual([{ session: id, after: 256, through: expect.any(Number) }])
        expect(last.missed[0]!.through).toBeGreaterThanOrEqual(seq)
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("loses nothing to a pull that is interrupted", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const live = yield* runtime.subscribe({ session: "a", types: ["turn/ended"] })
        for (let n = 0; n < 3; n++) {
          const pulling = yield* forked(live.pull())
          yield* settle
          yield* Fiber.interrupt(pulling)
        }
        yield* runtime.ask({ session: "a", prompt: "x" })
        expect((yield* live.pull()).entries.length).toBe(1)
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("to all sessions loses nothing to a pull that is interrupted between two of them, or in a read", () =>
    Effect.gen(function* () {
      const kept = Context.get(yield* Layer.build(MemorySessionStore.layer), SessionStore)
      let reads = 0
      let hangsAt = Infinity
      const store = SessionStore.of({
        ...kept,
        transcript: (session, query) => (++reads === hangsAt ? Effect.never : kept.transcript(session, query)),
      })
      yield* inWorld(
        any,
        ({ runtime }) =>
          Effect.gen(function* () {
            for (const name of ["a", "b", "c"]) yield* runtime.start({ ...plain, name }, "fail")
            const all = yield* runtime.subscribe({ types: ["turn/ended"] })
            for (const name of ["a", "b", "c"]) yield* runtime.ask({ session: name, prompt: "x" })
            for (const nth of [1, 2, 2]) {
              hangsAt = reads + nth
              const pulling = yield* forked(all.pull())
              yield* settle
              yield* Fiber.interrupt(pulling)
            }
            hangsAt = Infinity
            const { entries } = yield* all.pull()
            expect(new Set(entries.map(({ session }) => session)).size).toBe(3)
            expect(entries.length).toBe(3)
          }).pipe(Effect.scoped),
        { store },
      )
    }).pipe(Effect.scoped),
  )

  it.effect("to all sessions gives each one's entries in order, from now on, also of those that come later", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "old" }, "fail")
        yield* runtime.ask({ session: "old", prompt: "before" })
        const all = yield* runtime.subscribe({})
        const { seq } = yield* runtime.get("old")
        const { id } = yield* runtime.start({ ...plain, name: "new" }, "fail")
        yield* Effect.all(
          Array.from({ length: 100 }, (_, n) => runtime.ask({ session: n % 2 === 0 ? "old" : "new", prompt: "x" })),
          { concurrency: "unbounded" },
        )
        const seqs = new Map<string, Array<number>>()
        for (let count = 0; count < 50 * 4 * 2 + 3;) {
          const { entries } = yield* all.pull(16)
          expect(entries.length).toBeLessThanOrEqual(16)
          count += entries.length
          for (const entry of entries) seqs.set(entry.session, [...(seqs.get(entry.session) ?? []), entry.seq])
        }
        const old = (yield* runtime.get("old")).id
        expect(seqs.get(old)).toEqual(Array.from({ length: 200 }, (_, i) => seq + 1 + i))
        expect(seqs.get(id)).toEqual(Array.from({ length: 203 }, (_, i) => 1 + i))
        expect((yield* Effect.flip(runtime.subscribe({ after: 3 })))._tag).toBe("InvalidParams")
      }).pipe(Effect.scoped),
    ),
  )

  it.effect("to all sessions that nobody pulls keeps nothing of sessions that came and went", () =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        const all = yield* runtime.subscribe({})
        for (let n = 0; n < 20; n++) {
          yield* runtime.start({ ...plain, name: `s${n}` }, "fail")
          yield* runtime.remove(`s${n}`)
        }
        yield* runtime.start({ ...plain, name: "stays" }, "fail")
        const { entries, missed } = yield* all.pull()
        expect([entries.length, missed]).toEqual([3, []])
      }).pipe(Effect.scoped),
    ),
  )
})

describe("a session's own directory", () => {
  it.effect("is made for its start and goes with its removal, also when the start fails", () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), "creche-sessions-"))
    const { cwd: _, ...spec } = plain
    return inWorld(
      (spawn) => (spawn === 1 ? {} : { up: (process) => process.end(1) }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          yield* runtime.start({ ...spec, name: "a" }, "fail")
          const { cwd } = spawner.last.command
          expect(existsSync(cwd)).toBe(true)
          yield* runtime.remove("a")
          expect(existsSync(cwd)).toBe(false)
          const text = { type: "text", endOfTurn: { prompt: "> " } } as const
          yield* Effect.flip(runtime.start({ ...spec, name: "b", protocol: text }, "fail"))
          expect(existsSync(spawner.last.command.cwd)).toBe(false)
        }),
      { dataDirectory },
    ).pipe(Effect.ensuring(Effect.sync(() => rmSync(dataDirectory, { recursive: true, force: true }))))
  })
})

describe("a flood", () => {
  it.effect("of one line over the high-water mark is not paused for ever, and its line arrives", () =>
    inWorld(silent, ({ runtime, spawner }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const asked = yield* forked(runtime.ask({ session: "a", prompt: "x" }))
        const piece = "y".repeat(256 * 1024)
        for (let n = 0; n < 12; n++) {
          spawner.last.say(piece)
          expect(spawner.last.paused).toBe(false)
        }
        spawner.last.say("\n")
        expect((yield* Fiber.join(asked)).text.length).toBe(12 * piece.length)
        expect(spawner.last.paused).toBe(false)
      }),
    ),
  )
})

describe("a shutdown", () => {
  it.effect("tells every session, the last one started first, and waits for none before it tells the next", () => {
    const told: Array<string> = []
    return inWorld(
      () => ({ endMs: 100 }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          for (const name of ["a", "b", "c"]) yield* runtime.start({ ...plain, name, command: name }, "fail")
          for (const process of spawner.processes) {
            const terminate = process.terminate.bind(process)
            process.terminate = (shutdown) =>
              Effect.suspend(() => {
                if (process.alive) told.push(`${process.command.command} while ${spawner.alive().length} live`)
                return terminate(shutdown)
              })
          }
          yield* during(runtime.shutdown())
          expect(told).toEqual(["c while 3 live", "b while 3 live", "a while 3 live"])
        }),
    )
  })

  it.effect("is hurried by a later one that wants no drain", () =>
    inWorld(silent, ({ runtime }) =>
      Effect.gen(function* () {
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const endless = yield* forked(runtime.ask({ session: "a", prompt: "x" }))
        const patient = yield* forked(runtime.shutdown(3_600_000))
        expect(endless.pollUnsafe()).toBe(undefined)
        expect(yield* runtime.shutdown()).toEqual({ survivors: [] })
        expect(yield* Fiber.join(patient)).toEqual({ survivors: [] })
        expect((yield* Fiber.join(endless)).status).toBe("cancelled")
      }),
    ),
  )

  it.effect("refuses new work at once, lets running turns end within drainMs, and not longer", () =>
    inWorld(silent, ({ runtime, spawner }) =>
      Effect.gen(function* () {
        for (const name of ["a", "b"]) yield* runtime.start({ ...plain, name }, "fail")
        const quick = yield* forked(runtime.ask({ session: "a", prompt: "x" }))
        const endless = yield* forked(runtime.ask({ session: "b", prompt: "x" }))
        const down = yield* forked(runtime.shutdown(2_000))
        const joined = yield* forked(runtime.shutdown(2_000))
        for (const refused of [
          runtime.ask({ session: "a", prompt: "y" }),
          runtime.tell({ session: "a", prompt: "y" }),
          runtime.start({ ...plain, name: "c" }, "fail"),
          runtime.restart("a"),
          runtime.resume("a"),
        ]) {
          expect((yield* Effect.flip(refused as Effect.Effect<unknown, { readonly _tag: string }>))._tag).toBe(
            "Draining",
          )
        }
        expect((yield* runtime.health).status).toBe("draining")
        yield* TestClock.adjust(1_000)
        spawner.processes[0]!.say("made it\n")
        expect((yield* Fiber.join(quick)).status).toBe("completed")
        expect(endless.pollUnsafe()).toBe(undefined)
        yield* TestClock.adjust(1_000)
        expect((yield* Fiber.join(endless)).status).toBe("cancelled")
        expect(yield* Fiber.join(down)).toEqual({ survivors: [] })
        expect(yield* Fiber.join(joined)).toEqual({ survivors: [] })
        yield* runtime.closed
        expect(spawner.alive()).toEqual([])
      }),
    ),
  )

  it.effect("leaves nothing of a start, a restart and a backoff that are under way", () =>
    inWorld(
      (_, { command }) => (command === "slow" ? { spawnMs: 60_000 } : { endMs: 50 }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          const slow = yield* forked(Effect.exit(runtime.start({ ...plain, name: "s", command: "slow" }, "fail")))
          for (const name of ["a", "b"]) yield* runtime.start({ ...plain, name }, "fail")
          yield* forked(Effect.exit(runtime.restart("a")))
          spawner.of((yield* runtime.get("b")).id)[0]!.end(1)
          yield* settle
          yield* during(runtime.shutdown())
          yield* Fiber.join(slow)
          const { spawns } = spawner
          yield* TestClock.adjust(3_600_000)
          expect([spawner.alive().length, spawner.spawns]).toEqual([0, spawns])
          const tree = yield* runtime.tree
          expect(
            tree.type === "supervisor" && tree.children.map((child) => child.type === "session" && child.status),
          ).toEqual(["stopped", "stopped"])
        }),
    ),
  )

  it.effect("of 200 sessions whose children ignore the signal takes one grace, not 200", () =>
    inWorld(
      () => ({ endMs: 5_000 }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          for (let n = 0; n < 200; n++) yield* runtime.start({ ...plain, name: `s${n}` }, "fail")
          const down = yield* forked(runtime.shutdown())
          yield* TestClock.adjust(4_999)
          expect([spawner.alive().length, down.pollUnsafe()]).toEqual([200, undefined])
          yield* TestClock.adjust(1)
          expect(yield* Fiber.join(down)).toEqual({ survivors: [] })
          expect(spawner.alive()).toEqual([])
        }),
    ),
  )

  it.effect("names what could not be killed, and is not held up by it", () =>
    inWorld(
      (spawn) => ({ endMs: spawn === 2 ? Infinity : 100 }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          for (const name of ["a", "b", "c"]) yield* runtime.start({ ...plain, name }, "fail")
          const { pid } = spawner.processes[1]!
          expect(yield* during(runtime.shutdown())).toEqual({ survivors: [pid] })
          expect(yield* runtime.get("b")).toMatchObject({ status: "failed", survivors: [pid] })
          expect(yield* runtime.get("a")).toMatchObject({ status: "stopped", survivors: [] })
        }),
    ),
  )
})
