/**
 * Supervisors in virtual time: what OTP's do, rule by rule, and where ours differ on purpose. A session's command is its
 * name, so that the events of processes read as a story.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { RestartType, SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { SupervisorRequest } from "../../src/supervisor/Supervisors.ts"
import type { SupervisorTreeNode } from "../../src/supervisor/Runtime.ts"
import type { Command } from "../../src/process/Command.ts"
import type { FakeProcess, Script } from "../support/FakeSpawner.ts"
import { during, inWorld, plain, settle, until, type World } from "../support/FakeRuntime.ts"

const path = "root/s"
/** No wait before a restart unless a test says so. */
const prompt: SessionSpecInput = { ...plain, backoff: { initialMs: 0, jitter: 0 } }

const one = (world: World, name: string, fields: SessionSpecInput = {}, supervisor = path) =>
  during(world.runtime.start({ ...prompt, name, command: name, supervisor, ...fields }, "fail"))

/** A supervisor, and sessions below it in this order; `permanent` unless said otherwise. */
const family = (
  world: World,
  settings: Omit<SupervisorRequest, "path">,
  names: Readonly<Record<string, RestartType>>,
  at = path,
) =>
  Effect.gen(function* () {
    yield* world.runtime.startSupervisor({ path: at, ...settings })
    for (const [name, restart] of Object.entries(names)) yield* one(world, name, { restart }, at)
    world.spawner.events = []
  })

const of = ({ spawner }: World, name: string): FakeProcess =>
  spawner.processes.findLast(({ command }) => command.command === name)!

const crash = (world: World, name: string, how: number | string = 1) =>
  Effect.gen(function* () {
    of(world, name).end(how)
    yield* settle
    // A group restart waits for ends and starts that take a turn each.
    for (let turn = 0; turn < 10; turn++) yield* TestClock.adjust(0)
  })

const statuses = ({ runtime }: World, ...names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => Effect.map(runtime.get(name), ({ status }) => status))

const node = ({ runtime }: World, at = path) =>
  Effect.map(runtime.tree, (root) => {
    const find = (from: SupervisorTreeNode): SupervisorTreeNode | undefined => {
      if (from.path === at) return from
      for (const child of from.children) {
        const found = child.type === "supervisor" ? find(child) : undefined
        if (found !== undefined) return found
      }
      return undefined
    }
    return root.type === "supervisor" ? find(root) : undefined
  })

const failsAt =
  (...spawns: ReadonlyArray<number>) =>
  (spawn: number, { command }: Command): Script =>
    spawns.includes(spawn)
      ? { fails: new SpawnFailed({ command, field: "command", errno: "ENOENT", detail: "gone" }) }
      : {}
const any = (): Script => ({})

const all = { a: "permanent", b: "permanent", c: "permanent" } as const

describe("who is restarted, and how it is charged", () => {
  it.effect("permanent: after every exit, exit 0 too, and each is charged (rule 1)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { maxRestarts: 1, withinMs: 1_000 }, { a: "permanent", b: "permanent" })
        yield* crash(world, "a", 0)
        expect(world.spawner.events).toEqual(["a down", "a up"])
        yield* crash(world, "a", 0)
        expect((yield* node(world))?.status).toBe("failed")
      }),
    ),
  )

  it.effect("transient: after an abnormal exit only; a normal one touches nobody and is not charged (rules 2, 3)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(
          world,
          { strategy: "one_for_all", maxRestarts: 1, withinMs: 1_000 },
          { a: "transient", b: "permanent" },
        )
        yield* crash(world, "a", 0)
        expect(world.spawner.events).toEqual(["a down"])
        expect(yield* statuses(world, "a", "b")).toEqual(["stopped", "ready"])
        yield* crash(world, "b")
        expect((yield* node(world))?.status).toBe("running")
        expect(yield* statuses(world, "a", "b")).toEqual(["ready", "ready"])
        yield* crash(world, "a", "SIGKILL")
        expect((yield* node(world))?.status).toBe("failed")
      }),
    ),
  )

  it.effect.each(["one_for_all", "rest_for_one"] as const)(
    "temporary: never restarted, never charged, touches no sibling, under %s too (rule 4)",
    (strategy) =>
      inWorld(any, (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy, maxRestarts: 0, withinMs: 1_000 }, { a: "temporary", b: "permanent" })
          yield* crash(world, "a")
          expect(world.spawner.events).toEqual(["a down"])
          expect(yield* statuses(world, "a", "b")).toEqual(["stopped", "ready"])
          expect((yield* node(world))?.status).toBe("running")
        }),
      ),
  )

  it.effect("one charge for one crash, however many siblings it starts again (rule 5)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all", maxRestarts: 2, withinMs: 1_000 }, all)
        yield* crash(world, "a")
        yield* crash(world, "b")
        expect((yield* node(world))?.status).toBe("running")
        yield* crash(world, "c")
        expect((yield* node(world))?.status).toBe("failed")
      }),
    ),
  )

  it.effect("stops, restarts and starts of clients are never charged, and touch nobody else (rule 6)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* family(world, { strategy: "one_for_all", maxRestarts: 0, withinMs: 60_000 }, all)
        for (let round = 0; round < 3; round++) {
          yield* during(runtime.restart("a"))
          yield* during(runtime.stop("b", "graceful"))
          yield* during(runtime.restart("b"))
          yield* during(runtime.suspend("c"))
          yield* during(runtime.resume("c"))
        }
        expect((yield* node(world))?.status).toBe("running")
        expect(spawner.events.filter((event) => event.endsWith("up")).length).toBe(9)
      }),
    ),
  )

  it.effect("charges belong to the supervisor: crashes of different children add up (rule 7)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { maxRestarts: 2, withinMs: 1_000 }, all)
        yield* crash(world, "a")
        yield* crash(world, "b")
        expect(yield* statuses(world, "a", "b", "c")).toEqual(["ready", "ready", "ready"])
        yield* crash(world, "c")
        expect(yield* statuses(world, "a", "b", "c")).toEqual(["failed", "failed", "failed"])
      }),
    ),
  )
})

describe("the order of a group restart", () => {
  it.effect(
    "one_for_all: the others end in reverse order, each gone before the next is told; then all start in order (rule 8)",
    () =>
      inWorld(
        () => ({ endMs: 100, spawnMs: 50 }),
        (world) =>
          Effect.gen(function* () {
            yield* family(world, { strategy: "one_for_all" }, { ...all, d: "permanent" })
            of(world, "b").end(1)
            yield* until(() => world.spawner.alive().length === 4, "all up again")
            expect(world.spawner.events).toEqual([
              ...["b down", "d told", "d down", "c told", "c down", "a told", "a down"],
              ...["a up", "b up", "c up", "d up"],
            ])
          }),
      ),
  )

  it.effect("each start waits until the one before is up, however long that takes (rule 8)", () =>
    inWorld(
      (_, { command }) => ({ spawnMs: command === "b" ? 10_000 : 0 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          yield* crash(world, "c")
          yield* TestClock.adjust(9_000)
          expect(yield* statuses(world, "a", "b", "c")).toEqual(["ready", "starting", "backoff"])
          yield* TestClock.adjust(1_000)
          for (let turn = 0; turn < 5; turn++) yield* settle
          expect(yield* statuses(world, "a", "b", "c")).toEqual(["ready", "ready", "ready"])
        }),
    ),
  )

  it.effect(
    "rest_for_one: those after it end in reverse and start in order; those before keep their processes (rule 9)",
    () =>
      inWorld(any, (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "rest_for_one" }, { ...all, d: "permanent" })
          const { pid } = of(world, "a")
          yield* crash(world, "b")
          expect(world.spawner.events).toEqual([
            ...["b down", "d told", "d down", "c told", "c down"],
            ...["b up", "c up", "d up"],
          ])
          expect(of(world, "a").pid).toBe(pid)
        }),
      ),
  )

  it.effect("a crash of the last one under rest_for_one is one_for_one (rule 10)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "rest_for_one" }, all)
        yield* crash(world, "c")
        expect(world.spawner.events).toEqual(["c down", "c up"])
      }),
    ),
  )

  it.effect("temporary siblings end at their place in the order and are not started again (rule 11)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all" }, { a: "permanent", t: "temporary", b: "permanent" })
        yield* crash(world, "a")
        expect(world.spawner.events).toEqual(["a down", "b told", "b down", "t told", "t down", "a up", "b up"])
        expect(yield* statuses(world, "t")).toEqual(["stopped"])
      }),
    ),
  )

  it.effect("a transient child that has finished is started again by a later group restart (rule 12)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "rest_for_one" }, { f: "transient", a: "permanent", g: "transient" })
        yield* crash(world, "f", 0)
        yield* crash(world, "g", 0)
        world.spawner.events = []
        yield* crash(world, "a")
        expect(world.spawner.events).toEqual(["a down", "a up", "g up"])
        expect(yield* statuses(world, "f", "a", "g")).toEqual(["stopped", "ready", "ready"])
      }),
    ),
  )

  it.effect("what a client stopped stays stopped, and what sleeps sleeps on (otherwise than rule 13)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all" }, { ...all, f: "transient" })
        yield* crash(world, "f", 0)
        // Stopping what has finished is a wish, too.
        yield* world.runtime.stop("f", "graceful")
        yield* during(world.runtime.stop("b", "graceful"))
        yield* during(world.runtime.suspend("c"))
        world.spawner.events = []
        yield* crash(world, "a")
        expect(world.spawner.events).toEqual(["a down", "a up"])
        expect(yield* statuses(world, "a", "b", "c", "f")).toEqual(["ready", "stopped", "suspended", "stopped"])
      }),
    ),
  )

  it.effect("a child that is removed and started again stands at the end (rule 14)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "rest_for_one" }, all)
        yield* during(world.runtime.remove("a"))
        yield* one(world, "a", { restart: "permanent" })
        world.spawner.events = []
        yield* crash(world, "c")
        expect(world.spawner.events).toEqual(["c down", "a told", "a down", "c up", "a up"])
      }),
    ),
  )

  it.effect("a supervisor within a group ends as a whole at its place, and comes back there (rules 15, 16)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all" }, { a: "permanent" })
        yield* family(world, { strategy: "rest_for_one" }, { x: "permanent", y: "permanent" }, `${path}/n`)
        yield* one(world, "z", { restart: "permanent" })
        world.spawner.events = []
        yield* crash(world, "a")
        expect(world.spawner.events).toEqual([
          ...["a down", "z told", "z down", "y told", "y down", "x told", "x down"],
          ...["a up", "x up", "y up", "z up"],
        ])
      }),
    ),
  )

  it.effect("ends that are slow are told together in the end, and the group comes back all the same", () =>
    inWorld(
      (_, { command }) => ({ endMs: command === "a" ? 0 : 30_000 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          of(world, "a").end(1)
          yield* TestClock.adjust(9_990)
          expect(world.spawner.events).toEqual(["a down", "c told"])
          yield* TestClock.adjust(20)
          expect(world.spawner.events).toEqual(["a down", "c told", "b told"])
          yield* until(() => world.spawner.alive().length === 3, "all up again", 100)
          expect(world.spawner.events.slice(-3)).toEqual(["a up", "b up", "c up"])
        }),
    ),
  )
})

describe("the limit of a supervisor", () => {
  it.effect("N crashes within the window are borne, N + 1 are not; 0 bears none (rule 17)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        for (const maxRestarts of [0, 1, 3]) {
          const at = `root/n${maxRestarts}`
          const name = `a${maxRestarts}`
          yield* family(world, { maxRestarts, withinMs: 60_000 }, { [name]: "permanent" }, at)
          for (let n = 0; n < maxRestarts; n++) yield* crash(world, name)
          expect((yield* node(world, at))?.status).toBe("running")
          yield* crash(world, name)
          expect(yield* node(world, at)).toMatchObject({
            status: "failed",
            reason: `more than ${maxRestarts} restarts within 60000 ms`,
          })
        }
        expect((yield* world.runtime.health).problems).toContain(
          "supervisor root/n0 is failed: more than 0 restarts within 60000 ms",
        )
        expect((yield* world.runtime.tree).type).toBe("supervisor")
      }),
    ),
  )

  it.effect(
    "giving up: the one that crashed is not restarted, all others end, in reverse, those before it too (rule 18)",
    () =>
      inWorld(any, (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "rest_for_one", maxRestarts: 0, withinMs: 1_000 }, all)
          yield* crash(world, "b")
          expect(world.spawner.events).toEqual(["b down", "c told", "c down", "a told", "a down"])
          expect(yield* statuses(world, "a", "b", "c")).toEqual(["failed", "failed", "failed"])
        }),
      ),
  )

  it.effect(
    "the window slides, exact to the millisecond; nothing is reset by calm (rules 19 to 21, otherwise in whole seconds)",
    () =>
      inWorld(any, (world) =>
        Effect.gen(function* () {
          yield* family(world, { maxRestarts: 1, withinMs: 1_000 }, {})
          yield* one(world, "a", { restart: "permanent", intensity: { maxRestarts: 100 } })
          for (let n = 0; n < 10; n++) {
            yield* crash(world, "a")
            yield* TestClock.adjust(1_000)
          }
          expect((yield* node(world))?.status).toBe("running")
          yield* crash(world, "a")
          yield* TestClock.adjust(999)
          yield* crash(world, "a")
          expect((yield* node(world))?.status).toBe("failed")
        }),
      ),
  )

  it.effect("a session's own limit counts as well: over it that session is failed, and nobody else is touched", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all", maxRestarts: 100, withinMs: 60_000 }, { b: "permanent" })
        yield* one(world, "a", { restart: "permanent", intensity: { maxRestarts: 2, withinMs: 60_000 } })
        for (let n = 0; n < 2; n++) yield* crash(world, "a")
        world.spawner.events = []
        yield* crash(world, "a")
        expect(world.spawner.events).toEqual(["a down"])
        expect(yield* statuses(world, "a", "b")).toEqual(["failed", "ready"])
      }),
    ),
  )

  it.effect("root has none: it bears what its sessions' own limits bear", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        for (const name of ["a", "b", "c", "d"]) yield* one(world, name, { restart: "permanent" }, "root")
        for (let n = 0; n < 5; n++) for (const name of ["a", "b", "c", "d"]) yield* crash(world, name)
        expect((yield* world.runtime.tree) as SupervisorTreeNode).toMatchObject({
          status: "running",
          maxRestarts: null,
        })
        expect(yield* statuses(world, "a", "b", "c", "d")).toEqual(["ready", "ready", "ready", "ready"])
      }),
    ),
  )
})

describe("a supervisor that gave up", () => {
  const inner = `${path}/i`

  it.effect("is restarted by its parent and charged to it; its sessions come back with their mailboxes (rule 22)", () =>
    inWorld(
      () => ({ answer: () => undefined }),
      (world) =>
        Effect.gen(function* () {
          const { runtime } = world
          yield* family(world, { maxRestarts: 1, withinMs: 60_000 }, { o: "permanent" })
          yield* family(world, { maxRestarts: 0, withinMs: 60_000 }, { a: "permanent", b: "permanent" }, inner)
          const asked = yield* runtime.tell({ session: "b", prompt: "first" })
          const waits = yield* runtime.tell({ session: "b", prompt: "second" })
          yield* settle
          yield* crash(world, "a")
          expect(world.spawner.events).toEqual(["a down", "b told", "b down", "a up", "b up"])
          expect(yield* node(world, inner)).toMatchObject({ status: "running", restarts: 1 })
          expect(yield* runtime.turn(asked.id)).toMatchObject({
            status: "failed",
            error: { tag: "SupervisorRestarted", supervisor: inner },
          })
          of(world, "b").say("an answer\n")
          yield* settle
          expect(yield* runtime.turn(waits.id)).toMatchObject({ status: "completed", text: "an answer" })
        }),
    ),
  )

  it.effect("begins anew with an empty window (rule 23)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { maxRestarts: 10, withinMs: 60_000 }, {})
        yield* family(world, { maxRestarts: 1, withinMs: 60_000 }, { a: "permanent" }, inner)
        for (let n = 0; n < 4; n++) yield* crash(world, "a")
        expect(yield* node(world, inner)).toMatchObject({ status: "running", restarts: 2 })
      }),
    ),
  )

  it.effect("limits multiply over levels: 0, 1, 1 take four crashes (rule 24)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { maxRestarts: 1, withinMs: 60_000 }, {})
        yield* family(world, { maxRestarts: 1, withinMs: 60_000 }, {}, inner)
        yield* family(world, { maxRestarts: 0, withinMs: 60_000 }, { a: "permanent" }, `${inner}/m`)
        for (let n = 0; n < 3; n++) {
          yield* crash(world, "a")
          expect((yield* node(world))?.status).toBe("running")
        }
        yield* crash(world, "a")
        for (const at of [path, inner, `${inner}/m`]) expect((yield* node(world, at))?.status).toBe("failed")
      }),
    ),
  )

  it.effect("the chain ends from the inside out: its own others, then those of its parent (rule 25)", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { maxRestarts: 0, withinMs: 60_000 }, { o: "permanent" })
        yield* family(
          world,
          { strategy: "one_for_all", maxRestarts: 0, withinMs: 60_000 },
          { a: "permanent", b: "permanent" },
          inner,
        )
        yield* crash(world, "a")
        expect(world.spawner.events.toSorted()).toEqual(["a down", "b down", "b told", "o down", "o told"])
        expect(yield* statuses(world, "a", "b", "o")).toEqual(["failed", "failed", "failed"])
        expect((yield* node(world, inner))?.reason).toMatch(/^supervisor root\/s has given up: more than 0 restarts/)
      }),
    ),
  )

  it.effect("restarts its siblings where its parent's strategy says so, each in its place", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "rest_for_one", maxRestarts: 1, withinMs: 60_000 }, { o: "permanent" })
        yield* family(world, { maxRestarts: 0, withinMs: 60_000 }, { a: "permanent" }, inner)
        yield* one(world, "p", { restart: "permanent" })
        world.spawner.events = []
        yield* crash(world, "a")
        expect(world.spawner.events).toEqual(["a down", "p told", "p down", "a up", "p up"])
      }),
    ),
  )

  it.effect(
    "stays failed where its parent has no limit: sessions are failed, turns end with the reason, nothing starts",
    () =>
      inWorld(
        () => ({ answer: () => undefined }),
        (world) =>
          Effect.gen(function* () {
            const { runtime, spawner } = world
            yield* family(
              world,
              { maxRestarts: 0, withinMs: 60_000 },
              { a: "permanent", b: "permanent", z: "transient" },
            )
            yield* during(runtime.suspend("z"))
            yield* during(
              runtime.start({ ...prompt, name: "t", command: "t", supervisor: path, restart: "temporary" }, "fail"),
            )
            const running = yield* runtime.tell({ session: "b", prompt: "first" })
            const queued = yield* runtime.tell({ session: "b", prompt: "second" })
            yield* settle
            yield* crash(world, "a")
            yield* TestClock.adjust(3_600_000)
            expect(spawner.alive()).toEqual([])
            expect(yield* statuses(world, "a", "b", "z", "t")).toEqual(["failed", "failed", "failed", "stopped"])
            const error = { tag: "RestartIntensityReached", supervisor: path, maxRestarts: 0, withinMs: 60_000 }
            expect(yield* runtime.turn(queued.id)).toMatchObject({ status: "failed", error })
            expect((yield* runtime.turn(running.id)).status).toBe("failed")
            for (const refused of [
              runtime.ask({ session: "z", prompt: "x" }),
              runtime.restart("a"),
              runtime.resume("z"),
              runtime.start({ ...prompt, name: "n", command: "n", supervisor: path }, "fail"),
              runtime.startSupervisor({ path: inner }),
            ]) {
              const failure = yield* Effect.flip(refused as Effect.Effect<unknown, { readonly _tag: string }>)
              expect(failure).toMatchObject({ _tag: "RestartIntensityReached", supervisor: path })
            }
            expect((yield* runtime.health).status).toBe("degraded")
          }),
      ),
  )

  it.effect(
    "is started anew by supervisor/start: what ran starts in order, what slept sleeps, what was stopped stays stopped",
    () =>
      inWorld(any, (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* family(
            world,
            { strategy: "one_for_all", maxRestarts: 0, withinMs: 60_000 },
            { ...all, z: "transient", k: "permanent", t: "temporary" },
          )
          yield* during(runtime.suspend("z"))
          yield* during(runtime.stop("k", "graceful"))
          yield* crash(world, "b")
          expect(yield* statuses(world, "a", "b", "c", "z", "k", "t")).toEqual([
            ...["failed", "failed", "failed", "failed", "stopped", "stopped"],
          ])
          spawner.events = []
          expect(yield* during(runtime.startSupervisor({ path }))).toMatchObject({
            status: "running",
            strategy: "one_for_all",
            maxRestarts: 0,
            reason: null,
          })
          expect(spawner.events).toEqual(["a up", "b up", "c up"])
          expect(yield* statuses(world, "a", "b", "c", "z", "k", "t")).toEqual([
            ...["ready", "ready", "ready", "suspended", "stopped", "stopped"],
          ])
          expect((yield* during(runtime.ask({ session: "z", prompt: "woken" }))).text).toBe("woken")
          yield* crash(world, "a")
          expect((yield* node(world))?.status).toBe("failed")
          yield* during(runtime.startSupervisor({ path, strategy: "one_for_one" }))
          expect(yield* node(world)).toMatchObject({ status: "running", strategy: "one_for_one", maxRestarts: null })
        }),
      ),
  )

  it.effect("takes those below it along, and they come back with it", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* family(world, { maxRestarts: 0, withinMs: 60_000 }, { o: "permanent" })
        yield* family(world, { maxRestarts: 5, withinMs: 60_000 }, { a: "permanent" }, inner)
        yield* crash(world, "o")
        expect(yield* statuses(world, "o", "a")).toEqual(["failed", "failed"])
        expect((yield* Effect.flip(runtime.startSupervisor({ path: inner })))._tag).toBe("RestartIntensityReached")
        spawner.events = []
        yield* during(runtime.startSupervisor({ path }))
        expect(spawner.events.toSorted()).toEqual(["a up", "o up"])
        expect(yield* node(world, inner)).toMatchObject({ status: "running", maxRestarts: 5 })
      }),
    ),
  )
})

describe("starts that fail", () => {
  it.effect(
    "during a restart: retried by the schedule, each charged; the crash and k failures make k + 1 (rules 30, 31)",
    () =>
      inWorld(failsAt(2, 3), (world) =>
        Effect.gen(function* () {
          yield* family(world, { maxRestarts: 2, withinMs: 60_000 }, {})
          yield* one(world, "a", { restart: "permanent", backoff: { initialMs: 100, factor: 1, jitter: 0 } })
          yield* crash(world, "a")
          yield* TestClock.adjust(200)
          for (let turn = 0; turn < 5; turn++) yield* settle
          expect(yield* node(world)).toMatchObject({ status: "failed" })
          expect(world.spawner.spawns).toBe(3)
        }),
      ),
  )

  it.effect("one_for_all: those that were started end again, and all start anew (rule 32)", () =>
    inWorld(failsAt(5), (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all", maxRestarts: 2, withinMs: 60_000 }, all)
        yield* crash(world, "c")
        for (let turn = 0; turn < 20; turn++) yield* settle
        // The fifth spawn was that of b.
        expect(world.spawner.events).toEqual([
          ...["c down", "b told", "b down", "a told", "a down", "a up"],
          ...["a told", "a down", "a up", "b up", "c up"],
        ])
        yield* crash(world, "a")
        expect((yield* node(world))?.status).toBe("failed")
      }),
    ),
  )

  it.effect("rest_for_one: begins again at the one that failed; those before it stay up (rule 33)", () =>
    inWorld(failsAt(5), (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "rest_for_one" }, all)
        yield* crash(world, "a")
        for (let turn = 0; turn < 20; turn++) yield* settle
        expect(world.spawner.events).toEqual([
          ...["a down", "c told", "c down", "b told", "b down", "a up"],
          ...["b up", "c up"],
        ])
      }),
    ),
  )

  it.effect("by a client: the error is the answer, nothing is charged, and no session is left (rule 35)", () =>
    inWorld(failsAt(2, 3), (world) =>
      Effect.gen(function* () {
        yield* family(world, { strategy: "one_for_all", maxRestarts: 0, withinMs: 60_000 }, { a: "permanent" })
        expect((yield* Effect.flip(one(world, "b")))._tag).toBe("SpawnFailed")
        expect((yield* Effect.flip(world.runtime.restart("a")))._tag).toBe("SpawnFailed")
        expect(yield* statuses(world, "a")).toEqual(["failed"])
        expect((yield* node(world))?.status).toBe("running")
      }),
    ),
  )
})

describe("a group restart under way", () => {
  it.effect("is taken over by a newer crash, and everybody is up in the end, once", () =>
    inWorld(
      () => ({ endMs: 100, spawnMs: 100 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          of(world, "c").end(1)
          yield* until(() => of(world, "a").alive && world.spawner.events.includes("a up"), "a is up again")
          of(world, "a").end(1)
          yield* until(() => world.spawner.alive().length === 3, "all up again")
          yield* TestClock.adjust(60_000)
          expect(world.spawner.alive().length).toBe(3)
          expect(yield* statuses(world, "a", "b", "c")).toEqual(["ready", "ready", "ready"])
        }),
    ),
  )

  it.effect(
    "leaves nobody waiting where a session that was started meanwhile crashes, or the one that crashed is removed",
    () =>
      inWorld(any, (world) =>
        Effect.gen(function* () {
          const { runtime } = world
          yield* family(world, { strategy: "rest_for_one" }, {})
          yield* one(world, "a", { restart: "permanent", backoff: { initialMs: 1_000, jitter: 0 } })
          yield* one(world, "b", { restart: "permanent" })
          for (const crashing of ["d", "e"]) {
            // Its schedule begins anew.
            yield* during(runtime.restart("a"))
            of(world, "a").end(1)
            yield* TestClock.adjust(500)
            expect(yield* statuses(world, "a", "b")).toEqual(["backoff", "backoff"])
            yield* one(world, crashing, { restart: "permanent" })
            of(world, crashing).end(1)
            yield* settle
            if (crashing === "e") yield* during(runtime.remove("e"))
            yield* until(() => world.spawner.alive().length === 3, "all up")
            expect(yield* statuses(world, "a", "b", "d")).toEqual(["ready", "ready", "ready"])
          }
        }),
      ),
  )

  it.effect("waits for the schedule of the one that crashed, and uses that time to end the others", () =>
    inWorld(
      () => ({ endMs: 100 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, { b: "permanent" })
          yield* one(world, "a", { restart: "permanent", backoff: { initialMs: 1_000, jitter: 0 } })
          world.spawner.events = []
          of(world, "a").end(1)
          yield* TestClock.adjust(999)
          expect(world.spawner.events).toEqual(["a down", "b told", "b down"])
          expect(yield* statuses(world, "a", "b")).toEqual(["backoff", "backoff"])
          yield* TestClock.adjust(1)
          for (let turn = 0; turn < 5; turn++) yield* settle
          expect(world.spawner.events.slice(3)).toEqual(["b up", "a up"])
        }),
    ),
  )

  it.effect("a session that a client stops meanwhile stays stopped; one that it restarts comes up in its turn", () =>
    inWorld(
      () => ({ endMs: 100 }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* family(world, { strategy: "one_for_all" }, all)
          of(world, "c").end(1)
          yield* TestClock.adjust(50)
          const stop = yield* Effect.forkChild(runtime.stop("a", "graceful"), { startImmediately: true })
          const restart = yield* Effect.forkChild(runtime.restart("b"), { startImmediately: true })
          yield* until(() => restart.pollUnsafe() !== undefined && stop.pollUnsafe() !== undefined, "answered")
          expect((yield* Fiber.join(restart)).status).toBe("ready")
          expect((yield* Fiber.join(stop)).status).toBe("stopped")
          yield* until(() => spawner.alive().length === 2, "b and c are up")
          yield* TestClock.adjust(60_000)
          expect(yield* statuses(world, "a", "b", "c")).toEqual(["stopped", "ready", "ready"])
        }),
    ),
  )

  it.effect("takes turns in meanwhile, and answers them afterwards", () =>
    inWorld(
      () => ({ endMs: 1_000 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          of(world, "a").end(1)
          yield* TestClock.adjust(500)
          const asks = yield* Effect.forkChild(
            Effect.forEach(["a", "b", "c"], (session) => world.runtime.ask({ session, prompt: session }), {
              concurrency: 3,
            }),
            { startImmediately: true },
          )
          yield* until(() => asks.pollUnsafe() !== undefined, "answered")
          expect((yield* Fiber.join(asks)).map(({ text }) => text)).toEqual(["a", "b", "c"])
        }),
    ),
  )

  it.effect("ends with the runtime, and leaves nothing", () =>
    inWorld(
      () => ({ endMs: 1_000, spawnMs: 500 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all", maxRestarts: 0, withinMs: 1_000 }, {}, "root/g")
          yield* one(world, "g", { restart: "permanent" }, "root/g")
          yield* family(world, { strategy: "one_for_all" }, all)
          of(world, "a").end(1)
          of(world, "g").end(1)
          yield* TestClock.adjust(1_200)
          expect(yield* during(world.runtime.shutdown())).toEqual({ survivors: [] })
          const { spawns } = world.spawner
          yield* TestClock.adjust(3_600_000)
          expect([world.spawner.alive().length, world.spawner.spawns]).toEqual([0, spawns])
        }),
    ),
  )
})

describe("a stop", () => {
  it.effect(
    "of a supervisor ends its sessions in reverse start order, each gone before the next, where order matters",
    () =>
      inWorld(
        () => ({ endMs: 100 }),
        (world) =>
          Effect.gen(function* () {
            const { runtime, spawner } = world
            yield* family(world, { strategy: "rest_for_one" }, all)
            yield* family(world, {}, { x: "permanent", y: "permanent" }, `${path}/n`)
            expect(yield* during(runtime.stopSupervisor(path))).toEqual({ survivors: [] })
            expect(spawner.events.slice(0, 4).toSorted()).toEqual(["x down", "x told", "y down", "y told"])
            expect(spawner.events.slice(4)).toEqual(["c told", "c down", "b told", "b down", "a told", "a down"])
            expect(yield* node(world)).toBe(undefined)
            expect(yield* statuses(world, "a", "b", "c", "x", "y")).toEqual(Array(5).fill("stopped"))
          }),
      ),
  )

  it.effect("of one without order tells them all at once", () =>
    inWorld(
      () => ({ endMs: 5_000 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, {}, {})
          for (let n = 0; n < 50; n++) yield* one(world, `s${n}`)
          const stop = yield* Effect.forkChild(world.runtime.stopSupervisor(path), { startImmediately: true })
          yield* TestClock.adjust(5_000)
          expect(yield* Fiber.join(stop)).toEqual({ survivors: [] })
        }),
    ),
  )

  it.effect("names what could not be killed", () =>
    inWorld(
      (_, { command }) => ({ endMs: command === "b" ? Infinity : 10 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          const { pid } = of(world, "b")
          expect(yield* during(world.runtime.stopSupervisor(path))).toEqual({ survivors: [pid] })
        }),
    ),
  )

  it.effect("leaves records that keep their path; starting one of them again takes a supervisor there", () =>
    inWorld(any, (world) =>
      Effect.gen(function* () {
        const { runtime } = world
        yield* family(world, { strategy: "one_for_all" }, all)
        yield* during(runtime.suspend("c"))
        yield* during(runtime.stopSupervisor(path))
        const { sessions } = yield* runtime.list({ supervisor: path })
        expect(sessions.map(({ name, status, supervisor }) => [name, status, supervisor])).toEqual([
          ...["a", "b", "c"].map((name) => [name, "stopped", path]),
        ])
        for (const refused of [
          runtime.restart("a"),
          runtime.resume("a"),
          one(world, "n"),
          runtime.stopSupervisor(path),
        ]) {
          const failure = yield* Effect.flip(refused as Effect.Effect<unknown, { readonly _tag: string }>)
          expect(failure).toMatchObject({ _tag: "SupervisorNotFound", supervisor: path })
        }
        yield* runtime.startSupervisor({ path })
        expect((yield* during(runtime.restart("a"))).status).toBe("ready")
        expect((yield* node(world))?.children).toMatchObject([{ name: "a", status: "ready" }])
      }),
    ),
  )

  it.effect("and another one at the same time are both answered when all is gone", () =>
    inWorld(
      () => ({ endMs: 100 }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* family(world, {}, all)
          const stops = yield* during(
            Effect.all([runtime.stopSupervisor(path), runtime.stopSupervisor(path)], { concurrency: 2 }),
          )
          expect(stops).toEqual([{ survivors: [] }, { survivors: [] }])
          expect(spawner.alive()).toEqual([])
        }),
    ),
  )

  it.effect("in the middle of a group restart leaves nothing, and nothing comes back", () =>
    inWorld(
      () => ({ endMs: 100, spawnMs: 100 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          of(world, "b").end(1)
          yield* TestClock.adjust(250)
          yield* during(world.runtime.stopSupervisor(path))
          yield* TestClock.adjust(3_600_000)
          expect(world.spawner.alive()).toEqual([])
        }),
    ),
  )

  it.effect("of the runtime ends what has an order in that order, and all else at once", () =>
    inWorld(
      () => ({ endMs: 100 }),
      (world) =>
        Effect.gen(function* () {
          yield* family(world, { strategy: "one_for_all" }, all)
          for (const name of ["r1", "r2"]) yield* one(world, name, {}, "root")
          world.spawner.events = []
          yield* during(world.runtime.shutdown())
          const { events } = world.spawner
          expect(events.slice(0, 3).toSorted()).toEqual(["c told", "r1 told", "r2 told"])
          expect(events.filter((event) => /^[abc]/.test(event))).toEqual([
            ...["c told", "c down", "b told", "b down", "a told", "a down"],
          ])
        }),
    ),
  )
})

describe("bad requests", () => {
  it.effect.each([
    [{ path: "root" }, "path", /root is always there/],
    [{ path: "other/s" }, "path", /root\/NAME/],
    [{ path: "root/" }, "path", /root\/NAME/],
    [{ path: "root/a b" }, "path", /names as sessions have them/],
    [{ path, maxRestarts: 3 }, "withinMs", /is missing: maxRestarts needs it/],
    [{ path, withinMs: 3 }, "maxRestarts", /is missing: withinMs needs it/],
  ] as const)("name the field and the remedy: %o", ([request, field, message]) =>
    inWorld(any, ({ runtime }) =>
      Effect.gen(function* () {
        const failure = yield* Effect.flip(runtime.startSupervisor(request))
        expect(failure).toMatchObject({ _tag: "InvalidParams", issues: [{ path: field }] })
        expect(failure.message).toMatch(message)
      }),
    ),
  )

  it.effect(
    "a parent has to be there; a supervisor that is there is answered, or refused where it is another one",
    () =>
      inWorld(any, ({ runtime }) =>
        Effect.gen(function* () {
          expect(yield* Effect.flip(runtime.startSupervisor({ path: "root/x/y" }))).toMatchObject({
            _tag: "SupervisorNotFound",
            supervisor: "root/x",
          })
          const settings = { path, strategy: "rest_for_one", maxRestarts: 3, withinMs: 1_000 } as const
          yield* runtime.startSupervisor(settings)
          expect(yield* runtime.startSupervisor(settings)).toMatchObject({ path, maxRestarts: 3, withinMs: 1_000 })
          for (const other of [{}, { maxRestarts: 4, withinMs: 1_000 }, { strategy: "one_for_one" as const }]) {
            expect(yield* Effect.flip(runtime.startSupervisor({ path, ...other }))).toMatchObject({
              _tag: "SupervisorAlreadyExists",
              strategy: "rest_for_one",
            })
          }
          expect(yield* Effect.flip(runtime.stopSupervisor("root"))).toMatchObject({ _tag: "InvalidParams" })
        }),
      ),
  )
})
