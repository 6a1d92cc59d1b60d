import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { openRuntime, type EmbeddedRuntime, type SessionSpecInput } from "../../src/index.ts"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import * as SupervisorStore from "../../src/domain/SupervisorStore.ts"
import * as TemplateStore from "../../src/domain/TemplateStore.ts"
import type { Command } from "../../src/process/Command.ts"
import { believedMs } from "../../src/process/ProcessCount.ts"
import { layerSpawner } from "../../src/process/SpawnerLayer.ts"
import { Spawner, type SubprocessHandlers } from "../../src/process/Subprocess.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { temporaryDirectory } from "../../src/process/TemporaryDirectory.ts"
import { Runtime } from "../../src/supervisor/Runtime.ts"
import { type AdmissionSpec, defaultOptions, RuntimeConfig } from "../../src/supervisor/RuntimeConfig.ts"
import * as RuntimeLive from "../../src/supervisor/RuntimeLive.ts"
import { descendantsOf, drawSeed, eventually, noGuard, seeded } from "../acceptance/Processes.ts"
import { during, inWorld, plain, settle, words, type World } from "../support/FakeRuntime.ts"
import type { Script } from "../support/FakeSpawner.ts"

const limit = (maxLiveSessions: number, whenFull: AdmissionSpec["whenFull"] = "wait"): AdmissionSpec => ({
  maxLiveSessions,
  maxLiveProcesses: null,
  whenFull,
})
/** Answers at once, but to `hang` never: `release` does. */
const patient: Script = { answer: (line) => (line === "hang" ? undefined : line) }
const names = (count: number) => Array.from({ length: count }, (_, index) => `s${index}`)
const start = ({ runtime }: World, name: string, spec: SessionSpecInput = {}) =>
  runtime.start({ ...plain, name, ...spec }, "fail")
const status = ({ runtime }: World, name: string) => Effect.map(runtime.get(name), (session) => session.status)
const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
const failureOf = <A, E>(exit: Exit.Exit<A, E>) => (Exit.isFailure(exit) ? JSON.stringify(exit.cause) : "none")
/** Keeps so many sessions busy. */
const busy = (world: World, ...all: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    for (const name of all) {
      yield* start(world, name)
      yield* world.runtime.tell({ session: name, prompt: "hang" })
    }
  })
const processOf = (world: World, name: string) =>
  Effect.map(world.runtime.get(name), ({ id }) => world.spawner.of(id).findLast(({ alive }) => alive)!)
const release = (world: World, name: string) => Effect.map(processOf(world, name), (process) => process.say("done\n"))

describe("more sessions than may be live", () => {
  it.effect("are all started, and those that were used longest ago sleep", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* Effect.forEach(names(10), (name) => start(world, name), { concurrency: "unbounded" })
          expect(spawner.mostAlive).toBe(3)
          yield* TestClock.adjust(5)
          for (const name of ["s3", "s1", "s2"]) {
            yield* runtime.ask({ session: name, prompt: "x" })
            yield* TestClock.adjust(5)
          }
          const { sessions } = yield* runtime.list({})
          expect(sessions.filter((session) => session.status === "ready").map(({ name }) => name)).toEqual([
            "s1",
            "s2",
            "s3",
          ])
          const asleep = sessions.filter((session) => session.status === "suspended")
          expect(asleep.map(({ suspendedBy }) => suspendedBy)).toEqual(Array(7).fill("room"))
          yield* runtime.ask({ session: "s1", prompt: "x" })
          yield* TestClock.adjust(5)
          yield* runtime.ask({ session: "s9", prompt: "x" })
          expect([yield* status(world, "s3"), yield* status(world, "s1")]).toEqual(["suspended", "ready"])
          expect(spawner.mostAlive).toBe(3)
          const { entries } = yield* runtime.transcript("s3", {})
          expect(entries.findLast(({ type }) => type === "status")).toMatchObject({
            status: "suspended",
            detail: "to make room for another session",
          })
        }),
      { admission: limit(3) },
    ),
  )

  it.effect("wait where none is idle, first come first served, and readyTimeoutMs is not over meanwhile", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          yield* busy(world, "a", "b")
          const order: Array<string> = []
          for (const name of ["c", "d", "e"]) {
            yield* fork(
              Effect.andThen(
                start(world, name, { readyTimeoutMs: 100 }),
                Effect.sync(() => order.push(name)),
              ),
            )
          }
          yield* TestClock.adjust(300_000)
          expect([order, yield* status(world, "c"), world.spawner.spawns]).toEqual([[], "starting", 2])
          yield* release(world, "b")
          yield* settle
          expect(order).toEqual(["c", "d", "e"])
          expect(yield* status(world, "a")).toBe("busy")
          expect(world.spawner.mostAlive).toBe(2)
        }),
      { admission: limit(2) },
    ),
  )

  it.effect("and readyTimeoutMs counts once one is let in", () =>
    inWorld(
      (spawn) => (spawn === 1 ? patient : { spawnMs: 1_000_000 }),
      (world) =>
        Effect.gen(function* () {
          yield* busy(world, "a")
          const slow = yield* fork(Effect.exit(start(world, "b", { readyTimeoutMs: 100 })))
          yield* TestClock.adjust(10_000)
          yield* release(world, "a")
          yield* TestClock.adjust(99)
          expect(yield* status(world, "b")).toBe("starting")
          yield* TestClock.adjust(1)
          expect(failureOf(yield* Fiber.join(slow))).toContain("NotReady")
        }),
      { admission: limit(1) },
    ),
  )

  it.effect("give their place in the queue up when they are stopped, suspended, removed, or the caller goes away", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          for (const name of ["stopped", "suspended", "removed"]) {
            yield* start(world, name)
            yield* runtime.suspend(name)
          }
          yield* busy(world, "a")
          const before = spawner.spawns
          for (const name of ["stopped", "suspended", "removed"]) yield* fork(Effect.exit(runtime.resume(name)))
          const left = yield* fork(start(world, "left"))
          const last = yield* fork(start(world, "last"))
          yield* settle
          yield* runtime.stop("stopped", "graceful")
          yield* runtime.suspend("suspended")
          yield* runtime.remove("removed")
          yield* Fiber.interrupt(left)
          yield* release(world, "a")
          yield* Fiber.join(last)
          expect(spawner.spawns).toBe(before + 1)
          const { sessions } = yield* runtime.list({})
          expect(sessions.map(({ name, status }) => `${name} ${status}`).toSorted()).toEqual([
            "a suspended",
            "last ready",
            "stopped stopped",
            "suspended suspended",
          ])
        }),
      { admission: limit(1) },
    ),
  )

  it.effect("are started with the spec that they have by then", () =>
    inWorld(
      () => ({ answer: (line) => (line === "hang" ? undefined : line), spawnMs: 5 }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* during(start(world, "b"))
          yield* runtime.suspend("b")
          yield* during(busy(world, "a"))
          const resumed = yield* fork(runtime.resume("b"))
          const other = { ...plain, name: "b", args: ["new"], limits: { lineBytes: 20 } }
          const configured = yield* fork(runtime.configure(other))
          yield* settle
          yield* release(world, "a")
          yield* during(Effect.andThen(Fiber.join(resumed), Fiber.join(configured)))
          expect(spawner.last.command.args).toEqual(["new"])
          const turn = yield* runtime.ask({ session: "b", prompt: "x".repeat(40) })
          expect(turn).toMatchObject({ status: "failed", error: { limit: "lineBytes", value: 20 } })
        }),
      { admission: limit(1) },
    ),
  )

  it.effect("do not keep a shutdown waiting, and none is started by it", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          yield* busy(world, "a", "b")
          const waiting = yield* Effect.forEach(names(5), (name) => fork(Effect.exit(start(world, name))))
          yield* settle
          yield* during(world.runtime.shutdown())
          expect(world.spawner.spawns).toBe(2)
          for (const fiber of waiting) expect(Exit.isFailure(yield* Fiber.join(fiber))).toBe(true)
        }),
      { admission: limit(2) },
    ),
  )
})

describe("a session that crashes", () => {
  const crashing: SessionSpecInput = { backoff: { initialMs: 100, jitter: 0 }, restart: "permanent" }

  it.effect("gives its place back for as long as it waits in backoff, and asks again", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          yield* start(world, "a", crashing)
          ;(yield* processOf(world, "a")).end(1)
          yield* settle
          expect(yield* status(world, "a")).toBe("backoff")
          yield* busy(world, "b")
          yield* TestClock.adjust(10_000)
          expect([yield* status(world, "a"), yield* status(world, "b")]).toEqual(["starting", "busy"])
          yield* release(world, "b")
          yield* settle
          expect([yield* status(world, "a"), yield* status(world, "b")]).toEqual(["ready", "suspended"])
        }),
      { admission: limit(1) },
    ),
  )

  it.effect("and is restarted at once keeps its place, whoever waits; so does one that a client restarts", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          const { runtime } = world
          yield* start(world, "a", { ...crashing, backoff: { initialMs: 0, jitter: 0 }, retryTurns: 5 })
          yield* runtime.tell({ session: "a", prompt: "hang" })
          const waits = yield* fork(start(world, "b"))
          yield* settle
          ;(yield* processOf(world, "a")).end(1)
          yield* settle
          expect([yield* status(world, "a"), yield* status(world, "b")]).toEqual(["busy", "starting"])
          yield* runtime.restart("a")
          yield* Fiber.join(waits)
          expect((yield* runtime.get("a")).incarnation).toBe(3)
          expect(world.spawner.mostAlive).toBe(1)
        }),
      { admission: limit(1) },
    ),
  )

  it.effect("or cannot be started leaves no place lost", () =>
    inWorld(
      (spawn) =>
        spawn % 2 === 1
          ? { ...patient, fails: new SpawnFailed({ command: "x", field: "command", errno: "ENOENT", detail: "none" }) }
          : patient,
      (world) =>
        Effect.gen(function* () {
          for (let i = 0; i < 10; i++) {
            expect(failureOf(yield* Effect.exit(start(world, `s${i}`)))).toContain("SpawnFailed")
            yield* start(world, `s${i}`)
          }
          expect(world.spawner.mostAlive).toBe(2)
        }),
      { admission: limit(2) },
    ),
  )
})

describe("where starts are refused", () => {
  it.effect("a first start fails with LimitReached and leaves no session behind", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          yield* busy(world, "a", "b")
          const refused = failureOf(yield* Effect.exit(start(world, "c")))
          expect(refused).toContain("LimitReached")
          expect(refused).toContain("maxLiveSessions")
          expect((yield* world.runtime.list({})).sessions.length).toBe(2)
          yield* release(world, "b")
          yield* settle
          yield* start(world, "c")
          expect([yield* status(world, "b"), yield* status(world, "c")]).toEqual(["suspended", "ready"])
        }),
      { admission: limit(2, "refuse") },
    ),
  )

  it.effect("a session that is there sleeps on, its turns end failed, and its restarts are not charged", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          const { runtime } = world
          yield* start(world, "c", { intensity: { maxRestarts: 1, withinMs: 60_000 } })
          yield* busy(world, "a")
          expect(yield* status(world, "c")).toBe("suspended")
          for (let i = 0; i < 5; i++) {
            const turn = yield* runtime.ask({ session: "c", prompt: "x" })
            expect(turn).toMatchObject({
              status: "failed",
              error: { tag: "LimitReached", limit: "maxLiveSessions", value: 1 },
            })
            expect(failureOf(yield* Effect.exit(runtime.resume("c")))).toContain("LimitReached")
          }
          expect(yield* runtime.get("c")).toMatchObject({ status: "suspended", suspendedBy: "room", restarts: 0 })
          yield* release(world, "a")
          yield* settle
          expect(yield* runtime.ask({ session: "c", prompt: "x" })).toMatchObject({ status: "completed", text: "x" })
        }),
      { admission: limit(1, "refuse") },
    ),
  )

  it.effect("a restart by the schedule that finds no room leaves the session asleep", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          yield* start(world, "a")
          ;(yield* processOf(world, "a")).end(1)
          yield* settle
          yield* busy(world, "b")
          yield* TestClock.adjust(60_000)
          expect(yield* world.runtime.get("a")).toMatchObject({ status: "suspended", suspendedBy: "room" })
          const { entries } = yield* world.runtime.transcript("a", {})
          expect(words(entries).slice(-3)).toEqual(["backoff", "starting", "suspended"])
        }),
      { admission: limit(1, "refuse") },
    ),
  )

  it.effect("nobody is refused whom an idle session makes room for, however long its end takes", () =>
    inWorld(
      () => ({ ...patient, endMs: 3_000 }),
      (world) =>
        Effect.gen(function* () {
          yield* start(world, "a")
          yield* start(world, "b")
          const fibers = yield* Effect.forEach(["c", "d"], (name) => fork(start(world, name)))
          expect(failureOf(yield* Effect.exit(start(world, "e")))).toContain("LimitReached")
          yield* TestClock.adjust(3_000)
          for (const fiber of fibers) expect((yield* Fiber.join(fiber)).status).toBe("ready")
          expect(world.spawner.mostAlive).toBe(2)
        }),
      { admission: limit(2, "refuse") },
    ),
  )
})

describe("many sessions over a few places, asked at random", () => {
  for (const whenFull of ["wait", "refuse"] as const) {
    it.effect(
      `each turn ends once while processes die and starts fail (${whenFull})`,
      () => {
        const random = seeded(drawSeed(`admission ${whenFull}`))
        const chance = (of: number) => random() < of
        return inWorld(
          () => ({
            ...(chance(0.05)
              ? { fails: new SpawnFailed({ command: "x", field: "command", errno: "EAGAIN", detail: "not now" }) }
              : {}),
            spawnMs: Math.floor(random() * 20),
            endMs: Math.floor(random() * 30),
            answer: (line, process) => {
              if (!chance(0.05)) return line
              process.end(1)
              return undefined
            },
          }),
          (world) =>
            Effect.gen(function* () {
              const { runtime, spawner } = world
              const all = names(20)
              const spec: SessionSpecInput = {
                backoff: { initialMs: 10, maxMs: 50, jitter: 0 },
                intensity: { maxRestarts: 100_000, withinMs: 1 },
                restart: "permanent",
              }
              // A first start may fail, or be refused.
              const begin = (name: string): Effect.Effect<unknown> =>
                start(world, name, spec).pipe(
                  Effect.catch(() =>
                    Effect.andThen(
                      Effect.sleep(10),
                      Effect.suspend(() => begin(name)),
                    ),
                  ),
                )
              const outcomes: Record<string, number> = {}
              const asks = (name: string) =>
                Effect.gen(function* () {
                  yield* begin(name)
                  for (let i = 0; i < 20; i++) {
                    const wish = random()
                    if (wish < 0.05) yield* Effect.ignore(runtime.suspend(name))
                    else if (wish < 0.08) yield* Effect.exit(runtime.restart(name))
                    else if (wish < 0.1) yield* Effect.timeoutOption(Effect.exit(runtime.resume(name)), 5)
                    const prompt = `${name} ${i}`
                    const exit = yield* Effect.exit(runtime.ask({ session: name, prompt }))
                    if (Exit.isFailure(exit)) {
                      // A client's restart that failed to spawn leaves it failed.
                      outcomes["refused"] = (outcomes["refused"] ?? 0) + 1
                      yield* Effect.exit(runtime.restart(name))
                      continue
                    }
                    const turn = exit.value
                    outcomes[turn.status] = (outcomes[turn.status] ?? 0) + 1
                    if (turn.status === "completed") expect(turn.text).toBe(prompt)
                    yield* Effect.sleep(Math.floor(random() * 40))
                  }
                })
              yield* during(Effect.forEach(all, asks, { concurrency: "unbounded", discard: true }), 5)
              expect(spawner.mostAlive).toBeLessThanOrEqual(3)
              expect(outcomes["completed"]).toBeGreaterThan(whenFull === "wait" ? 200 : 50)
              for (const name of all) {
                const { entries } = yield* runtime.transcript(name, { limit: 100_000 })
                const ofType = (type: string) => entries.filter((entry) => entry.type === type).map(({ turn }) => turn)
                expect(ofType("turn/ended").toSorted()).toEqual(ofType("turn/queued").toSorted())
              }
              // No place was lost on the way.
              spawner.script = () => ({})
              for (const name of all) yield* during(Effect.exit(runtime.stop(name, "kill")))
              yield* during(
                Effect.forEach(names(3), (name) => start(world, `new-${name}`), { concurrency: "unbounded" }),
              )
              expect(spawner.alive().length).toBe(3)
            }),
          { admission: limit(3, whenFull) },
        )
      },
      60_000,
    )
  }

  it.effect("a thousand that sleep are each answered over ten places", () =>
    inWorld(
      () => patient,
      (world) =>
        Effect.gen(function* () {
          const all = names(1000)
          yield* Effect.forEach(all, (name) => start(world, name), { concurrency: 100, discard: true })
          const random = seeded(drawSeed("a thousand"))
          const shuffled = all.toSorted(() => random() - 0.5)
          const turns = yield* Effect.forEach(shuffled, (session) => world.runtime.ask({ session, prompt: session }), {
            concurrency: 50,
          })
          expect(turns.map(({ status, text }) => [status, text])).toEqual(shuffled.map((name) => ["completed", name]))
          expect(world.spawner.mostAlive).toBe(10)
        }),
      { admission: limit(10) },
    ),
  )
})

describe("with real processes", () => {
  const withRuntime = async (admission: Partial<AdmissionSpec>, use: (runtime: EmbeddedRuntime) => Promise<void>) => {
    const runtime = await openRuntime({ admission })
    try {
      await use(runtime)
    } finally {
      expect((await runtime.close()).survivors).toEqual([])
    }
  }
  /** Never answers once it was asked. */
  const stuck: SessionSpecInput = { command: "sh", args: ["-c", "read line; exec sleep 1000"] }

  /** A runtime whose spawner knows how many process trees there were at once, from before the spawn to after the end. */
  const counting = async (
    admission: AdmissionSpec,
    use: (runtime: Runtime["Service"], most: () => number) => Promise<void>,
  ) => {
    let now = 0
    let most = 0
    const counted = Layer.effect(
      Spawner,
      Effect.map(Spawner, (inner) => ({
        ...inner,
        spawn: (command: Command, handlers: SubprocessHandlers) =>
          Effect.suspend(() => {
            most = Math.max(most, ++now)
            const told: SubprocessHandlers = {
              onStdout: (chunk) => handlers.onStdout(chunk),
              onStderr: (chunk) => handlers.onStderr(chunk),
              onStdoutEnd: () => handlers.onStdoutEnd?.(),
              onDrain: () => handlers.onDrain(),
              onExit: (exit) => handlers.onExit(exit),
              onClosed: (survivors) => {
                now--
                handlers.onClosed(survivors)
              },
            }
            return Effect.onExit(inner.spawn(command, told), (exit) => Effect.sync(() => Exit.isFailure(exit) && now--))
          }),
      })),
    )
    await Effect.runPromise(
      Effect.gen(function* () {
        const directory = yield* temporaryDirectory
        const config = {
          ...defaultOptions,
          version: "0",
          marker: "test",
          dataDirectory: directory,
          environment: process.env,
          admission,
        }
        const layer = RuntimeLive.layer.pipe(
          Layer.provide(
            Layer.mergeAll(MemorySessionStore.layer, SupervisorStore.layerMemory, TemplateStore.layerMemory),
          ),
          Layer.provide(counted),
          Layer.provide(layerSpawner({ directory })),
          Layer.provide(Layer.succeed(RuntimeConfig, config)),
        )
        const runtime = Context.get(yield* Layer.build(layer), Runtime)
        yield* Effect.promise(() => use(runtime, () => most))
        expect((yield* runtime.shutdown()).survivors).toEqual([])
        expect(now).toBe(0)
      }).pipe(Effect.scoped),
    )
  }

  it("30 sessions over 3 places, asked at random under random kill -9, are all answered, never more than 3 at once", async () => {
    const random = seeded(drawSeed("30 over 3"))
    await counting(limit(3), async (runtime, most) => {
      const all = names(30)
      const spec: SessionSpecInput = {
        command: "cat",
        retryTurns: 1000,
        restart: "permanent",
        backoff: { initialMs: 1, maxMs: 10 },
        intensity: { maxRestarts: 100_000, withinMs: 1 },
      }
      const run = Effect.runPromise
      await Promise.all(all.map((name) => run(runtime.start({ ...spec, name }, "fail"))))
      let kills = 0
      let asking = true
      const killer = (async () => {
        while (asking) {
          const { sessions } = await run(runtime.list({ status: ["ready", "busy"] }))
          // Still the session's own, or reaped and gone: the guard holds a pid until it has told of its end.
          const victim = sessions[Math.floor(random() * sessions.length)]
          if (victim?.pid != null && random() < 0.5) {
            try {
              process.kill(victim.pid, "SIGKILL")
              kills++
            } catch {
              // It was faster.
            }
          }
          await new Promise((resolve) => setTimeout(resolve, 10))
        }
      })()
      await Promise.all(
        all.map(async (session) => {
          for (let i = 0; i < 6; i++) {
            const prompt = `${session} question ${i}`
            const turn = await run(runtime.ask({ session, prompt }))
            expect([turn.status, turn.text]).toEqual(["completed", prompt])
            await new Promise((resolve) => setTimeout(resolve, Math.floor(random() * 30)))
          }
        }),
      )
      asking = false
      await killer
      console.log(`${kills} kills`)
      expect(kills).toBeGreaterThan(3)
      expect(most()).toBe(3)
      const { sessions } = await run(runtime.list({}))
      expect(sessions.filter(({ pid }) => pid !== null).length).toBeLessThanOrEqual(3)
    })
  }, 60_000)

  it("a start that waits is stopped at once, and one that is refused leaves nothing", async () => {
    await withRuntime({ maxLiveSessions: 1 }, async (runtime) => {
      await runtime.start({ command: "cat", name: "asleep" })
      await runtime.suspend("asleep")
      await runtime.start({ ...stuck, name: "stuck" })
      await runtime.tell("stuck", "x")
      const resumed = runtime.resume("asleep").then(
        () => "resumed",
        (error: { _tag: string }) => error._tag,
      )
      await eventually("it waits", async () => (await runtime.get("asleep")).status === "starting")
      expect((await runtime.stop("asleep")).status).toBe("stopped")
      expect(await resumed).toBe("SessionNotRunning")
      const waits = runtime.start({ command: "cat", name: "next" })
      await runtime.stop("stuck", "kill")
      expect((await waits).status).toBe("ready")
    })
    await withRuntime({ maxLiveSessions: 1, whenFull: "refuse" }, async (runtime) => {
      await runtime.start({ ...stuck, name: "stuck" })
      await runtime.tell("stuck", "x")
      await expect(runtime.start({ command: "cat", name: "more" })).rejects.toMatchObject({
        _tag: "LimitReached",
        limit: "maxLiveSessions",
        value: 1,
      })
      expect((await runtime.list()).sessions.map(({ name }) => name)).toEqual(["stuck"])
    })
  }, 60_000)

  const family: SessionSpecInput = { command: "sh", args: ["-c", "sleep 1000 & sleep 1000 & exec cat"] }
  /** The command and its children, by what the kernel says. */
  const sizeOf = (pid: number | null) =>
    pid === null ? 0 : 1 + descendantsOf(pid).filter(({ state }) => state !== "Z").length
  const sizes = async (runtime: EmbeddedRuntime) =>
    (await runtime.list()).sessions.map(({ pid }) => sizeOf(pid)).filter((size) => size > 0)

  it("processes that sessions fork count, and idle sessions make room for others", async (context) => {
    if (process.platform !== "linux") context.skip("processes are counted by /proc")
    await withRuntime({ maxLiveProcesses: 7 }, async (runtime) => {
      for (const name of names(5)) {
        await runtime.start({ ...family, name })
        await eventually("its children are there", async () => sizeOf((await runtime.get(name)).pid) === 3)
        // Older than any scan that the runtime still believes.
        await new Promise((resolve) => setTimeout(resolve, 2 * believedMs))
        expect((await sizes(runtime)).length).toBeLessThanOrEqual(3)
      }
      const { sessions } = await runtime.list()
      expect(sessions.map(({ suspendedBy }) => suspendedBy)).toEqual(["room", "room", null, null, null])
      for (const name of ["s1", "s0", "s4"]) {
        expect((await runtime.ask(name, `hello ${name}`)).text).toBe(`hello ${name}`)
        await new Promise((resolve) => setTimeout(resolve, 2 * believedMs))
        expect((await sizes(runtime)).length).toBeLessThanOrEqual(3)
      }
    })
  }, 60_000)

  it("a start that waits for processes is let in once there are fewer, whoever ended them", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    await withRuntime({ maxLiveProcesses: 3 }, async (runtime) => {
      await runtime.start({ command: "sh", args: ["-c", "sleep 1000 & sleep 1000 & read line; wait"], name: "busy" })
      await runtime.tell("busy", "x")
      const { pid } = await runtime.get("busy")
      await eventually("its children are there", () => sizeOf(pid) === 3)
      await new Promise((resolve) => setTimeout(resolve, 2 * believedMs))
      let started = false
      const waits = runtime.start({ command: "cat", name: "next" }).then(() => (started = true))
      await eventually("it waits", async () => (await runtime.list({ status: "starting" })).sessions.length === 1)
      await new Promise((resolve) => setTimeout(resolve, 4 * believedMs))
      expect(started).toBe(false)
      process.kill(descendantsOf(pid!)[0]!.pid, "SIGKILL")
      await waits
      expect((await runtime.get("busy")).status).toBe("busy")
    })
    await withRuntime({ maxLiveProcesses: 2, whenFull: "refuse" }, async (runtime) => {
      await runtime.start({ command: "sh", args: ["-c", "sleep 1000 & read line; wait"], name: "busy" })
      await runtime.tell("busy", "x")
      const { pid } = await runtime.get("busy")
      await eventually("its child is there", () => sizeOf(pid) === 2)
      await new Promise((resolve) => setTimeout(resolve, 2 * believedMs))
      await expect(runtime.start({ command: "cat", name: "more" })).rejects.toMatchObject({
        _tag: "LimitReached",
        limit: "maxLiveProcesses",
        value: 2,
      })
    })
  }, 60_000)
})
