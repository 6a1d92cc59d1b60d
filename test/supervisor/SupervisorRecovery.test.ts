/** Supervisors across runtimes, in virtual time: two runtimes, one after the other, over the same stores. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import * as SupervisorStore from "../../src/domain/SupervisorStore.ts"
import type { Command } from "../../src/process/Command.ts"
import type { SupervisorTreeNode } from "../../src/supervisor/Runtime.ts"
import { during, inWorld, lastingStore, plain, settle, until, type World } from "../support/FakeRuntime.ts"
import type { Script } from "../support/FakeSpawner.ts"

const path = "root/s"
type Use = (world: World) => Effect.Effect<unknown, unknown>

const across = (
  how: "killed" | "shut down",
  first: Use,
  then: Use,
  script: (spawn: number, command: Command) => Script = () => ({}),
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const lasting = lastingStore()
    const opened = lasting.opened()
    const supervisors = SupervisorStore.makeMemory()
    yield* inWorld(
      script,
      (world) => Effect.tap(first(world), () => Effect.sync(() => how === "killed" && opened.die())),
      { store: opened.store, supervisors },
    )
    yield* inWorld(script, then, { store: lasting.opened().store, supervisors })
  })

const start = ({ runtime }: World, name: string, fields: SessionSpecInput = {}) =>
  during(
    runtime.start(
      { ...plain, name, command: name, supervisor: path, restart: "permanent", backoff: { initialMs: 0 }, ...fields },
      "fail",
    ),
  )
const crash = ({ spawner }: World, name: string) =>
  Effect.gen(function* () {
    spawner.processes.findLast(({ command }) => command.command === name)!.end(1)
    for (let turn = 0; turn < 10; turn++) yield* settle
  })
const statuses = ({ runtime }: World, ...names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => Effect.map(runtime.get(name), ({ status }) => status))
const tree = ({ runtime }: World) => Effect.map(runtime.tree, (root) => (root as SupervisorTreeNode).children)

describe.each(["killed", "shut down"] as const)("after a runtime was %s", (how) => {
  it.effect("its supervisors are there, as they were set; their sessions start in order, each up before the next", () =>
    across(
      how,
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.startSupervisor({ path, strategy: "rest_for_one", maxRestarts: 3, withinMs: 9_000 })
          yield* start(world, "a")
          yield* world.runtime.startSupervisor({ path: `${path}/n` })
          yield* start(world, "x", { supervisor: `${path}/n` })
          yield* TestClock.adjust(1)
          yield* start(world, "b")
          yield* start(world, "c")
          yield* during(world.runtime.stop("b", "graceful"))
          yield* settle
        }),
      (world) =>
        Effect.gen(function* () {
          yield* until(() => world.spawner.alive().length === 3, "all up")
          expect(world.spawner.events).toEqual(["a up", "x up", "c up"])
          expect(yield* tree(world)).toMatchObject([
            {
              path,
              strategy: "rest_for_one",
              maxRestarts: 3,
              withinMs: 9_000,
              children: [{ name: "a" }, { path: `${path}/n`, children: [{ name: "x" }] }, { name: "b" }, { name: "c" }],
            },
          ])
          // What was stopped has kept its place.
          yield* during(world.runtime.restart("b"))
          world.spawner.events = []
          yield* crash(world, "a")
          yield* until(() => world.spawner.alive().length === 4, "all up")
          expect(world.spawner.events).toEqual([
            ...["a down", "c told", "c down", "b told", "b down", "x told", "x down"],
            ...["a up", "x up", "b up", "c up"],
          ])
        }),
      () => ({ spawnMs: 20 }),
    ),
  )

  it.effect("one that had given up is still failed, with its reason, and can be started anew with its sessions", () =>
    across(
      how,
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.startSupervisor({ path, strategy: "one_for_all", maxRestarts: 0, withinMs: 9_000 })
          for (const name of ["a", "b", "z"]) yield* start(world, name)
          yield* during(world.runtime.suspend("z"))
          yield* crash(world, "a")
          expect(yield* statuses(world, "a", "b", "z")).toEqual(["failed", "failed", "failed"])
        }),
      (world) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(60_000)
          expect(world.spawner.spawns).toBe(0)
          expect(yield* tree(world)).toMatchObject([
            { status: "failed", reason: "more than 0 restarts within 9000 ms" },
          ])
          expect((yield* Effect.flip(world.runtime.restart("a")))._tag).toBe("RestartIntensityReached")
          yield* during(world.runtime.startSupervisor({ path }))
          expect(world.spawner.events).toEqual(["a up", "b up"])
          expect(yield* statuses(world, "a", "b", "z")).toEqual(["ready", "ready", "suspended"])
        }),
    ),
  )
})

describe("after a runtime was killed", () => {
  it.effect("while a group was being restarted: whoever waited for its turn starts in its turn, with its mailbox", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.startSupervisor({ path, strategy: "one_for_all" })
          for (const name of ["a", "b", "c"]) yield* start(world, name)
          world.spawner.processes[1]!.end(1)
          yield* TestClock.adjust(50)
          expect(yield* statuses(world, "b")).toEqual(["backoff"])
          for (const session of ["b", "c"]) yield* world.runtime.tell({ session, prompt: session })
        }),
      (world) =>
        Effect.gen(function* () {
          yield* until(() => world.spawner.alive().length === 3, "all up")
          expect(world.spawner.events).toEqual(["a up", "b up", "c up"])
          yield* TestClock.adjust(10)
          for (const session of ["b", "c"]) {
            const { turns } = yield* world.runtime.history(session, {})
            expect(turns).toMatchObject([{ status: "completed", text: session }])
          }
        }),
      () => ({ endMs: 100 }),
    ),
  )

  it.effect("while a supervisor fell: its sessions are failed in the end, and their turns ended with the reason", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.startSupervisor({ path, strategy: "one_for_all", maxRestarts: 0, withinMs: 9_000 })
          for (const name of ["a", "b", "c"]) yield* start(world, name)
          const { id } = yield* world.runtime.tell({ session: "b", prompt: "first" })
          yield* world.runtime.tell({ session: "b", prompt: "second" })
          yield* settle
          expect(id).toMatch(/^turn_/)
          world.spawner.processes[0]!.end(1)
          yield* TestClock.adjust(50)
          expect(yield* statuses(world, "a", "b")).toEqual(["failed", "busy"])
        }),
      (world) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(60_000)
          expect(world.spawner.spawns).toBe(0)
          expect(yield* statuses(world, "a", "b", "c")).toEqual(["failed", "failed", "failed"])
          const { turns } = yield* world.runtime.history("b", {})
          expect(turns).toMatchObject([
            { status: "failed", error: { tag: "RestartIntensityReached", supervisor: path } },
            { status: "lost" },
          ])
        }),
      () => ({ endMs: 100, answer: () => undefined }),
    ),
  )

  it.effect("one that was stopped is gone, and its sessions stay on record", () =>
    across(
      "killed",
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.startSupervisor({ path })
          yield* start(world, "a")
          yield* during(world.runtime.stopSupervisor(path))
        }),
      (world) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(60_000)
          expect(yield* tree(world)).toEqual([])
          expect(yield* statuses(world, "a")).toEqual(["stopped"])
          expect((yield* Effect.flip(world.runtime.restart("a")))._tag).toBe("SupervisorNotFound")
        }),
    ),
  )
})

describe("a supervisor on record", () => {
  it.effect("whose parent is not there any more does not keep the runtime from starting, and is forgotten", () =>
    Effect.gen(function* () {
      const supervisors = SupervisorStore.makeMemory()
      const of = (path: string) =>
        supervisors.put({ path, strategy: "one_for_one", intensity: null, createdAt: 1, givenUp: null })
      yield* of(path)
      yield* of("root/gone/n")
      yield* of("root/gone/n/m")
      yield* inWorld(
        () => ({}),
        (world) => Effect.map(tree(world), (nodes) => expect(nodes).toMatchObject([{ path }])),
        {
          store: lastingStore().opened().store,
          supervisors,
        },
      )
      expect((yield* supervisors.supervisors).map((record) => record.path)).toEqual([path])
    }),
  )
})
