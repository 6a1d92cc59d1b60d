import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { RuntimeError } from "../../src/domain/Errors.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { during, inWorld, plain, settle, until, words, type World } from "../support/FakeRuntime.ts"

const entries = ({ runtime }: World, name = "a") => Effect.map(runtime.transcript(name, {}), (page) => page.entries)
const status = ({ runtime }: World, name = "a") => Effect.map(runtime.get(name), (session) => session.status)
const ask = ({ runtime }: World, prompt: string) => runtime.ask({ session: "a", prompt })
const forked = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
/** A child that answers only what the test makes it say. */
const silent = () => ({ answer: () => undefined })

describe("turns", () => {
  it.effect("are answered one at a time, in order, with a transcript that has every seq once", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          const prompts = Array.from({ length: 50 }, (_, n) => `p${n}`)
          const turns = yield* Effect.all(
            prompts.map((prompt) => ask(world, prompt)),
            { concurrency: "unbounded" },
          )
          expect(turns.map((turn) => turn.text)).toEqual(prompts)
          const seqs = (yield* entries(world)).map((entry) => entry.seq)
          expect(seqs).toEqual(seqs.map((_, i) => i + 1))
        }),
    ),
  )

  it.effect("wake a session that idled into suspension, and answer", () =>
    inWorld(
      () => ({}),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a", idleTimeoutMs: 1_000 }, "fail")
          yield* TestClock.adjust(999)
          expect(yield* status(world)).toBe("ready")
          expect((yield* ask(world, "x")).text).toBe("x")
          yield* TestClock.adjust(999)
          expect(yield* status(world)).toBe("ready")
          yield* TestClock.adjust(1)
          expect(yield* status(world)).toBe("suspended")
          expect(world.spawner.alive()).toEqual([])
          expect((yield* ask(world, "y")).text).toBe("y")
          expect((yield* world.runtime.get("a")).restarts).toBe(0)
        }),
    ),
  )

  it.effect("wake a suspended session also where its mailbox is full of turns that waited", () =>
    inWorld(
      (spawn) => (spawn === 1 ? silent() : {}),
      (world) =>
        Effect.gen(function* () {
          const { runtime } = world
          yield* runtime.start({ ...plain, name: "a", mailbox: { capacity: 1, overflow: "suspend" } }, "fail")
          const first = yield* forked(ask(world, "1"))
          const second = yield* forked(ask(world, "2"))
          yield* runtime.suspend("a")
          expect((yield* Fiber.join(first)).status).toBe("cancelled")
          expect(second.pollUnsafe()).toBe(undefined)
          const third = yield* forked(ask(world, "3"))
          expect((yield* Fiber.join(second)).text).toBe("2")
          expect((yield* Fiber.join(third)).text).toBe("3")
        }),
    ),
  )

  it.effect("that run too long end as timed_out; the incarnation is replaced and its late answer meets no prompt", () =>
    inWorld(
      (spawn) => (spawn === 1 ? { ...silent(), endMs: 500 } : {}),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* runtime.start({ ...plain, name: "a", turnTimeoutMs: 2_000 }, "fail")
          const slow = yield* forked(ask(world, "slow"))
          const next = yield* forked(ask(world, "next"))
          yield* TestClock.adjust(2_000)
          expect(yield* Fiber.join(slow)).toMatchObject({ status: "timed_out", text: "" })
          spawner.processes[0]!.say("answer to slow\n")
          expect((yield* during(Fiber.join(next))).text).toBe("next")
          expect(yield* runtime.get("a")).toMatchObject({ incarnation: 2, restarts: 0 })
          expect((yield* entries(world)).some((entry) => entry.type === "output" && entry.data.includes("slow"))).toBe(
            true,
          )
        }),
    ),
  )

  it.effect("with a timeout of their own end also while they are queued, and while they wait for room", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a", mailbox: { capacity: 1, overflow: "suspend" } }, "fail")
        const running = yield* forked(ask(world, "running"))
        const queued = yield* forked(runtime.ask({ session: "a", prompt: "queued", timeoutMs: 700 }))
        const waiting = yield* forked(runtime.ask({ session: "a", prompt: "waiting", timeoutMs: 300 }))
        yield* TestClock.adjust(300)
        expect((yield* Fiber.join(waiting)).status).toBe("timed_out")
        yield* TestClock.adjust(400)
        expect((yield* Fiber.join(queued)).status).toBe("timed_out")
        spawner.last.say("done\n")
        expect((yield* Fiber.join(running)).text).toBe("done")
      }),
    ),
  )

  it.effect("cut short by a crash fail with ProcessExited, or are asked again as often as retryTurns says", () =>
    inWorld(
      () => ({ answer: (line, process) => (process.end(3), line) }),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          expect(yield* during(ask(world, "x"))).toMatchObject({ status: "failed", error: { tag: "ProcessExited" } })
          yield* world.runtime.start({ ...plain, name: "b", retryTurns: 2 }, "fail")
          const turn = yield* during(world.runtime.ask({ session: "b", prompt: "x" }))
          expect(turn.status).toBe("failed")
          const started = (yield* entries(world, "b")).filter((entry) => entry.type === "turn/started")
          expect(started.map((entry) => entry.attempt)).toEqual([1, 2, 3])
        }),
    ),
  )

  it.effect("of a mailbox that overflows: fail refuses, sliding ends the oldest, dropping ends the newest", () =>
    Effect.gen(function* () {
      const outcome = (overflow: "fail" | "sliding" | "dropping") =>
        inWorld(silent, (world) =>
          Effect.gen(function* () {
            const { runtime, spawner } = world
            yield* runtime.start({ ...plain, name: "a", mailbox: { capacity: 1, overflow } }, "fail")
            const asks: Array<Fiber.Fiber<Turn, RuntimeError>> = []
            for (const prompt of ["1", "2", "3"]) asks.push(yield* forked(ask(world, prompt)))
            spawner.last.say("a\n")
            yield* settle
            spawner.last.say("b\n")
            const exits = yield* Effect.all(asks.map((fiber) => Fiber.await(fiber)))
            return exits.map((exit) => (Exit.isSuccess(exit) ? (exit.value.error?.tag ?? exit.value.text) : "refused"))
          }),
        )
      expect(yield* outcome("fail")).toEqual(["a", "b", "refused"])
      expect(yield* outcome("sliding")).toEqual(["a", "MailboxFull", "b"])
      expect(yield* outcome("dropping")).toEqual(["a", "b", "MailboxFull"])
    }),
  )
})

describe("a stall", () => {
  const stalled = (onStall: "notify" | "cancel" | "restart") =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a", stallTimeoutMs: 1_000, onStall }, "fail")
        const turn = yield* forked(ask(world, "x"))
        yield* TestClock.adjust(900)
        spawner.last.complain("still here")
        yield* TestClock.adjust(900)
        expect(words(yield* entries(world))).not.toContain("turn/stalled")
        yield* TestClock.adjust(5_000)
        expect(words(yield* entries(world)).filter((type) => type === "turn/stalled").length).toBe(1)
        if (turn.pollUnsafe() === undefined) spawner.last.say("at last\n")
        const { status, error } = yield* Fiber.join(turn)
        return [status, error?.tag, (yield* runtime.get("a")).incarnation]
      }),
    )

  it.effect("is told once, and does what onStall says: nothing more, cancel, or restart", () =>
    Effect.gen(function* () {
      expect(yield* stalled("notify")).toEqual(["completed", undefined, 1])
      expect(yield* stalled("cancel")).toEqual(["cancelled", undefined, 2])
      expect(yield* stalled("restart")).toEqual(["failed", "Stalled", 2])
    }),
  )
})

describe("cancelling", () => {
  it.effect("a running turn: it ends once, the session lives on, and the next prompt gets its own answer", () =>
    inWorld(
      (spawn) => (spawn === 1 ? silent() : {}),
      (world) =>
        Effect.gen(function* () {
          yield* world.runtime.start({ ...plain, name: "a" }, "fail")
          const asked = yield* forked(ask(world, "x"))
          const cancelled = yield* world.runtime.cancel("a")
          expect(cancelled.status).toBe("cancelled")
          expect((yield* Fiber.join(asked)).id).toBe(cancelled.id)
          expect((yield* ask(world, "y")).text).toBe("y")
        }),
    ),
  )

  it.effect("a queued turn takes it out; an ended one changes nothing; none running is TurnNotFound", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        expect((yield* Effect.flip(runtime.cancel("a")))._tag).toBe("TurnNotFound")
        const running = yield* runtime.tell({ session: "a", prompt: "1" })
        const queued = yield* runtime.tell({ session: "a", prompt: "2" })
        expect(yield* runtime.cancel("a", queued.id)).toMatchObject({ status: "cancelled", startedAt: null })
        spawner.last.say("one\n")
        yield* settle
        expect(yield* runtime.cancel("a", running.id)).toMatchObject({ status: "completed", text: "one" })
        expect((yield* Effect.flip(runtime.cancel("a", "turn_nonsense")))._tag).toBe("TurnNotFound")
        expect((yield* runtime.get("a")).turns).toEqual({ queued: 0, running: 0, completed: 1, failed: 1 })
      }),
    ),
  )
})

describe("asking", () => {
  it.effect("goes on as a turn when the one who asked is interrupted", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const asked = yield* forked(ask(world, "x"))
        yield* settle
        yield* Fiber.interrupt(asked)
        const turn = (yield* entries(world)).find((entry) => entry.type === "turn/started")!.turn!
        expect((yield* runtime.turn(turn)).status).toBe("running")
        spawner.last.say("answer\n")
        yield* settle
        expect(yield* runtime.turn(turn)).toMatchObject({ status: "completed", text: "answer" })
      }),
    ),
  )

  it.effect("and going away while it waits for room leaves no turn", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a", mailbox: { capacity: 1, overflow: "suspend" } }, "fail")
        yield* runtime.tell({ session: "a", prompt: "1" })
        yield* runtime.tell({ session: "a", prompt: "2" })
        const third = yield* forked(ask(world, "3"))
        yield* settle
        yield* Fiber.interrupt(third)
        spawner.last.say("one\n")
        yield* settle
        spawner.last.say("two\n")
        yield* settle
        expect((yield* runtime.get("a")).turns).toEqual({ queued: 0, running: 0, completed: 2, failed: 0 })
      }),
    ),
  )

  it.effect("under one idempotency key is one turn: later, at once, and while the first still waits for room", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a", mailbox: { capacity: 1, overflow: "suspend" } }, "fail")
        const keyed = (prompt: string, idempotencyKey: string) => ({ session: "a", prompt, idempotencyKey })
        const both = yield* forked(
          Effect.all([runtime.ask(keyed("1", "k")), runtime.ask(keyed("1", "k")), runtime.tell(keyed("1", "k"))], {
            concurrency: "unbounded",
          }),
        )
        yield* settle
        yield* runtime.tell({ session: "a", prompt: "2" })
        const waits = yield* forked(runtime.ask(keyed("3", "w")))
        const again = yield* forked(runtime.ask(keyed("3", "w")))
        const gone = yield* forked(runtime.ask(keyed("3", "w")))
        yield* settle
        // Whoever goes away takes nothing from those that stay.
        yield* Fiber.interrupt(waits)
        yield* Fiber.interrupt(gone)
        for (const text of ["one", "two", "three"]) {
          spawner.last.say(text + "\n")
          yield* settle
        }
        const [first, second, told] = yield* Fiber.join(both)
        expect([second.id, told.id]).toEqual([first.id, first.id])
        expect([first.text, second.text]).toEqual(["one", "one"])
        expect((yield* Fiber.join(again)).text).toBe("three")
        expect((yield* runtime.ask(keyed("1", "k"))).id).toBe(first.id)
        expect((yield* runtime.get("a")).turns.completed).toBe(3)
      }),
    ),
  )

  it.effect("and waiting with a timeout gives the turn as it stands", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, spawner } = world
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const { id } = yield* runtime.tell({ session: "a", prompt: "x" })
        expect((yield* during(runtime.wait(id, 500))).status).toBe("running")
        const waiting = yield* forked(runtime.wait(id))
        spawner.last.say("done\n")
        expect((yield* Fiber.join(waiting)).text).toBe("done")
        expect((yield* runtime.wait(id, 500)).text).toBe("done")
        expect((yield* Effect.flip(runtime.wait("turn_x")))._tag).toBe("TurnNotFound")
      }),
    ),
  )

  it.effect("a session that is removed meanwhile is answered, never left waiting", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime } = world
        yield* runtime.start({ ...plain, name: "a" }, "fail")
        const asks = [yield* forked(ask(world, "1")), yield* forked(ask(world, "2"))]
        const removing = yield* forked(runtime.remove("a"))
        const after = yield* forked(Effect.exit(ask(world, "3")))
        yield* Fiber.join(removing)
        for (const asked of asks) expect((yield* Fiber.join(asked)).status).toBe("cancelled")
        expect(Exit.isFailure(yield* Fiber.join(after))).toBe(true)
        expect((yield* Effect.flip(runtime.get("a")))._tag).toBe("SessionNotFound")
      }),
    ),
  )
})

describe("expiry", () => {
  it.effect("stops the session and removes its record, whatever it does then", () =>
    inWorld(silent, (world) =>
      Effect.gen(function* () {
        const { runtime, store, spawner } = world
        yield* runtime.start({ ...plain, name: "a", expiresInMs: 5_000 }, "fail")
        yield* runtime.start({ ...plain, name: "b", expiresInMs: 5_000 }, "fail")
        yield* runtime.stop("b", "graceful")
        const asked = yield* forked(ask(world, "x"))
        yield* TestClock.adjust(5_000)
        expect((yield* Fiber.join(asked)).status).toBe("cancelled")
        yield* until(() => spawner.alive().length === 0, "stopped")
        expect((yield* runtime.list({})).sessions).toEqual([])
        expect(yield* store.ids).toEqual([])
      }),
    ),
  )
})
