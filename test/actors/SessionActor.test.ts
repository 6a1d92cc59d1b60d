import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { SessionActor } from "../../src/actors/SessionActor.ts"
import type { SessionHost } from "../../src/actors/SessionHost.ts"
import { initialState, type PendingTurn } from "../../src/actors/SessionState.ts"
import { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { SessionStore } from "../../src/domain/SessionStore.ts"
import { lines } from "../../src/protocols/Lines.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { settle } from "../support/FakeRuntime.ts"
import { FakeSpawner } from "../support/FakeSpawner.ts"
import { specOf } from "../support/SessionModel.ts"

let turns = 0
const pending = (prompt: string): PendingTurn => ({
  attempts: 0,
  dueAt: null,
  turn: {
    id: `turn_t${(++turns).toString(36)}` as TurnId,
    session: "ses_1" as SessionId,
    status: "queued",
    prompt,
    text: "",
    stopReason: null,
    usage: null,
    error: null,
    idempotencyKey: null,
    queuedAt: 0,
    startedAt: null,
    endedAt: null,
    firstSeq: 0,
    lastSeq: 0,
  },
})

const make = Effect.fnUntraced(function* (
  options: { protocol?: Protocol; store?: SessionStore["Service"]; host?: Partial<SessionHost> } = {},
) {
  const spawner = new FakeSpawner()
  const store = options.store ?? MemorySessionStore.make()
  const spec = specOf({ name: "a", idleTimeoutMs: null })
  const host: SessionHost = {
    store,
    spawner: spawner.service,
    draining: false,
    hurried: false,
    run: Effect.runForkWith(yield* Effect.context<never>()),
    now: () => 0,
    wall: () => 0,
    launch: () =>
      Effect.succeed({
        freshId: "f",
        command: {
          session: "ses_1",
          command: "fake",
          args: [],
          cwd: "/",
          env: {},
          shutdown: spec.shutdown,
          containment: "auto",
        },
      }),
    perform: () => Effect.succeed({ type: "done", text: "" }),
    supervise: () => ({ _tag: "Restart", delayMs: 0, attempt: 1 }),
    history: () => undefined,
    forgive: () => {},
    conversed: () => {},
    spawning: () => {},
    exited: () => {},
    storeAnswers: () => {},
    vacated: () => {},
    rested: () => {},
    turnEnded: () => {},
    committed: () => {},
    gone: () => {},
  }
  Object.defineProperties(host, Object.getOwnPropertyDescriptors(options.host ?? {}))
  const actor = yield* Effect.acquireRelease(
    Effect.sync(
      () =>
        new SessionActor(
          host,
          initialState("ses_1" as SessionId, spec, options.protocol ?? (lines as unknown as Protocol), 0),
        ),
    ),
    (made) => made.close(),
  )
  return { actor, spawner, store }
})
const start = (actor: SessionActor) => actor.request((reply) => ({ type: "start", reply }))
const seqs = (store: SessionStore["Service"]) =>
  Effect.map(store.transcript("ses_1" as SessionId, {}), ({ entries }) => entries.map(({ seq }) => seq))

describe("a session's actor", () => {
  for (const trouble of ["fails", "dies"] as const) {
    it.effect(`whose store ${trouble} acknowledges nothing until it answers, and loses nothing`, () =>
      Effect.gen(function* () {
        const inner = MemorySessionStore.make()
        let down = false
        const store: SessionStore["Service"] = {
          ...inner,
          commit: (commit) =>
            Effect.suspend(() => {
              if (!down) return inner.commit(commit)
              return trouble === "dies" ? Effect.die("disk") : Effect.fail(new StoreUnavailable({ detail: "locked" }))
            }),
        }
        const { actor } = yield* make({ store })
        yield* start(actor)
        down = true
        const told = yield* Effect.forkChild(actor.submit(pending("1"), "accepted"), { startImmediately: true })
        const asked = yield* Effect.forkChild(actor.submit(pending("2"), "ended"), { startImmediately: true })
        yield* TestClock.adjust(1_000)
        expect([told.pollUnsafe(), asked.pollUnsafe()]).toEqual([undefined, undefined])
        down = false
        yield* TestClock.adjust(1_000)
        expect((yield* Fiber.join(told)).status).toBe("queued")
        expect((yield* Fiber.join(asked)).text).toBe("2")
        expect((yield* actor.submit(pending("3"), "ended")).text).toBe("3")
        const all = yield* seqs(store)
        expect(all).toEqual(all.map((_, i) => i + 1))
      }).pipe(Effect.scoped),
    )
  }

  it.effect("whose store stays away takes no more turns, and says so at once", () =>
    Effect.gen(function* () {
      const inner = MemorySessionStore.make()
      let now = 0
      let down = false
      const store: SessionStore["Service"] = {
        ...inner,
        commit: (commit) =>
          Effect.suspend(() => (down ? Effect.fail(new StoreUnavailable({ detail: "full" })) : inner.commit(commit))),
      }
      const { actor } = yield* make({ store, host: { now: () => now } })
      yield* start(actor)
      down = true
      const first = yield* Effect.forkChild(actor.submit(pending("1"), "ended"), { startImmediately: true })
      yield* TestClock.adjust(300)
      now = 999
      const second = yield* Effect.forkChild(actor.submit(pending("2"), "ended"), { startImmediately: true })
      now = 1_000
      const refused = yield* Effect.flip(actor.submit(pending("3"), "accepted"))
      expect([refused._tag, refused.message]).toEqual(["StoreUnavailable", "the store does not answer: full"])
      down = false
      yield* TestClock.adjust(1_000)
      expect((yield* Fiber.join(first)).text).toBe("1")
      expect((yield* Fiber.join(second)).text).toBe("2")
      expect((yield* actor.submit(pending("4"), "ended")).text).toBe("4")
    }).pipe(Effect.scoped),
  )

  it.effect(
    "whose store did not find a key for a while takes turns again once it did, though nothing was written",
    () =>
      Effect.gen(function* () {
        const inner = MemorySessionStore.make()
        let now = 0
        let down = false
        const store: SessionStore["Service"] = {
          ...inner,
          turnByKey: (session, key) =>
            Effect.suspend(() =>
              down ? Effect.fail(new StoreUnavailable({ detail: "io" })) : inner.turnByKey(session, key),
            ),
        }
        const { actor } = yield* make({ store, host: { now: () => now } })
        yield* start(actor)
        const keyed = (id: string) => ({ ...pending(id), turn: { ...pending(id).turn, idempotencyKey: "k" } })
        const first = yield* actor.submit(keyed("1"), "ended")
        down = true
        const again = yield* Effect.forkChild(actor.submit(keyed("2"), "ended"), { startImmediately: true })
        yield* TestClock.adjust(300)
        down = false
        yield* TestClock.adjust(1_000)
        expect((yield* Fiber.join(again)).id).toBe(first.id)
        now = 60_000
        expect((yield* actor.submit(pending("3"), "ended")).text).toBe("3")
      }).pipe(Effect.scoped),
  )

  it.effect("whose store stays away does not keep the runtime from ending, and writes nothing behind the gap", () =>
    Effect.gen(function* () {
      const inner = MemorySessionStore.make()
      let down = false
      let hurried = false
      const host = {
        get hurried() {
          return hurried
        },
      }
      const store: SessionStore["Service"] = {
        ...inner,
        commit: (commit) =>
          Effect.suspend(() => (down ? Effect.fail(new StoreUnavailable({ detail: "full" })) : inner.commit(commit))),
      }
      const { actor, spawner } = yield* make({ store, host })
      yield* start(actor)
      down = true
      const told = yield* Effect.forkChild(Effect.flip(actor.submit(pending("1"), "accepted")), {
        startImmediately: true,
      })
      const left = yield* Effect.forkChild(Effect.exit(actor.request((reply) => ({ type: "leave", reply }))), {
        startImmediately: true,
      })
      yield* TestClock.adjust(1_000)
      expect(spawner.alive().length).toBe(1)
      hurried = true
      yield* TestClock.adjust(10_000)
      expect((yield* Fiber.join(told))._tag).toBe("StoreUnavailable")
      expect((yield* Fiber.join(left))._tag).toBe("Failure")
      expect(spawner.alive().length).toBe(0)
      const before = yield* seqs(store)
      down = false
      actor.post({ type: "note", text: "late" })
      yield* settle
      expect(yield* seqs(store)).toEqual(before)
    }).pipe(Effect.scoped),
  )

  it.effect("whose protocol throws fails that turn, replaces the process, and keeps seq and other turns whole", () =>
    Effect.gen(function* () {
      const protocol: Protocol = {
        ...(lines as unknown as Protocol),
        prompt: (state, prompt, token, now) => {
          if (prompt === "bug") throw new Error("bug")
          return (lines as unknown as Protocol).prompt(state, prompt, token, now)
        },
      }
      const { actor, spawner, store } = yield* make({ protocol })
      yield* start(actor)
      const asks = yield* Effect.all(
        ["1", "bug", "2"].map((prompt) => actor.submit(pending(prompt), "ended")),
        { concurrency: "unbounded" },
      )
      yield* settle
      expect(asks.map(({ status, error }) => [status, error?.tag])).toEqual([
        ["completed", undefined],
        ["failed", "ProtocolBroken"],
        ["completed", undefined],
      ])
      expect(spawner.spawns).toBe(2)
      const all = yield* seqs(store)
      expect(all).toEqual(all.map((_, i) => i + 1))
    }).pipe(Effect.scoped),
  )

  it.effect("that is gone answers whoever still comes, at once", () =>
    Effect.gen(function* () {
      const { actor } = yield* make()
      yield* start(actor)
      const running = yield* Effect.forkChild(actor.awaitEnd("turn_none" as TurnId), { startImmediately: true })
      yield* actor.request((reply) => ({ type: "remove", reply }))
      expect(Exit.isFailure(yield* Fiber.await(running))).toBe(true)
      const late: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
        actor.submit(pending("x"), "accepted"),
        actor.submit(pending("x"), "ended"),
        actor.cancel(null),
        actor.awaitEnd("turn_x" as TurnId),
        actor.request((reply) => ({ type: "restart", reply })),
      ]
      for (const asked of late) {
        expect((yield* Effect.flip(asked))._tag).toBe("SessionNotRunning")
      }
    }).pipe(Effect.scoped),
  )

  it.effect("whose scope closes leaves nobody waiting", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { actor, spawner } = yield* Scope.provide(make(), scope)
      yield* start(actor)
      spawner.last.write = () => true
      const asks = [
        yield* Effect.forkChild(actor.submit(pending("1"), "ended"), { startImmediately: true }),
        yield* Effect.forkChild(actor.submit(pending("2"), "ended"), { startImmediately: true }),
      ]
      yield* Scope.close(scope, Exit.void)
      for (const asked of asks) expect(Exit.isFailure(yield* Fiber.await(asked))).toBe(true)
    }),
  )

  it.effect("runs many wishes of one batch in order, and one that removes it is the last that counts", () =>
    Effect.gen(function* () {
      const { actor, spawner } = yield* make()
      yield* start(actor)
      yield* actor.request((reply) => ({ type: "stop", brutal: false, reply }))
      const wish = (type: "remove" | "restart" | "resume") => Effect.exit(actor.request((reply) => ({ type, reply })))
      const exits = yield* Effect.all([wish("remove"), wish("restart"), wish("resume"), wish("remove")], {
        concurrency: "unbounded",
      })
      yield* settle
      expect(exits.map(Exit.isSuccess).slice(0, 3)).toEqual([true, false, false])
      expect([spawner.spawns, spawner.alive().length]).toEqual([1, 0])
    }).pipe(Effect.scoped),
  )
})
