/** Permission requests through a whole runtime, over a child that speaks JSON-RPC and asks before it does anything. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { inWorld, lastingStore, plain, settle, until, type World } from "../support/FakeRuntime.ts"
import type { Script } from "../support/FakeSpawner.ts"

/** `do` is answered once leave was given or refused; the child's own request has the id 0 every time. */
const careful = (): Script => {
  const waiting: Array<number> = []
  return {
    answer: (line) => {
      const { id, method, params, result, error } = JSON.parse(line) as Record<string, unknown>
      if (method === "do") {
        waiting.push(id as number)
        return JSON.stringify({ jsonrpc: "2.0", id: 0, method: "may I", params })
      }
      if (id !== 0) return undefined
      const outcome = error === undefined ? { allowed: result } : { refused: error }
      return JSON.stringify({ jsonrpc: "2.0", id: waiting.shift(), result: outcome })
    },
  }
}
const start = ({ runtime }: World, spec: SessionSpecInput = {}) =>
  runtime.start({ ...plain, name: "a", protocol: "jsonrpc", ...spec }, "fail")
const doing = (what: string) => JSON.stringify({ method: "do", params: { what } })
const begin = (world: World, what = "x") =>
  Effect.gen(function* () {
    const asked = yield* Effect.forkChild(world.runtime.ask({ session: "a", prompt: doing(what) }), {
      startImmediately: true,
    })
    yield* settle
    return asked
  })
const requests = ({ runtime }: World) => Effect.map(runtime.get("a"), ({ pendingRequests }) => pendingRequests)
const resolutions = ({ runtime }: World) =>
  Effect.map(runtime.transcript("a", { types: ["permission/resolved"] }), ({ entries }) =>
    entries.flatMap((entry) => (entry.type === "permission/resolved" ? [[entry.outcome, entry.by]] : [])),
  )

describe("a permission request", () => {
  it.effect("waits for a client, and the first answer wins", () =>
    inWorld(careful, (world) =>
      Effect.gen(function* () {
        yield* start(world)
        const asked = yield* begin(world)
        const [open, ...more] = yield* requests(world)
        expect(more).toEqual([])
        expect(open).toMatchObject({ tool: "may I", input: { what: "x" }, turn: expect.stringMatching(/^turn_/) })
        expect(open!.expiresAt - open!.requestedAt).toBe(300_000)
        const { request } = open!
        const nonsense = yield* Effect.flip(world.runtime.answer({ session: "a", request, outcome: "perhaps" }))
        expect(nonsense.message).toMatch(/^outcome: means none of the options/)
        const both = yield* Effect.all(
          [
            Effect.exit(world.runtime.answer({ session: "a", request, outcome: "allow", by: "ada", result: 7 })),
            Effect.exit(world.runtime.answer({ session: "a", request, outcome: "deny", by: "bo" })),
          ],
          { concurrency: "unbounded" },
        )
        expect(both.map(({ _tag }) => _tag)).toEqual(["Success", "Failure"])
        expect(JSON.stringify(both[1])).toContain("RequestNotFound")
        expect(JSON.parse((yield* Fiber.join(asked)).text)).toEqual({ allowed: 7 })
        expect(yield* requests(world)).toEqual([])
        expect((yield* resolutions(world)).map(([, by]) => by)).toEqual(["ada"])
      }),
    ),
  )

  it.effect("is answered by a rule where one fits, without anybody's doing", () =>
    inWorld(careful, (world) =>
      Effect.gen(function* () {
        yield* start(world, {
          permissions: {
            rules: [
              { tool: "may *", input: { what: "rm*" }, decision: "deny" },
              { tool: "may *", input: { what: "ls*" }, decision: "allow" },
            ],
          },
        })
        expect((yield* world.runtime.ask({ session: "a", prompt: doing("ls -l") })).text).toContain("allowed")
        expect((yield* world.runtime.ask({ session: "a", prompt: doing("rm -r") })).text).toContain("refused")
        expect((yield* resolutions(world)).map(([, by]) => by)).toEqual(["rule", "rule"])
      }),
    ),
  )

  for (const [onTimeout, word] of [
    ["deny", "refused"],
    ["allow", "allowed"],
  ] as const) {
    it.effect(`is answered with ${onTimeout} when its time is up; until then its silence is no stall`, () =>
      inWorld(careful, (world) =>
        Effect.gen(function* () {
          yield* start(world, { permissions: { timeoutMs: 5_000, onTimeout }, stallTimeoutMs: 100, onStall: "restart" })
          const asked = yield* begin(world)
          yield* TestClock.adjust(4_999)
          expect((yield* requests(world)).length).toBe(1)
          yield* TestClock.adjust(1)
          expect((yield* Fiber.join(asked)).text).toContain(word)
          expect((yield* resolutions(world)).map(([, by]) => by)).toEqual(["timeout"])
          expect(world.spawner.spawns).toBe(1)
        }),
      ),
    )
  }

  it.effect("is settled with its turn, and with its process", () =>
    inWorld(careful, (world) =>
      Effect.gen(function* () {
        yield* start(world, { backoff: { initialMs: 0 } })
        yield* begin(world)
        yield* world.runtime.cancel("a")
        expect(yield* requests(world)).toEqual([])
        yield* until(() => world.spawner.alive().length === 1, "replaced")
        const asked = yield* begin(world)
        expect((yield* requests(world)).length).toBe(1)
        world.spawner.last.end("SIGKILL")
        yield* settle
        expect((yield* Fiber.join(asked)).status).toBe("failed")
        expect(yield* requests(world)).toEqual([])
        expect((yield* resolutions(world)).map(([outcome]) => outcome)).toEqual(["cancelled", "cancelled"])
      }),
    ),
  )

  it.effect("is told to a client that attaches later, and nothing else of before", () =>
    inWorld(careful, (world) =>
      Effect.scoped(
        Effect.gen(function* () {
          yield* start(world)
          yield* begin(world)
          const late = yield* world.runtime.subscribe({ session: "a" })
          const { entries } = yield* late.pull()
          expect(entries.map(({ type }) => type)).toEqual(["permission/requested"])
          const [open] = yield* requests(world)
          expect(entries[0]).toMatchObject({ request: open!.request, seq: open!.seq })
          yield* world.runtime.answer({ session: "a", request: open!.request, outcome: "allow" })
          const next = yield* late.pull()
          expect(next.entries[0]).toMatchObject({ type: "permission/resolved", request: open!.request })
        }),
      ),
    ),
  )

  it.effect("that waited when the runtime died is settled by the next one", () =>
    Effect.gen(function* () {
      const lasting = lastingStore()
      const opened = lasting.opened()
      yield* inWorld(
        careful,
        (world) =>
          Effect.gen(function* () {
            yield* start(world)
            yield* begin(world)
            opened.die()
          }),
        { store: opened.store },
      )
      yield* inWorld(
        careful,
        (world) =>
          Effect.gen(function* () {
            expect(yield* requests(world)).toEqual([])
            expect(yield* resolutions(world)).toEqual([["cancelled", "runtime"]])
          }),
        { store: lasting.opened().store },
      )
    }),
  )
})
