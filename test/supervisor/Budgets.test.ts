import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { during, inWorld, plain, settle, until, words, type World } from "../support/FakeRuntime.ts"
import type { Script } from "../support/FakeSpawner.ts"

/** Each turn costs a quarter, 10 tokens in and 5 out. */
const costly = (): Script => ({
  answer: () => JSON.stringify({ text: "ok", usage: { inputTokens: 10, outputTokens: 5, costUsd: 0.25 } }),
})
const silent = (): Script => ({ answer: () => undefined })
const start = ({ runtime }: World, spec: SessionSpecInput) =>
  runtime.start({ ...plain, name: "a", protocol: "ndjson", ...spec }, "fail")
const ask = ({ runtime }: World) => runtime.ask({ session: "a", prompt: "x" })

describe("a budget", () => {
  for (const [limits, turns] of [
    [{ costUsd: 0.5 }, 2],
    [{ costUsd: 0.51 }, 3],
    [{ tokens: 45 }, 3],
    [{ turns: 1 }, 1],
  ] as const) {
    it.effect(
      `of ${JSON.stringify(limits)} is used up after ${turns} turns: the session is suspended and takes no more`,
      () =>
        inWorld(costly, (world) =>
          Effect.gen(function* () {
            yield* start(world, { limits })
            for (let i = 0; i < turns; i++) expect((yield* ask(world)).status).toBe("completed")
            yield* until(() => world.spawner.alive().length === 0, "ended")
            yield* settle
            expect(yield* world.runtime.get("a")).toMatchObject({ status: "suspended", suspendedBy: "budget" })
            const refused = yield* Effect.flip(ask(world))
            const [limit] = Object.keys(limits)
            expect(refused).toMatchObject({
              _tag: "LimitReached",
              limit: `limits.${limit}`,
              value: Object.values(limits)[0],
            })
            // Waking it makes nothing better.
            yield* world.runtime.resume("a")
            expect((yield* Effect.flip(ask(world)))._tag).toBe("LimitReached")
          }),
        ),
    )
  }

  for (const [wish, status] of [
    ["suspend", "suspended"],
    ["restart", "ready"],
    ["stop", "stopped"],
  ] as const) {
    it.effect(`that is used up by the turn that a ${wish} cancels keeps nobody waiting for the ${wish}`, () =>
      inWorld(silent, (world) =>
        Effect.gen(function* () {
          yield* start(world, { limits: { turns: 1 } })
          const asked = yield* Effect.forkChild(ask(world), { startImmediately: true })
          const { runtime } = world
          const wished = yield* during(wish === "stop" ? runtime.stop("a", "graceful") : runtime[wish]("a"))
          expect(wished.status).toBe(status)
          expect((yield* Fiber.join(asked)).status).toBe("cancelled")
        }),
      ),
    )
  }

  it.effect("that is used up by the turn in which the process dies suspends the session, and starts nothing", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        yield* start(world, { limits: { turns: 1 } })
        const asked = yield* Effect.forkChild(ask(world), { startImmediately: true })
        world.spawner.last.end(1)
        expect((yield* during(Fiber.join(asked))).status).toBe("failed")
        expect(yield* world.runtime.get("a")).toMatchObject({ status: "suspended", suspendedBy: "budget", restarts: 0 })
        const { entries } = yield* world.runtime.transcript("a", { types: ["status"] })
        expect(words(entries)).toEqual(["starting", "ready", "stopping", "suspended"])
      }),
    ),
  )

  it.effect("ends turns that wait as failed with the limit, and stops the session where that is wanted", () =>
    inWorld(costly, (world) =>
      Effect.gen(function* () {
        yield* start(world, { limits: { turns: 2, onReached: "stop" } })
        const turns = yield* Effect.all(
          [1, 2, 3, 4].map(() => ask(world)),
          { concurrency: "unbounded" },
        )
        expect(turns.map(({ status, error }) => [status, error?.tag])).toEqual([
          ["completed", undefined],
          ["completed", undefined],
          ["failed", "LimitReached"],
          ["failed", "LimitReached"],
        ])
        yield* until(() => world.spawner.alive().length === 0, "ended")
        yield* settle
        expect((yield* world.runtime.get("a")).status).toBe("stopped")
        expect(yield* Effect.flip(ask(world))).toMatchObject({ _tag: "LimitReached", limit: "limits.turns", value: 2 })
      }),
    ),
  )

  it.effect("is counted in all and by template", () =>
    inWorld(costly, (world) =>
      Effect.gen(function* () {
        yield* world.runtime.templates.put("costly", { command: "fake", protocol: "ndjson" })
        for (const name of ["a", "b"])
          yield* world.runtime.start({ ...plain, command: "fake", name, template: "costly" }, "fail")
        yield* start(world, { name: "c" })
        for (const session of ["a", "b", "b", "c"]) yield* world.runtime.ask({ session, prompt: "x" })
        const { usage } = yield* world.runtime.stats
        expect(usage.total).toEqual({ inputTokens: 40, outputTokens: 20, costUsd: 1 })
        expect(usage.templates).toEqual({ costly: { inputTokens: 30, outputTokens: 15, costUsd: 0.75 } })
      }),
    ),
  )
})

describe("a conversation", () => {
  const protocol = { type: "ndjson", conversation: { field: "id", resume: ["--resume={id}"] } } as const
  it.effect("has one writer: a second session that turns out to be in it is stopped, and the first goes on", () =>
    inWorld(
      () => ({ answer: () => JSON.stringify({ id: "c1", text: "ok" }) }),
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { protocol })
          expect((yield* ask(world)).status).toBe("completed")
          yield* start(world, { name: "b", protocol })
          yield* world.runtime.ask({ session: "b", prompt: "x" })
          yield* until(() => world.spawner.alive().length === 1, "stopped")
          yield* settle
          expect((yield* world.runtime.get("b")).status).toBe("stopped")
          const notes = (yield* world.runtime.transcript("b", { types: ["note"] })).entries
          expect(notes).toMatchObject([{ text: "the conversation c1 is session a's" }])
          expect((yield* ask(world)).status).toBe("completed")
          // Nor is it brought back while the first one has it.
          expect(yield* Effect.flip(world.runtime.resume("b"))).toMatchObject({
            _tag: "SessionAlreadyExists",
            session: "a",
          })
          yield* world.runtime.remove("a")
          expect((yield* world.runtime.resume("b")).status).toBe("ready")
        }),
    ),
  )

  it.effect("keeps its writer when that one's spec changes", () =>
    inWorld(
      () => ({ answer: () => JSON.stringify({ id: "c1", text: "ok" }) }),
      (world) =>
        Effect.gen(function* () {
          yield* start(world, { protocol })
          yield* ask(world)
          yield* world.runtime.configure({ ...plain, name: "a", protocol, args: ["changed"] })
          yield* start(world, { name: "b", protocol })
          yield* world.runtime.ask({ session: "b", prompt: "x" })
          yield* until(() => world.spawner.alive().length === 1, "stopped")
          yield* settle
          expect((yield* world.runtime.get("b")).status).toBe("stopped")
        }),
    ),
  )
})
