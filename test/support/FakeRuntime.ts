/** A whole runtime over fake processes and the memory store, in the test's own time. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import * as SupervisorStore from "../../src/domain/SupervisorStore.ts"
import * as TemplateStore from "../../src/domain/TemplateStore.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { Runtime } from "../../src/supervisor/Runtime.ts"
import { type AdmissionSpec, defaultOptions, RuntimeConfig } from "../../src/supervisor/RuntimeConfig.ts"
import * as RuntimeLive from "../../src/supervisor/RuntimeLive.ts"
import { FakeSpawner, type Script } from "./FakeSpawner.ts"
import type { Command } from "../../src/process/Command.ts"

/** Of this process alone: another user's could not be written to. */
const dataDirectory = mkdtempSync(join(tmpdir(), "creche-fake-"))
afterAll(() => rmSync(dataDirectory, { recursive: true, force: true }))

export interface World {
  readonly runtime: Runtime["Service"]
  readonly spawner: FakeSpawner
  readonly store: SessionStore["Service"]
}

/** Jitter off, so that times can be said; no directory, so that nothing is written. */
export const plain: SessionSpecInput = { command: "fake", cwd: tmpdir(), backoff: { jitter: 0 }, idleTimeoutMs: null }

export const inWorld = <A, E>(
  script: (spawn: number, command: Command) => Script,
  use: (world: World) => Effect.Effect<A, E>,
  options: {
    readonly restarts?: { readonly burst: number; readonly perSecond: number }
    readonly dataDirectory?: string
    readonly admission?: AdmissionSpec
    readonly opensLater?: boolean
    /** Of a runtime that was here before; makes this one durable. */
    readonly store?: SessionStore["Service"]
    readonly supervisors?: SupervisorStore.SupervisorStore["Service"]
  } = {},
): Effect.Effect<A, E> => {
  const spawner = new FakeSpawner(script)
  const config = Layer.succeed(RuntimeConfig, {
    ...defaultOptions,
    version: "0",
    marker: "test",
    dataDirectory,
    environment: {},
    durable: options.store !== undefined,
    ...options,
  })
  const kept = options.store === undefined ? MemorySessionStore.layer : Layer.succeed(SessionStore, options.store)
  const supervisors =
    options.supervisors === undefined
      ? SupervisorStore.layerMemory
      : Layer.succeed(SupervisorStore.SupervisorStore, options.supervisors)
  const world = Layer.orDie(
    RuntimeLive.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(config, spawner.layer, kept, supervisors, TemplateStore.layerMemory)),
    ),
  )
  return Effect.gen(function* () {
    const runtime = yield* Runtime
    const store = yield* SessionStore
    // A shutdown takes time, and time passes only when somebody lets it.
    const answer = yield* Effect.ensuring(use({ runtime, spawner, store }), during(Effect.orDie(runtime.shutdown())))
    if (spawner.alive().length > 0) throw new Error(`${spawner.alive().length} processes outlived the runtime`)
    if (spawner.overlaps > 0) throw new Error(`${spawner.overlaps} times a session had two processes`)
    return answer
  }).pipe(Effect.provide(world))
}

/** Lets everything that is due now happen. */
export const settle: Effect.Effect<void> = TestClock.adjust(0)

/** Lets time pass while an effect runs, a step at a time, until it is done. */
export const during = <A, E>(effect: Effect.Effect<A, E>, stepMs = 10, atMostMs = 600_000): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let passed = 0; fiber.pollUnsafe() === undefined && passed <= atMostMs; passed += stepMs) {
      yield* TestClock.adjust(stepMs)
    }
    if (fiber.pollUnsafe() === undefined) throw new Error(`not done after ${atMostMs} ms`)
    return yield* Fiber.join(fiber)
  })

/** Passes time until something holds. */
export const until = (holds: () => boolean, what: string, stepMs = 10, atMostMs = 600_000): Effect.Effect<number> =>
  Effect.gen(function* () {
    for (let passed = 0; passed <= atMostMs; passed += stepMs) {
      if (holds()) return passed
      yield* TestClock.adjust(stepMs)
    }
    throw new Error(`never ${what}`)
  })

export const words = (entries: ReadonlyArray<TranscriptEntry>): ReadonlyArray<string> =>
  entries.map((entry) => (entry.type === "status" ? entry.status : entry.type))

/** Time passes as ever, while somebody sets the wall clock by so many milliseconds. */
export const withWallClock = <A, E>(use: (set: (byMs: number) => void) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    let offset = 0
    const shifted: Clock.Clock = Object.assign(Object.create(clock), {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + offset,
    })
    return yield* use((byMs) => (offset += byMs)).pipe(Effect.provideService(Clock.Clock, shifted))
  })

/** A store that outlives the runtimes over it. Once one of them is dead, nothing of it arrives any more. */
export const lastingStore = () => {
  const inner = MemorySessionStore.make()
  const opened = (): { readonly store: SessionStore["Service"]; readonly die: () => void } => {
    let dead = false
    const refused = new StoreUnavailable({ detail: "its runtime is dead" })
    const store: SessionStore["Service"] = {
      ...inner,
      commit: (commit) => Effect.suspend(() => (dead ? Effect.fail(refused) : inner.commit(commit))),
      remove: (session) => Effect.suspend(() => (dead ? Effect.fail(refused) : inner.remove(session))),
    }
    return { store, die: () => void (dead = true) }
  }
  return { inner, opened }
}
