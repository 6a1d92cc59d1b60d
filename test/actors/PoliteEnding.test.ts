/** Endings in the words of a protocol, in virtual time: `claude` and `lsp` stand for those that have some. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { FakeProcess, Script } from "../support/FakeSpawner.ts"
import { during, inWorld, plain, settle, type World } from "../support/FakeRuntime.ts"

const claude: SessionSpecInput = { ...plain, name: "a", protocol: "claude" }

type Message = { readonly type?: string; readonly request?: { readonly subtype?: string } }
const subtype = (line: string): string | undefined => {
  const { type, request } = JSON.parse(line) as Message
  return type === "user" ? "prompt" : request?.subtype
}

const initialized = JSON.stringify({
  type: "control_response",
  response: { subtype: "success", request_id: "initialize", response: {} },
})
const interrupted = JSON.stringify({ type: "result", subtype: "error_during_execution", is_error: true })

/** A Claude Code that answers no prompt; `interrupt`: what it says to one. */
const cli = (interrupt: string | undefined, more: Script = {}): Script => ({
  ...more,
  answer: (line) => {
    const what = subtype(line)
    return what === "initialize" ? initialized : what === "interrupt" ? interrupt : undefined
  },
})

const asked = (process: FakeProcess) => process.input.trimEnd().split("\n").map(subtype)

/** Starts it and gives it a prompt that it works on. */
const busy = ({ runtime }: World, spec: SessionSpecInput = claude) =>
  Effect.gen(function* () {
    yield* during(runtime.start(spec, "fail"))
    const turn = yield* runtime.tell({ session: "a", prompt: "work" })
    yield* settle
    return turn.id
  })

describe("a child whose protocol has an ending of its own", () => {
  it.effect("is interrupted, and its stdin ends once the turn has; its exit is its own", () =>
    inWorld(
      () => cli(interrupted, { eof: (process) => process.end(0) }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          const turn = yield* busy(world)
          expect(yield* runtime.stop("a", "graceful")).toMatchObject({
            status: "stopped",
            exit: { kind: "exited", code: 0 },
          })
          expect(asked(spawner.last)).toEqual(["initialize", "prompt", "interrupt"])
          expect(spawner.last.told).toEqual([])
          expect(yield* runtime.turn(turn)).toMatchObject({ status: "cancelled", stopReason: "stopped" })
        }),
    ),
  )

  it.effect("is not interrupted while it does nothing: its stdin ends at once", () =>
    inWorld(
      () => cli(interrupted, { eof: (process) => process.end(0) }),
      ({ runtime, spawner }) =>
        Effect.gen(function* () {
          yield* during(runtime.start(claude, "fail"))
          yield* runtime.stop("a", "graceful")
          expect(asked(spawner.last)).toEqual(["initialize"])
          expect(spawner.last.told).toEqual([])
        }),
    ),
  )

  it.effect("has its patience for each step, then the signal, and for all of it no more than the grace", () =>
    inWorld(
      () => cli(undefined, { endMs: 3_000 }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world)
          const stop = yield* Effect.forkChild(runtime.stop("a", "graceful"), { startImmediately: true })
          yield* TestClock.adjust(999)
          expect(spawner.last.stdinEnded).toBe(false)
          yield* TestClock.adjust(1)
          expect(spawner.last.stdinEnded).toBe(true)
          yield* TestClock.adjust(999)
          expect(spawner.last.told).toEqual([])
          yield* TestClock.adjust(1)
          expect(spawner.last.told).toEqual([{ signal: "SIGTERM", graceMs: 3_000, stdinEofMs: 0 }])
          yield* TestClock.adjust(3_000)
          expect((yield* Fiber.join(stop)).status).toBe("stopped")
        }),
    ),
  )

  it.effect("has half of a short grace for its steps, and the signal has the other half", () =>
    inWorld(
      () => cli(undefined, { endMs: 1 }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world, { ...claude, shutdown: { graceMs: 100, stdinEofMs: 20 } })
          const stop = yield* Effect.forkChild(runtime.stop("a", "graceful"), { startImmediately: true })
          yield* TestClock.adjust(49)
          expect(spawner.last.told).toEqual([])
          yield* TestClock.adjust(1)
          expect(spawner.last.told).toEqual([{ signal: "SIGTERM", graceMs: 50, stdinEofMs: 20 }])
          yield* TestClock.adjust(1)
          yield* Fiber.join(stop)
        }),
    ),
  )

  it.effect.each([
    ["brutal_kill", { shutdown: "brutal_kill" }, "graceful"],
    ["mode kill", {}, "kill"],
  ] as const)("is asked nothing under %s", ([, fields, mode]) =>
    inWorld(
      () => cli(interrupted),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world, { ...claude, ...fields })
          yield* runtime.stop("a", mode)
          expect(spawner.last.told).toEqual(["brutal_kill"])
          expect(asked(spawner.last)).toEqual(["initialize", "prompt"])
          expect(spawner.last.stdinEnded).toBe(false)
        }),
    ),
  )

  it.effect("is killed at once by a kill that comes while it is asked", () =>
    inWorld(
      () => cli(undefined),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world)
          const stop = yield* Effect.forkChild(runtime.stop("a", "graceful"), { startImmediately: true })
          yield* TestClock.adjust(500)
          yield* runtime.stop("a", "kill")
          expect(spawner.last.told).toEqual(["brutal_kill"])
          expect((yield* Fiber.join(stop)).status).toBe("stopped")
        }),
    ),
  )

  it.effect("is read, and may be answered, while it is asked to end", () =>
    inWorld(
      () => cli(undefined),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world)
          const stop = yield* Effect.forkChild(runtime.stop("a", "graceful"), { startImmediately: true })
          yield* settle
          const request = { type: "control_request", request_id: "own", request: { subtype: "wonder" } }
          spawner.last.say(`${JSON.stringify(request)}\n`)
          yield* settle
          expect(spawner.last.input).toContain('"request_id":"own"')
          spawner.last.say(`${interrupted}\n`)
          yield* settle
          expect(spawner.last.stdinEnded).toBe(true)
          // The turn's end is no answer to the end of its stdin.
          spawner.last.say(`${interrupted}\n`)
          yield* settle
          expect(spawner.last.told).toEqual([])
          spawner.last.end(0)
          yield* Fiber.join(stop)
          const { entries } = yield* runtime.transcript("a", { types: ["native"] })
          expect(entries.map((entry) => entry.type === "native" && entry.message)).toMatchObject([
            request,
            { type: "result" },
            { type: "result" },
          ])
        }),
    ),
  )

  it.effect.each(["suspend", "restart"] as const)("is asked so by %s as well", (wish) =>
    inWorld(
      () => cli(interrupted, { eof: (process) => process.end(0) }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world)
          const first = spawner.last
          yield* during(runtime[wish]("a"))
          expect(asked(first)).toEqual(["initialize", "prompt", "interrupt"])
          expect(first.told).toEqual([])
          expect((yield* runtime.get("a")).status).toBe(wish === "suspend" ? "suspended" : "ready")
        }),
    ),
  )

  it.effect("is not asked where it has just not listened: a cancel that it ignored is followed by the signal", () =>
    inWorld(
      () => cli(undefined),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world)
          const first = spawner.last
          const cancel = yield* Effect.forkChild(runtime.cancel("a"), { startImmediately: true })
          yield* TestClock.adjust(5_000)
          expect((yield* Fiber.join(cancel)).status).toBe("cancelled")
          expect(first.told).toEqual([{ signal: "SIGTERM", graceMs: 5_000, stdinEofMs: 0 }])
          expect(first.stdinEnded).toBe(false)
        }),
    ),
  )

  it.effect("that breaks while it is asked is asked on all the same", () =>
    inWorld(
      () => cli(undefined, { eof: (process) => process.closeStdout() }),
      (world) =>
        Effect.gen(function* () {
          const { runtime, spawner } = world
          yield* busy(world)
          const stop = yield* Effect.forkChild(runtime.stop("a", "graceful"), { startImmediately: true })
          yield* TestClock.adjust(2_000)
          expect(spawner.last.told.length).toBe(1)
          expect((yield* Fiber.join(stop)).status).toBe("stopped")
        }),
    ),
  )
})
