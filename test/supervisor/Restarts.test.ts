import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { World } from "../support/FakeRuntime.ts"
import { during, inWorld, plain, settle, until, withWallClock, words } from "../support/FakeRuntime.ts"

const noSuch = new SpawnFailed({ command: "fake", field: "command", errno: "ENOENT", detail: "no such program" })
const get = (world: World, name = "a") => world.runtime.get(name)
const status = (world: World, name = "a") => Effect.map(get(world, name), (session) => session.status)
const entries = ({ runtime }: World, name = "a") => Effect.map(runtime.transcript(name, {}), (page) => page.entries)

describe("a crash", () => {
  it.effect("is waited out by the schedule: initial, then times the factor, up to the maximum", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start(
            {
              ...plain,
              name: "a",
              backoff: { initialMs: 100, factor: 2, maxMs: 500, jitter: 0 },
              intensity: { maxRestarts: 100, withinMs: 60_000 },
            },
            "fail",
          )
          for (const wait of [100, 200, 400, 500, 500]) {
            const before = spawner.spawns
            spawner.last.end(1)
            yield* settle
            expect(yield* status(world)).toBe("backoff")
            yield* TestClock.adjust(wait - 1)
            expect(spawner.spawns).toBe(before)
            yield* TestClock.adjust(1)
            expect(spawner.spawns).toBe(before + 1)
            expect(yield* status(world)).toBe("ready")
          }
        }),
    ),
  )

  it.effect("of a child that had been stable is mended at once, and the schedule begins anew", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start({ ...plain, name: "a" }, "fail")
          for (let i = 0; i < 3; i++) {
            yield* TestClock.adjust(60_000)
            spawner.last.end(1)
            yield* settle
            expect(yield* status(world)).toBe("ready")
          }
          spawner.last.end(1)
          yield* settle
          const scheduled = (yield* entries(world)).filter((entry) => entry.type === "restart/scheduled")
          expect(scheduled.map(({ delayMs }) => delayMs)).toEqual([0, 0, 0, 200])
        }),
    ),
  )

  it.effect("N times within the window is borne; N + 1 times fails the session, and nobody else", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start({ ...plain, name: "b" }, "fail")
          yield* runtime.start({ ...plain, name: "a" }, "fail")
          for (let crash = 1; crash <= 5; crash++) {
            spawner.last.end(1)
            yield* until(() => spawner.alive().length === 2, "restarted")
          }
          spawner.last.end(1)
          yield* settle
          expect(yield* status(world)).toBe("failed")
          expect(yield* status(world, "b")).toBe("ready")
          expect((yield* get(world)).restarts).toBe(5)
          const refused = yield* Effect.flip(runtime.ask({ session: "a", prompt: "x" }))
          expect(refused._tag).toBe("RestartIntensityReached")
          yield* TestClock.adjust(3_600_000)
          expect(spawner.alive().length).toBe(1)
          expect((yield* runtime.health).status).toBe("degraded")
          // A client's restart is not charged and forgives.
          expect((yield* runtime.restart("a")).status).toBe("ready")
          spawner.last.end(1)
          yield* until(() => spawner.alive().length === 2, "restarted")
        }),
    ),
  )

  it.effect("loop is found after days of stability, and however slow its schedule or its start is", () =>
    inWorld(
      (spawn) => (spawn === 1 ? {} : { spawnMs: 29_000, up: (process) => process.end(1) }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start(
            { ...plain, name: "a", backoff: { initialMs: 30_000, maxMs: 30_000, jitter: 0 } },
            "fail",
          )
          yield* TestClock.adjust(5 * 86_400_000)
          spawner.last.end(1)
          yield* until(() => spawner.spawns === 6, "five restarts", 1_000)
          yield* TestClock.adjust(600_000)
          expect(yield* status(world)).toBe("failed")
          expect(spawner.spawns).toBe(6)
        }),
    ),
  )

  it.effect("of a stable child that breaks its protocol counts as one of a stable child", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start({ ...plain, name: "a" }, "fail")
          yield* TestClock.adjust(3_600_000)
          // It closes its stdout and lives on.
          spawner.last.closeStdout()
          yield* until(() => spawner.spawns === 2, "replaced", 100, 5_000)
          const scheduled = (yield* entries(world)).filter((entry) => entry.type === "restart/scheduled")
          expect(scheduled.map(({ delayMs }) => delayMs)).toEqual([0])
        }),
    ),
  )

  it.effect("leaves its exit and its last words in the death history, at most ten", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start({ ...plain, name: "a", intensity: { maxRestarts: 50, withinMs: 1_000 } }, "fail")
          for (let i = 1; i <= 12; i++) {
            spawner.last.complain(`words ${i}`)
            spawner.last.end(i)
            yield* until(() => spawner.alive().length === 1, "restarted", 1_000)
          }
          const { deaths, incarnation, exit } = yield* get(world)
          expect(incarnation).toBe(13)
          expect(exit).toMatchObject({ kind: "exited", code: 12 })
          expect(deaths.map(({ incarnation: life }) => life)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
          expect(deaths.at(-1)).toMatchObject({ exit: { code: 12 }, stderrTail: "words 12" })
        }),
    ),
  )

  it.effect("of 500 sessions at once passes the token bucket", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          for (let i = 0; i < 500; i++) {
            yield* runtime.start({ ...plain, name: `s${i}`, backoff: { initialMs: 0, jitter: 0 } }, "fail")
          }
          for (const process of spawner.alive()) process.end(1)
          yield* settle
          expect(spawner.alive().length).toBe(50)
          yield* TestClock.adjust(1_000)
          expect(spawner.alive().length).toBeGreaterThanOrEqual(149)
          expect(spawner.alive().length).toBeLessThanOrEqual(151)
          yield* TestClock.adjust(3_500)
          expect(spawner.alive().length).toBe(500)
        }),
    ),
  )
})

describe("the restart type", () => {
  const after = (restart: "permanent" | "transient" | "temporary", code: number) =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a", restart }, "fail")
          world.spawner.last.end(code)
          yield* TestClock.adjust(1_000)
          return yield* status(world)
        }),
    )

  it.effect("permanent: restarted always", () =>
    Effect.gen(function* () {
      expect([yield* after("permanent", 0), yield* after("permanent", 1)]).toEqual(["ready", "ready"])
    }),
  )
  it.effect("transient: restarted unless normal", () =>
    Effect.gen(function* () {
      expect([yield* after("transient", 0), yield* after("transient", 1)]).toEqual(["stopped", "ready"])
    }),
  )
  it.effect("temporary: never restarted", () =>
    Effect.gen(function* () {
      expect([yield* after("temporary", 0), yield* after("temporary", 1)]).toEqual(["stopped", "stopped"])
    }),
  )
})

describe("the wall clock", () => {
  it.effect("set a day forward or back ends no turn, delays no restart, and charges nobody", () =>
    withWallClock((set) =>
      inWorld(
        () => ({ answer: () => undefined }),
        (world) =>
          Effect.gen(function* () {
            const { runtime, spawner } = world
            yield* runtime.start({ ...plain, name: "a", turnTimeoutMs: 10_000 }, "fail")
            for (const jump of [86_400_000, -86_400_000]) {
              const asked = yield* Effect.forkChild(runtime.ask({ session: "a", prompt: "x" }), {
                startImmediately: true,
              })
              set(jump)
              yield* TestClock.adjust(9_000)
              expect(asked.pollUnsafe()).toBe(undefined)
              spawner.last.say("slow but right\n")
              expect((yield* Fiber.join(asked)).status).toBe("completed")
              spawner.last.end(1)
              yield* settle
              set(-jump)
              yield* until(() => spawner.alive().length === 1, "restarted", 10, 1_000)
            }
            expect(yield* status(world)).toBe("ready")
            // What is written down is the time of day.
            set(86_400_000)
            yield* runtime.tell({ session: "a", prompt: "y" })
            const last = (yield* entries(world)).at(-1)!
            expect(last.at).toBeGreaterThanOrEqual(86_400_000)
          }),
      ),
    ),
  )
})

describe("stopping", () => {
  it.effect("during backoff: nothing is started any more", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          world.spawner.last.end(1)
          yield* settle
          expect(yield* status(world)).toBe("backoff")
          expect((yield* world.runtime.stop("a", "graceful")).status).toBe("stopped")
          yield* TestClock.adjust(3_600_000)
          expect(world.spawner.spawns).toBe(1)
        }),
    ),
  )

  it.effect("twice is answered twice, when the tree is gone", () =>
    inWorld(
      () => ({ endMs: 300 }),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          const stop = world.runtime.stop("a", "graceful")
          const both = yield* during(Effect.all([stop, stop], { concurrency: 2 }))
          expect(both.map((session) => session.status)).toEqual(["stopped", "stopped"])
          expect(world.spawner.alive()).toEqual([])
          expect((yield* stop).status).toBe("stopped")
        }),
    ),
  )

  it.effect("racing an exit ends in stopped, never in a restart", () =>
    inWorld(
      () => ({ endMs: 50 }),
      (world) =>
        Effect.gen(function* () {
          for (const order of ["exit first", "stop first"]) {
            yield* world.runtime.start({ ...plain, name: order.replace(" ", "-") }, "fail")
            const stop = world.runtime.stop(order.replace(" ", "-"), "graceful")
            if (order === "exit first") world.spawner.last.end(1)
            const stopping = yield* Effect.forkChild(stop, { startImmediately: true })
            if (order === "stop first") world.spawner.last.end(1)
            expect((yield* during(Fiber.join(stopping))).status).toBe("stopped")
          }
          yield* TestClock.adjust(60_000)
          expect(world.spawner.spawns).toBe(2)
        }),
    ),
  )

  it.effect("and a restart meanwhile: never two, and it comes back", () =>
    inWorld(
      () => ({ endMs: 200 }),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          yield* Effect.forkChild(world.runtime.stop("a", "graceful"), { startImmediately: true })
          yield* TestClock.adjust(50)
          expect((yield* during(world.runtime.restart("a"))).status).toBe("ready")
          expect([world.spawner.spawns, world.spawner.alive().length]).toEqual([2, 1])
        }),
    ),
  )

  it.effect("what cannot be killed is named, and nothing is started over it", () =>
    inWorld(
      () => ({ endMs: Infinity }),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          const { pid } = yield* get(world)
          const stopped = yield* during(world.runtime.stop("a", "graceful"))
          expect(stopped).toMatchObject({ status: "failed", survivors: [pid] })
          const exited = (yield* entries(world)).find((entry) => entry.type === "process/exited")
          expect(exited).toMatchObject({ survivors: [pid] })
          expect(yield* world.runtime.shutdown()).toEqual({ survivors: [pid] })
        }),
    ),
  )
})

describe("a start", () => {
  it.effect("that fails leaves no session behind, and its name is free", () =>
    inWorld(
      (spawn) => (spawn === 1 ? { fails: noSuch } : {}),
      ({ runtime, store }) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(runtime.start({ ...plain, name: "a" }, "fail"))
          expect(error._tag).toBe("SpawnFailed")
          expect((yield* Effect.flip(runtime.get("a")))._tag).toBe("SessionNotFound")
          expect(yield* store.ids).toEqual([])
          expect((yield* runtime.start({ ...plain, name: "a" }, "fail")).status).toBe("ready")
        }),
    ),
  )

  it.effect("that is not ready in time is NotReady, with the tail of stderr, and its process is gone", () =>
    inWorld(
      () => ({ up: (process) => process.complain("waiting for godot") }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          const error = yield* during(
            Effect.flip(
              runtime.start(
                { ...plain, name: "a", protocol: { type: "text", endOfTurn: { prompt: "> " } }, readyTimeoutMs: 500 },
                "fail",
              ),
            ),
          )
          expect(error).toMatchObject({ _tag: "NotReady", stderrTail: "waiting for godot" })
          expect(spawner.alive()).toEqual([])
          expect((yield* runtime.list({})).sessions).toEqual([])
        }),
    ),
  )

  it.effect("that is slow holds up nobody", () =>
    inWorld(
      (_, { command }) => (command === "slow" ? { spawnMs: 20_000 } : {}),
      ({ runtime }) =>
        Effect.gen(function* () {
          const slow = yield* Effect.forkChild(runtime.start({ ...plain, name: "slow", command: "slow" }, "fail"), {
            startImmediately: true,
          })
          expect((yield* runtime.start({ ...plain, name: "quick" }, "fail")).status).toBe("ready")
          expect((yield* runtime.ask({ session: "quick", prompt: "x" })).text).toBe("x")
          expect((yield* runtime.stop("quick", "graceful")).status).toBe("stopped")
          expect(slow.pollUnsafe()).toBe(undefined)
          yield* TestClock.adjust(20_000)
          expect((yield* Fiber.join(slow)).status).toBe("ready")
        }),
    ),
  )

  it.effect("that is interrupted leaves no session and no process behind", () =>
    inWorld(
      () => ({ spawnMs: 1_000 }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          const starting = yield* Effect.forkChild(runtime.start({ ...plain, name: "a" }, "fail"), {
            startImmediately: true,
          })
          yield* TestClock.adjust(500)
          yield* Fiber.interrupt(starting)
          yield* TestClock.adjust(5_000)
          expect(spawner.alive()).toEqual([])
          expect((yield* runtime.list({})).sessions).toEqual([])
        }),
    ),
  )

  it.effect("has no order of words that differs: starting, spawned, ready", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          expect(words(yield* entries(world))).toEqual(["starting", "process/spawned", "ready"])
        }),
    ),
  )
})
