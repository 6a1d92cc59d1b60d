import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../src/domain/Errors.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import type { RuntimeHealth } from "../../src/supervisor/Runtime.ts"
import { confined } from "../../src/transport/TokensConfinement.ts"
import type { Confinement } from "../../src/transport/Tokens.ts"
import { during, inWorld, lastingStore, plain, settle, until } from "../support/FakeRuntime.ts"

const full = new StoreUnavailable({ detail: "the disk is full" })
const well = { status: "ok", live: true, ready: true, problems: [] }

/** A store that answers as it is told. */
const moody = () => {
  const inner = MemorySessionStore.make()
  const mood: { commits: "well" | "failing"; reads: "well" | "failing" | "silent" | "dying" } = {
    commits: "well",
    reads: "well",
  }
  const store: typeof inner = {
    ...inner,
    commit: (commit) => Effect.suspend(() => (mood.commits === "well" ? inner.commit(commit) : Effect.fail(full))),
    session: (session) =>
      Effect.suspend(() => {
        switch (mood.reads) {
          case "well":
            return inner.session(session)
          case "failing":
            return Effect.fail(full)
          case "silent":
            return Effect.never
          case "dying":
            return Effect.die(new Error("a bug"))
        }
      }),
  }
  return { mood, store }
}

describe("a runtime's health", () => {
  it.effect("is starting until what had to be started is there", () =>
    inWorld(
      () => ({}),
      ({ runtime }) =>
        Effect.gen(function* () {
          expect(yield* runtime.health).toEqual({ ...well, status: "starting", ready: false })
          // It takes work all the same: what is to be started with it is work as well.
          yield* runtime.start({ ...plain, name: "a" }, "fail")
          yield* runtime.opened
          expect(yield* runtime.health).toEqual(well)
        }),
      { opensLater: true },
    ),
  )

  it.effect("is degraded and ready where a session failed", () =>
    inWorld(
      (spawn) => (spawn === 1 ? {} : { up: (process) => process.end(1) }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          const intensity = { maxRestarts: 0, withinMs: 1000 }
          yield* runtime.start({ ...plain, name: "a", restart: "permanent", intensity }, "fail")
          spawner.processes[0]!.end(1)
          yield* settle
          const health = yield* runtime.health
          expect(health).toMatchObject({ status: "degraded", live: true, ready: true })
          expect(health.problems).toEqual([expect.stringContaining("session a is failed")])
        }),
    ),
  )

  it.effect(
    "is degraded by sessions that failed before this runtime began, whether somebody asked for them or not",
    () =>
      Effect.gen(function* () {
        const lasting = lastingStore()
        const failing = { ...plain, restart: "permanent", intensity: { maxRestarts: 0, withinMs: 1000 } } as const
        yield* inWorld(
          () => ({}),
          ({ runtime, spawner }) =>
            Effect.gen(function* () {
              for (let n = 0; n < 150; n++) {
                yield* runtime.start({ ...failing, name: `s${n}`, tags: { team: n < 140 ? "x" : "y" } }, "fail")
                spawner.processes[n]!.end(1)
              }
              yield* until(() => spawner.processes.length === 150, "started")
              yield* settle
            }),
          { store: lasting.opened().store },
        )
        yield* inWorld(
          () => ({}),
          ({ runtime }) =>
            Effect.gen(function* () {
              const names = (health: RuntimeHealth) => health.problems.map((problem) => problem.split(" is failed")[0])
              const health = yield* runtime.health
              expect(health).toMatchObject({ status: "degraded", ready: true })
              expect(names(health)).toHaveLength(101)
              expect(health.problems[100]).toMatch(/^at least \d+ more sessions are failed$/)
              const other = confined(runtime, { tags: { team: "y" } })
              const others = Array.from({ length: 10 }, (_, n) => `session s${140 + n}`)
              expect(names(yield* other.health)).toEqual(others)
              // One that is looked at is told once, and not at all once it runs, or is gone.
              yield* runtime.get("s145")
              expect(names(yield* other.health).toSorted()).toEqual(others)
              yield* runtime.restart("s145")
              yield* runtime.remove("s146")
              expect(names(yield* other.health)).toEqual(others.filter((name) => !/14[56]$/.test(name)))
            }),
          { store: lasting.opened().store },
        )
      }),
  )

  it.effect("tells a confined token of its own sessions and supervisors alone", () =>
    inWorld(
      (spawn) => (spawn <= 2 ? {} : { up: (process) => process.end(1) }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          yield* runtime.startSupervisor({ path: "root/one", maxRestarts: 0, withinMs: 1000 })
          const intensity = { maxRestarts: 0, withinMs: 1000 }
          const failing = { ...plain, restart: "permanent", intensity } as const
          yield* runtime.start({ ...failing, name: "a", tags: { team: "x" }, supervisor: "root/one" }, "fail")
          yield* runtime.start({ ...failing, name: "b", tags: { team: "y" } }, "fail")
          const seen = (confinement: Confinement) =>
            Effect.map(confined(runtime, confinement).health, ({ status, problems }) => [
              status,
              ...problems.map((problem) => problem.split(" is failed")[0]),
            ])
          spawner.processes[1]!.end(1)
          yield* settle
          expect(yield* seen({ tags: { team: "y" } })).toEqual(["degraded", "session b"])
          expect(yield* seen({ tags: { team: "x" } })).toEqual(["ok"])
          expect(yield* seen({ supervisor: "root/one" })).toEqual(["ok"])
          spawner.processes[0]!.end(1)
          yield* settle
          expect(yield* seen({ supervisor: "root/one" })).toContain("session a")
          expect(yield* seen({ supervisor: "root/one" })).not.toContain("session b")
          expect(yield* seen({ supervisor: "root/on" })).toEqual(["ok"])
          expect(yield* seen({ tags: { team: "x" } })).toEqual(["degraded", "session a"])
        }),
    ),
  )

  it.effect("is not ready while it drains", () =>
    inWorld(
      () => ({ answer: () => undefined }),
      ({ runtime }) =>
        Effect.gen(function* () {
          yield* runtime.start({ ...plain, name: "a" }, "fail")
          yield* runtime.tell({ session: "a", prompt: "hang" })
          yield* Effect.forkChild(runtime.shutdown(60_000), { startImmediately: true })
          yield* settle
          expect(yield* runtime.health).toEqual({ ...well, status: "draining", ready: false })
        }),
    ),
  )

  it.effect("is not ready while the store takes nothing, and is again when it does", () => {
    const { mood, store } = moody()
    return inWorld(
      () => ({}),
      ({ runtime }) =>
        Effect.gen(function* () {
          yield* runtime.start({ ...plain, name: "a" }, "fail")
          mood.commits = "failing"
          const asked = yield* Effect.forkChild(runtime.ask({ session: "a", prompt: "hi" }), { startImmediately: true })
          yield* settle
          const health = yield* runtime.health
          expect(health).toMatchObject({ status: "degraded", live: true, ready: false })
          expect(health.problems).toEqual(["the store does not answer: the disk is full"])
          mood.commits = "well"
          yield* until(() => asked.pollUnsafe() !== undefined, "answered")
          expect(yield* runtime.health).toEqual(well)
        }),
      { store },
    )
  })

  for (const reads of ["failing", "silent", "dying"] as const) {
    it.effect(`is not ready while a store is ${reads}`, () => {
      const { mood, store } = moody()
      return inWorld(
        () => ({}),
        ({ runtime }) =>
          Effect.gen(function* () {
            mood.reads = reads
            expect(yield* during(runtime.health, 100)).toMatchObject({ live: true, ready: false })
            mood.reads = "well"
            expect(yield* runtime.health).toEqual(well)
          }),
        { store },
      )
    })
  }
})
