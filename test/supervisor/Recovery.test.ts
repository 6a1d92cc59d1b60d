import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { SessionStore } from "../../src/domain/SessionStore.ts"
import type { Command } from "../../src/process/Command.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { keep, takeUp } from "../../src/supervisor/KeptHistory.ts"
import { noHistory } from "../../src/supervisor/RestartPolicy.ts"
import { during, inWorld, lastingStore, plain, settle, until, words, type World } from "../support/FakeRuntime.ts"
import type { Script } from "../support/FakeSpawner.ts"

type Use<A> = (world: World) => Effect.Effect<A, unknown>
type Behaviour = (spawn: number, command: Command) => Script

/** Two runtimes, one after the other, over one store; the first one is killed or ends in order. */
const across = <A, B>(
  how: "killed" | "shut down",
  first: Use<A>,
  then: (world: World, before: A) => Effect.Effect<B, unknown>,
  options: {
    readonly script?: Behaviour
    readonly downMs?: number
    readonly restarts?: { burst: number; perSecond: number }
  } = {},
): Effect.Effect<B, unknown> =>
  Effect.gen(function* () {
    const { script = () => ({}), downMs = 0, restarts } = options
    const lasting = lastingStore()
    const opened = lasting.opened()
    const shared = restarts === undefined ? {} : { restarts }
    const before = yield* inWorld(
      script,
      (world) => Effect.tap(first(world), () => Effect.sync(() => how === "killed" && opened.die())),
      { ...shared, store: opened.store },
    )
    yield* TestClock.adjust(downMs)
    return yield* inWorld(script, (world) => then(world, before), { ...shared, store: lasting.opened().store })
  })

const start = ({ runtime }: World, spec: SessionSpecInput) => runtime.start({ ...plain, ...spec }, "fail")
const ends = ({ runtime }: World, name: string) =>
  Effect.map(runtime.transcript(name, { types: ["turn/ended"] }), ({ entries }) =>
    entries.flatMap((entry) => (entry.type === "turn/ended" ? [[entry.status, entry.text, entry.stopReason]] : [])),
  )
const silent: Behaviour = () => ({ answer: () => undefined })

describe("a runtime that was killed and comes back", () => {
  it.effect("has every session that should live, asleep, and starts permanent ones at once", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          for (const restart of ["permanent", "transient", "temporary"] as const) {
            yield* start(world, { name: restart, restart })
          }
          for (const name of ["asleep", "over"]) yield* start(world, { name, restart: "permanent" })
          yield* world.runtime.suspend("asleep")
          yield* world.runtime.stop("over", "graceful")
          yield* TestClock.adjust(10)
        }),
      ({ runtime }) =>
        Effect.gen(function* () {
          yield* settle
          const { sessions } = yield* runtime.list({})
          expect(sessions.map(({ name, status, suspendedBy }) => [name, status, suspendedBy])).toEqual([
            ["permanent", "ready", null],
            ["transient", "suspended", "runtime"],
            ["temporary", "stopped", null],
            ["asleep", "suspended", "client"],
            ["over", "stopped", null],
          ])
          expect(sessions[1]!.exit).toMatchObject({ kind: "killedByRuntime", detail: "the runtime ended" })
          expect(sessions[1]!.deaths.map(({ incarnation }) => incarnation)).toEqual([1])
          expect(sessions[0]!.incarnation).toBe(2)
          expect(words((yield* runtime.transcript("transient", {})).entries)).toEqual([
            "starting",
            "process/spawned",
            "ready",
            "process/exited",
            "suspended",
          ])
          expect((yield* runtime.ask({ session: "transient", prompt: "hi" })).text).toBe("hi")
        }),
    ),
  )

  it.effect(
    "tells that the running turn is lost, with what was heard of it, and answers those that waited, in order",
    () => {
      let answers = false
      return across(
        "killed",
        (world) =>
          Effect.gen(function* () {
            yield* start(world, { name: "a", protocol: { type: "ndjson", end: { type: "result" } }, retryTurns: 3 })
            const turns = yield* Effect.forEach(["1", "2", "3"], (prompt) =>
              world.runtime.tell({ session: "a", prompt }),
            )
            world.spawner.last.say('{"delta":"so "}\n{"delta":"far"}\n')
            yield* settle
            answers = true
            return turns
          }),
        (world, turns) =>
          Effect.gen(function* () {
            const { runtime } = world
            const outcomes = yield* Effect.forEach(turns, ({ id }) => runtime.wait(id))
            expect(outcomes.map(({ status }) => status)).toEqual(["lost", "completed", "completed"])
            expect(outcomes[0]).toMatchObject({ text: "so far", error: { tag: "RuntimeEnded" }, stopReason: "lost" })
            expect((yield* ends(world, "a")).map(([status]) => status)).toEqual(["lost", "completed", "completed"])
            expect((yield* runtime.get("a")).turns).toEqual({ queued: 0, running: 0, completed: 2, failed: 1 })
          }),
        { script: () => ({ answer: () => (answers ? '{"type":"result","text":"hi"}' : undefined) }) },
      )
    },
  )

  it.effect("forgets a first start that it never told anybody of, unless a turn was taken in", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          for (const name of ["untold", "told"]) {
            yield* Effect.forkChild(start(world, { name }), { startImmediately: true })
          }
          yield* settle
          return yield* world.runtime.tell({ session: "told", prompt: "hi" })
        }),
      (world, turn) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          expect((yield* Effect.flip(runtime.get("untold")))._tag).toBe("SessionNotFound")
          spawner.script = () => ({})
          yield* until(() => spawner.alive().length === 1, "up", 10)
          expect((yield* runtime.wait(turn.id)).text).toBe("hi")
        }),
      { script: () => ({ spawnMs: 1_000 }) },
    ),
  )

  it.effect("knows the keys of before, and gives names and ids that nobody had", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          const session = yield* world.runtime.start({ ...plain }, "fail")
          const turn = yield* world.runtime.ask({ session: session.id, prompt: "once", idempotencyKey: "k" })
          yield* world.runtime.stop(session.id, "graceful")
          return { session, turn }
        }),
      ({ runtime, spawner }, { session, turn }) =>
        Effect.gen(function* () {
          // Only on record: found by id and by name, asked for what it was, and brought back.
          expect((yield* runtime.get(session.name)).status).toBe("stopped")
          expect((yield* runtime.history(session.id, {})).turns.map(({ id }) => id)).toEqual([turn.id])
          yield* runtime.restart(session.name)
          const again = yield* runtime.ask({ session: session.name, prompt: "twice", idempotencyKey: "k" })
          expect([again.id, again.text]).toEqual([turn.id, "once"])
          expect(spawner.last.input).toBe("")
          const other = yield* runtime.start({ ...plain }, "fail")
          expect(other.name).not.toBe(session.name)
          expect((yield* runtime.ask({ session: session.id, prompt: "new" })).id).not.toBe(turn.id)
        }),
    ),
  )

  it.effect("counts the restarts of before, and gives up when the limit is reached", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* start(world, {
            name: "a",
            restart: "permanent",
            intensity: { maxRestarts: 3, withinMs: 60_000 },
            backoff: { initialMs: 10, jitter: 0 },
          })
          for (let i = 0; i < 2; i++) {
            world.spawner.last.end(1)
            yield* until(() => world.spawner.alive().length === 1, "back")
          }
        }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          yield* until(() => spawner.alive().length === 1, "back")
          expect((yield* runtime.get("a")).restarts).toBe(2)
          spawner.last.end(1)
          yield* until(() => spawner.alive().length === 1, "back")
          spawner.last.end(1)
          yield* TestClock.adjust(10_000)
          expect((yield* runtime.get("a")).status).toBe("failed")
          expect(spawner.spawns).toBe(2)
        }),
    ),
  )

  it.effect("counts how often a turn was tried before", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* start(world, {
            name: "a",
            restart: "permanent",
            retryTurns: 1,
            backoff: { initialMs: 5_000, jitter: 0 },
          })
          const turn = yield* world.runtime.tell({ session: "a", prompt: "hi" })
          world.spawner.last.end(1)
          yield* settle
          return turn
        }),
      ({ runtime, spawner }, turn) =>
        Effect.gen(function* () {
          yield* until(() => spawner.alive().length === 1, "back")
          yield* settle
          spawner.last.end(1)
          yield* settle
          expect(yield* runtime.turn(turn.id)).toMatchObject({ status: "failed", error: { tag: "ProcessExited" } })
        }),
      { script: silent },
    ),
  )

  it.effect("lets time pass that passed without it: expiry, and how long a turn may wait", () => {
    let spawnMs = 0
    return across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { name: "short", expiresInMs: 5_000 })
          yield* start(world, { name: "long", expiresInMs: 15_000 })
          yield* start(world, { name: "extended", expiresInMs: 1_000 })
          yield* world.runtime.extend("extended", 60_000)
          yield* start(world, { name: "for-ever", expiresInMs: 1_000 })
          yield* world.runtime.extend("for-ever", null)
          yield* start(world, { name: "busy" })
          yield* world.runtime.tell({ session: "busy", prompt: "1" })
          const turn = yield* world.runtime.tell({ session: "busy", prompt: "2", timeoutMs: 12_000 })
          spawnMs = 20_000
          return turn
        }),
      ({ runtime, store }, turn) =>
        Effect.gen(function* () {
          yield* settle
          const names = Effect.map(runtime.list({}), ({ sessions }) => sessions.map(({ name }) => name).toSorted())
          expect(yield* names).toEqual(["busy", "extended", "for-ever", "long"])
          expect((yield* store.ids).length).toBe(4)
          expect((yield* runtime.turn(turn.id)).status).toBe("queued")
          yield* TestClock.adjust(12_000)
          expect((yield* runtime.turn(turn.id)).status).toBe("timed_out")
          expect(yield* names).toEqual(["busy", "extended", "for-ever"])
          expect((yield* runtime.get("for-ever")).expiresAt).toBe(null)
        }),
      { script: () => ({ answer: () => undefined, spawnMs }), downMs: 6_000 },
    )
  })

  it.effect("starts many permanent sessions as briskly as restarts may be", () =>
    across(
      "killed",
      (world) => Effect.forEach(Array.from({ length: 30 }), () => start(world, { restart: "permanent" })),
      ({ spawner }) =>
        Effect.gen(function* () {
          yield* settle
          expect(spawner.spawns).toBe(10)
          yield* TestClock.adjust(1_000)
          expect(spawner.spawns).toBe(15)
          yield* TestClock.adjust(3_000)
          expect(spawner.alive().length).toBe(30)
        }),
      { restarts: { burst: 10, perSecond: 5 } },
    ),
  )

  it.effect("lets a subscriber go on after the last entry that it saw", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { name: "a" })
          yield* world.runtime.ask({ session: "a", prompt: "1" })
          return (yield* world.runtime.get("a")).seq
        }),
      ({ runtime }, seen) =>
        Effect.scoped(
          Effect.gen(function* () {
            const subscription = yield* runtime.subscribe({ session: "a", after: seen })
            yield* runtime.ask({ session: "a", prompt: "2" })
            const { seq } = yield* runtime.get("a")
            const got: Array<number> = []
            while ((got.at(-1) ?? 0) < seq) got.push(...(yield* subscription.pull()).entries.map((entry) => entry.seq))
            expect(got).toEqual(Array.from({ length: seq - seen }, (_, i) => seen + i + 1))
          }),
        ),
    ),
  )
})

describe("a durable runtime that ends in order", () => {
  it.effect("leaves its sessions asleep and their turns in line, cancels what runs, and stops temporary ones", () =>
    across(
      "shut down",
      (world) =>
        Effect.gen(function* () {
          for (const restart of ["permanent", "transient", "temporary"] as const) {
            yield* start(world, { name: restart, restart })
          }
          yield* world.runtime.tell({ session: "transient", prompt: "runs" })
          return yield* world.runtime.tell({ session: "transient", prompt: "waits" })
        }),
      (world, turn) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* until(() => spawner.alive().length === 2, "up")
          expect((yield* runtime.get("temporary")).status).toBe("stopped")
          expect((yield* runtime.get("permanent")).status).toBe("ready")
          spawner.of(turn.session)[0]!.say("late\n")
          expect((yield* runtime.wait(turn.id)).text).toBe("late")
          expect(yield* ends(world, "transient")).toEqual([
            ["cancelled", "", "shutdown"],
            ["completed", "late", "end_turn"],
          ])
        }),
      { script: silent },
    ),
  )

  it.effect("keeps a session that crashes meanwhile, and its turns", () =>
    across(
      "shut down",
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { name: "slow" })
          yield* start(world, { name: "a" })
          yield* world.runtime.tell({ session: "slow", prompt: "x" })
          yield* world.runtime.tell({ session: "a", prompt: "1" })
          const turn = yield* world.runtime.tell({ session: "a", prompt: "2" })
          yield* Effect.forkChild(world.runtime.shutdown(5_000), { startImmediately: true })
          yield* settle
          world.spawner.of(turn.session)[0]!.end("SIGSEGV")
          yield* settle
          return turn
        }),
      ({ runtime, spawner }, turn) =>
        Effect.gen(function* () {
          yield* until(() => spawner.alive().length === 1, "up")
          spawner.last.say("two\n")
          expect((yield* runtime.wait(turn.id)).text).toBe("two")
        }),
      { script: silent },
    ),
  )
})

describe("a session that is configured", () => {
  it.effect("is started, started again after the runtime's end, and takes a changed spec over", () =>
    across(
      "shut down",
      ({ runtime }) =>
        Effect.gen(function* () {
          const { id } = yield* runtime.configure({ ...plain, name: "a", args: ["1"] })
          expect((yield* runtime.configure({ ...plain, name: "a", args: ["1"] })).incarnation).toBe(1)
          yield* runtime.ask({ session: "a", prompt: "kept" })
          return id
        }),
      ({ runtime, spawner }, id) =>
        Effect.gen(function* () {
          const again = yield* runtime.configure({ ...plain, name: "a", args: ["2"], task: "T" })
          expect([again.id, again.incarnation, spawner.last.command.args]).toEqual([id, 2, ["2"]])
          expect((yield* runtime.get("T")).id).toBe(id)
          // Also where it runs.
          yield* runtime.configure({ ...plain, name: "a", args: ["3"] })
          expect([spawner.last.command.args, spawner.alive().length]).toEqual([["3"], 1])
          expect((yield* Effect.flip(runtime.get("T")))._tag).toBe("SessionNotFound")
          expect((yield* runtime.history("a", {})).turns.map(({ text }) => text)).toEqual(["kept"])
          yield* runtime.stop("a", "graceful")
          expect((yield* runtime.configure({ ...plain, name: "a", args: ["3"] })).status).toBe("ready")
        }),
    ),
  )
})

describe("a session that takes a changed spec over", () => {
  it.effect("keeps its name meanwhile, however slow the store is", () => {
    const inner = MemorySessionStore.make()
    const store: SessionStore["Service"] = {
      ...inner,
      commit: (commit) =>
        commit.entries.some((entry) => entry.type === "note" && entry.text === "its spec was changed")
          ? Effect.delay(inner.commit(commit), 1_000)
          : inner.commit(commit),
    }
    return inWorld(
      () => ({}),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          const { id } = yield* runtime.configure({ ...plain, name: "a" })
          const changed = yield* Effect.forkChild(runtime.configure({ ...plain, name: "a", args: ["2"], task: "T" }), {
            startImmediately: true,
          })
          yield* settle
          expect((yield* Effect.flip(runtime.start({ ...plain, name: "a" }, "fail")))._tag).toBe("SessionAlreadyExists")
          expect((yield* runtime.get("a")).id).toBe(id)
          expect((yield* during(Fiber.join(changed))).id).toBe(id)
          expect((yield* runtime.get("T")).id).toBe(id)
          expect(spawner.alive().length).toBe(1)
        }),
      { store },
    )
  })
})

describe("a session whose end is not on record yet", () => {
  it.effect("keeps its name until it is: else the next runtime would find two that have it", () => {
    const inner = MemorySessionStore.make()
    const store: SessionStore["Service"] = {
      ...inner,
      commit: (commit) =>
        commit.session.status === "stopped" ? Effect.delay(inner.commit(commit), 1_000) : inner.commit(commit),
    }
    return inWorld(
      () => ({}),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          const again = runtime.start({ ...plain, name: "a" }, "fail")
          yield* again
          spawner.last.end(0)
          yield* settle
          expect((yield* Effect.flip(again))._tag).toBe("SessionAlreadyExists")
          yield* TestClock.adjust(1_000)
          expect((yield* again).status).toBe("ready")
        }),
      { store },
    )
  })
})

describe("a fork", () => {
  const protocol = {
    type: "ndjson",
    conversation: { field: "id", resume: ["--resume", "{id}"], fork: ["--resume", "{id}", "--fork"] },
  } as const
  const script: Behaviour = () => ({ answer: (line) => JSON.stringify({ id: "c1", text: line }) })

  it.effect("goes on from the conversation in a session of its own, also after the runtime's death", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { name: "a", protocol, task: "T", args: ["x"] })
          const early = yield* Effect.flip(world.runtime.fork("a"))
          expect([early._tag, early.message]).toEqual([
            "Unsupported",
            expect.stringContaining("ask it something first"),
          ])
          yield* world.runtime.ask({ session: "a", prompt: "hi" })
          const fork = yield* world.runtime.fork("a", "b")
          expect(fork).toMatchObject({ name: "b", status: "ready", forkedFrom: "c1", agentSessionId: null })
          expect(fork.spec.task).toBe(null)
          expect(world.spawner.last.command.args).toEqual(["x", "--resume", "c1", "--fork"])
        }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          yield* runtime.resume("a")
          expect(spawner.last.command.args).toEqual(["x", "--resume", "c1"])
          // It never said anything: its conversation is still to be made.
          yield* runtime.resume("b")
          expect(spawner.last.command.args).toEqual(["x", "--resume", "c1", "--fork"])
          spawner.last.say('{"id":"c2"}\n')
          yield* settle
          expect(yield* runtime.get("b")).toMatchObject({ forkedFrom: null, agentSessionId: "c2" })
          yield* runtime.restart("b")
          expect(spawner.last.command.args).toEqual(["x", "--resume", "c2"])
        }),
      { script },
    ),
  )

  it.effect("is refused by name where the protocol has no way to it", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { name: "a" })
          const error = yield* Effect.flip(world.runtime.fork("a"))
          expect([error._tag, error.message]).toEqual(["Unsupported", expect.stringContaining("lines")])
        }),
    ),
  )
})

describe("a restart history", () => {
  it("is the same on another clock, and what cannot be one is none", () => {
    const history = { step: { attempt: 3 }, charges: { charges: [100, 200], waitedMs: 50 } }
    const kept = JSON.parse(JSON.stringify(keep(history, 1_000)))
    expect(takeUp(kept, 400, 900)).toEqual({ step: { attempt: 3 }, charges: { charges: [700, 800], waitedMs: 50 } })
    // The wall clock was set back meanwhile: what seems to be yet to come has just been.
    expect(takeUp(kept, -99_400, 900).charges.charges).toEqual([850, 850])
    for (const wrong of [undefined, null, 1, {}, { history: {}, skewMs: 1 }, { ...kept, skewMs: "1" }]) {
      expect(takeUp(wrong, 0, 900)).toBe(noHistory)
    }
  })
})
