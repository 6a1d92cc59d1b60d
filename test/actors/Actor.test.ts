import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { describe, expect, it } from "@effect/vitest"
import * as Actor from "../../src/actors/Actor.ts"
import type { ReplyTo } from "../../src/actors/ActorRef.ts"
import type { Down } from "../../src/actors/Monitor.ts"
import type { Overflow } from "../../src/domain/SessionSpec.ts"

type Message =
  | { readonly type: "add"; readonly n: number }
  | { readonly type: "total"; readonly replyTo: ReplyTo<number> }
  | { readonly type: "never"; readonly replyTo: ReplyTo<number> }
  | { readonly type: "crash" }
  | { readonly type: "stop" }
  | { readonly type: "hold"; readonly until: Effect.Effect<void> }

const total = (replyTo: ReplyTo<number>): Message => ({ type: "total", replyTo })
const never = (replyTo: ReplyTo<number>): Message => ({ type: "never", replyTo })

/** Adds up; its sum is fresh with every incarnation. */
const counter = (
  options: { capacity?: number; overflow?: Overflow; onCrash?: "restart" | "stop"; seen?: Array<number> } = {},
) => ({
  name: "counter",
  mailbox: { capacity: options.capacity ?? 100, overflow: options.overflow ?? ("fail" as const) },
  onCrash: () => options.onCrash ?? ("restart" as const),
  begin: (_incarnation: number) => {
    let sum = 0
    return (batch: ReadonlyArray<Message>) =>
      Effect.gen(function* () {
        for (const message of batch) {
          switch (message.type) {
            case "add":
              sum += message.n
              options.seen?.push(message.n)
              break
            case "total":
              message.replyTo(Exit.succeed(sum))
              break
            case "never":
              break
            case "crash":
              throw new Error("boom")
            case "stop":
              return "stop" as const
            case "hold":
              yield* message.until
              break
          }
        }
        return "continue" as const
      })
  },
})

/** A gate that is shut until it is opened. */
const gate = () => {
  let open!: () => void
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { open, wait: Effect.promise(() => opened) }
}

const tag = (exit: Exit.Exit<unknown, { readonly _tag: string }>) =>
  Exit.isSuccess(exit) ? "Success" : ((Cause.squash(exit.cause) as { _tag?: string })._tag ?? "defect")

describe("an actor", () => {
  it.live("takes tells in order and answers asks", () =>
    Effect.gen(function* () {
      const ref = yield* Actor.start(counter())
      for (let n = 1; n <= 10; n++) yield* ref.tell({ type: "add", n })
      expect(yield* ref.ask(total)).toBe(55)
    }).pipe(Effect.scoped),
  )

  it.live("keeps its reference and its mailbox through a crash, and begins with fresh state", () =>
    Effect.gen(function* () {
      const ref = yield* Actor.start(counter())
      const { open, wait } = gate()
      yield* ref.tell({ type: "hold", until: wait })
      yield* ref.tell({ type: "add", n: 5 })
      yield* ref.tell({ type: "crash" })
      const before = yield* Effect.forkChild(ref.ask(total), { startImmediately: true })
      open()
      // The whole batch dies with the incarnation.
      expect(tag(yield* Fiber.await(before))).toBe("ActorDown")
      yield* ref.tell({ type: "add", n: 2 })
      expect(yield* ref.ask(total)).toBe(2)
    }).pipe(Effect.scoped),
  )

  it.live("lets what came after the crashing batch be answered by the next incarnation", () =>
    Effect.gen(function* () {
      const { open, wait } = gate()
      const ref = yield* Actor.start({
        ...counter(),
        begin: (incarnation) => (batch: ReadonlyArray<Message>) =>
          incarnation === 1
            ? Effect.andThen(wait, Effect.die("boom"))
            : Effect.sync(() => {
                for (const message of batch) if (message.type === "total") message.replyTo(Exit.succeed(incarnation))
                return "continue" as const
              }),
      })
      const doomed = yield* Effect.forkChild(ref.ask(total), { startImmediately: true })
      const later = yield* Effect.forkChild(ref.ask(total), { startImmediately: true })
      open()
      expect(tag(yield* Fiber.await(doomed))).toBe("ActorDown")
      expect(yield* Fiber.join(later)).toBe(2)
    }).pipe(Effect.scoped),
  )

  it.live("that crashes already when it begins goes down as crashed, or tries again without holding up others", () =>
    Effect.gen(function* () {
      let attempts = 0
      const failing = (onCrash: "restart" | "stop") => ({
        ...counter({ onCrash }),
        begin: (): never => {
          attempts++
          throw new Error("no begin")
        },
      })
      const stopped = yield* Actor.start(failing("stop"))
      expect((yield* stopped.down).reason._tag).toBe("Crashed")
      expect(attempts).toBe(1)
      yield* Actor.start(failing("restart"))
      const seen = attempts
      // Each try is on a turn of its own, as is this.
      for (let turns = 0; attempts === seen && turns < 1_000; turns++) yield* Effect.sleep(1)
      expect(attempts).toBeGreaterThan(seen)
    }).pipe(Effect.scoped),
  )

  it.live("tells every monitor once, also one that comes when it is down already", () =>
    Effect.gen(function* () {
      const ref = yield* Actor.start(counter({ onCrash: "stop" }))
      const heard: Array<string> = []
      const hear = (who: string) => (down: Down) => void heard.push(`${who} ${down.reason._tag}`)
      ref.monitor(hear("a"))
      ref.monitor(hear("b"))()
      ref.monitor(hear("c"))
      yield* ref.tell({ type: "crash" })
      yield* ref.down
      ref.monitor(hear("late"))
      expect(heard).toEqual(["a Crashed", "c Crashed", "late Crashed"])
    }).pipe(Effect.scoped),
  )

  it.live("fails an ask at once when it is down, however it got there", () =>
    Effect.gen(function* () {
      for (const end of ["stop", "crash"] as const) {
        const ref = yield* Actor.start(counter({ onCrash: "stop" }))
        const open = yield* Effect.forkChild(ref.ask(never), { startImmediately: true })
        yield* ref.tell({ type: end })
        expect(tag(yield* Fiber.await(open))).toBe("ActorDown")
        expect(tag(yield* Effect.exit(ref.ask(total)))).toBe("ActorDown")
        expect(tag(yield* Effect.exit(ref.tell({ type: "add", n: 1 })))).toBe("ActorDown")
        expect(ref.tellUnsafe({ type: "add", n: 1 })?._tag).toBe("ActorDown")
      }
    }).pipe(Effect.scoped),
  )

  it.live("goes down as interrupted when its scope closes, and asks under way and in the mailbox fail", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const ref = yield* Scope.provide(Actor.start(counter({ capacity: 2, overflow: "suspend" })), scope)
      const asks: Array<Fiber.Fiber<unknown, { readonly _tag: string }>> = [
        yield* Effect.forkChild(ref.ask(never), { startImmediately: true }),
      ]
      yield* ref.tell({ type: "hold", until: Effect.never })
      for (let i = 0; i < 2; i++) asks.push(yield* Effect.forkChild(ref.ask(total), { startImmediately: true }))
      const waits = yield* Effect.forkChild(ref.tell({ type: "add", n: 1 }), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      asks.push(waits)
      for (const ask of asks) expect(tag(yield* Fiber.await(ask))).toBe("ActorDown")
      expect((yield* ref.down).reason._tag).toBe("Interrupted")
    }),
  )

  it.live("goes on when an ask is interrupted, and its answer is dropped", () =>
    Effect.gen(function* () {
      const { open, wait } = gate()
      const ref = yield* Actor.start(counter())
      yield* ref.tell({ type: "hold", until: wait })
      const ask = yield* Effect.forkChild(ref.ask(total), { startImmediately: true })
      yield* Fiber.interrupt(ask)
      open()
      expect(yield* ref.ask(total)).toBe(0)
    }).pipe(Effect.scoped),
  )
})

describe("a full mailbox of an actor", () => {
  const full = (overflow: Overflow, seen: Array<number>) =>
    Effect.gen(function* () {
      const { open, wait } = gate()
      const ref = yield* Actor.start(counter({ capacity: 2, overflow, seen }))
      yield* ref.tell({ type: "hold", until: wait })
      yield* ref.tell({ type: "add", n: 1 })
      yield* ref.tell({ type: "add", n: 2 })
      return { ref, open }
    })

  it.live("under `fail` says MailboxFull to tell and ask alike", () =>
    Effect.gen(function* () {
      const { ref, open } = yield* full("fail", [])
      expect(tag(yield* Effect.exit(ref.tell({ type: "add", n: 3 })))).toBe("MailboxFull")
      expect(tag(yield* Effect.exit(ref.ask(total)))).toBe("MailboxFull")
      open()
    }).pipe(Effect.scoped),
  )

  it.live("under `suspend` lets a tell wait for room, and one that is interrupted meanwhile was never there", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { ref, open } = yield* full("suspend", seen)
      const third = yield* Effect.forkChild(ref.tell({ type: "add", n: 3 }), { startImmediately: true })
      const fourth = yield* Effect.forkChild(ref.tell({ type: "add", n: 4 }), { startImmediately: true })
      yield* Fiber.interrupt(third)
      open()
      yield* Fiber.join(fourth)
      yield* ref.ask(total)
      expect(seen).toEqual([1, 2, 4])
    }).pipe(Effect.scoped),
  )

  it.live("under `suspend` gives the room of an ask that went away to a tell that waits", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { ref, open } = yield* full("suspend", seen)
      const ask = yield* Effect.forkChild(ref.ask(total), { startImmediately: true })
      const tell = yield* Effect.forkChild(ref.tell({ type: "add", n: 3 }), { startImmediately: true })
      yield* Fiber.interrupt(ask)
      open()
      yield* Fiber.join(tell)
      yield* ref.ask(total)
      expect(seen).toEqual([1, 2, 3])
    }).pipe(Effect.scoped),
  )

  it.live("under `sliding` fails the ask that has to go with MailboxFull", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { open, wait } = gate()
      const ref = yield* Actor.start(counter({ capacity: 2, overflow: "sliding", seen }))
      yield* ref.tell({ type: "hold", until: wait })
      const ask = yield* Effect.forkChild(ref.ask(total), { startImmediately: true })
      yield* ref.tell({ type: "add", n: 1 })
      yield* ref.tell({ type: "add", n: 2 })
      expect(tag(yield* Fiber.await(ask))).toBe("MailboxFull")
      open()
      // One more ask would push out what is in there still.
      while (seen.length === 0) yield* Effect.sleep(1)
      expect(yield* ref.ask(total)).toBe(3)
      expect(seen).toEqual([1, 2])
    }).pipe(Effect.scoped),
  )

  it.live("under `dropping` fails the newcomer with MailboxFull", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { ref, open } = yield* full("dropping", seen)
      expect(tag(yield* Effect.exit(ref.tell({ type: "add", n: 3 })))).toBe("MailboxFull")
      expect(tag(yield* Effect.exit(ref.ask(total)))).toBe("MailboxFull")
      open()
      yield* Effect.yieldNow
    }).pipe(Effect.scoped),
  )
})
