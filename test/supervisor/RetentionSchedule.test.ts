import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { Retained, Retention } from "../../src/domain/SessionStore.ts"
import { firstAfterMs, retentionEveryMs, start } from "../../src/supervisor/RetentionSchedule.ts"

interface Look {
  readonly asked: Array<Retention>
  readonly said: Array<string>
}

/** `retain` is what the store does; time is the test's own. */
const watching = (
  retain: (retention: Retention, look: Look) => Effect.Effect<Retained, StoreUnavailable>,
  use: (look: Look, scope: Scope.Closeable) => Effect.Effect<void>,
) =>
  Effect.gen(function* () {
    const look: Look = { asked: [], said: [] }
    const scope = Scope.makeUnsafe()
    const store = {
      retain: (retention: Retention) =>
        Effect.suspend(() => {
          look.asked.push(retention)
          return retain(retention, look)
        }),
    }
    const log = Logger.make(({ logLevel, message }) => void look.said.push(`${logLevel} ${String(message)}`))
    yield* Effect.gen(function* () {
      yield* Scope.provide(start(store, { maxAgeMs: 1000 }), scope)
      yield* use(look, scope)
    }).pipe(Effect.provide(Logger.layer([log])), Effect.provideService(References.MinimumLogLevel, "All"))
    yield* Scope.close(scope, Exit.void)
  })

const nothing: Retained = { removedTurns: 0, removedEntries: 0 }

describe("retention", () => {
  it.effect("comes soon after the start, then every minute, with the time and what the runtime was told", () =>
    watching(
      () => Effect.succeed(nothing),
      ({ asked, said }) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(firstAfterMs - 1)
          expect(asked).toEqual([])
          yield* TestClock.adjust(1)
          expect(asked).toEqual([{ now: firstAfterMs, maxAgeMs: 1000 }])
          yield* TestClock.adjust(retentionEveryMs * 3)
          expect(asked.map(({ now }) => now - firstAfterMs)).toEqual([0, 1, 2, 3].map((n) => n * retentionEveryMs))
          expect(said).toEqual([])
        }),
    ),
  )

  it.effect("never runs twice at once, however long the store takes", () => {
    let running = 0
    let most = 0
    return watching(
      () =>
        Effect.sync(() => (most = Math.max(most, ++running))).pipe(
          Effect.andThen(Effect.sleep(5 * retentionEveryMs)),
          Effect.andThen(Effect.sync(() => running--)),
          Effect.as(nothing),
        ),
      ({ asked }) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(60 * retentionEveryMs)
          expect(asked.length).toBe(10)
          expect(most).toBe(1)
        }),
    )
  })

  it.effect("tells what it removed, at debug", () =>
    watching(
      (_, { asked }) => Effect.succeed(asked.length === 2 ? { removedTurns: 3, removedEntries: 12 } : nothing),
      ({ said }) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(5 * retentionEveryMs)
          expect(said).toEqual(["Debug retention removed 3 turns and 12 entries"])
        }),
    ),
  )

  it.effect("goes on over a store that fails or throws, and warns once until it works again", () =>
    watching(
      (_, { asked }) => {
        if (asked.length === 3) throw new Error("a bug")
        return asked.length === 6 || asked.length === 8
          ? Effect.succeed(nothing)
          : Effect.fail(new StoreUnavailable({ detail: "disk full" }))
      },
      ({ asked, said }) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(4.5 * retentionEveryMs)
          expect(asked.length).toBe(5)
          expect(said.map((line) => line.split(" ")[0])).toEqual(["Warn"])
          yield* TestClock.adjust(retentionEveryMs)
          yield* TestClock.adjust(retentionEveryMs)
          expect(said.map((line) => line.split(" ")[0])).toEqual(["Warn", "Info", "Warn"])
        }),
    ),
  )

  it.effect("ends with its scope", () =>
    watching(
      () => Effect.succeed(nothing),
      ({ asked }, scope) =>
        Effect.gen(function* () {
          yield* TestClock.adjust(firstAfterMs)
          yield* Scope.close(scope, Exit.void)
          yield* TestClock.adjust(10 * retentionEveryMs)
          expect(asked.length).toBe(1)
        }),
    ),
  )
})
