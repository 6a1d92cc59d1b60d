/** The way in that every operator and init system has: the signals that ask this process to end, in order. Used by main. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Runtime } from "../supervisor/Runtime.ts"

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const

/** Waits for the first of SIGTERM, SIGINT and SIGHUP. While nobody waits, they end the process as they always do. */
export const signalled = Effect.callback<string>((resume) => {
  const handlers = signals.map((signal) => [signal, () => resume(Effect.succeed(signal))] as const)
  for (const [signal, handler] of handlers) process.once(signal, handler)
  return Effect.sync(() => handlers.forEach(([signal, handler]) => process.off(signal, handler)))
})

/** One Ctrl-C comes from the terminal and again from whoever started this: npm passes it on (ms). */
const echoMs = 200

export interface EndSignals {
  /** Waits for the next one that was not taken yet. */
  readonly next: Effect.Effect<NodeJS.Signals>
}

/**
 * Each as a wish of its own; those that come with another count once. After `most` of them, and once the scope is closed,
 * they end the process as they always do.
 */
export const listen = (most: number, now: () => number = Date.now): Effect.Effect<EndSignals, never, Scope.Scope> =>
  Effect.gen(function* () {
    const waiting: Array<NodeJS.Signals> = []
    let wake: (() => void) | undefined
    let lastAt = -Infinity
    let left = most
    const off = () => signals.forEach((signal) => process.off(signal, take))
    const take = (signal: NodeJS.Signals) => {
      if (now() - lastAt < echoMs) return
      lastAt = now()
      if (left-- > 0) {
        waiting.push(signal)
        return wake?.()
      }
      off()
      process.kill(process.pid, signal)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => signals.forEach((signal) => process.on(signal, take))),
      () => Effect.sync(off),
    )
    const next = Effect.callback<NodeJS.Signals>((resume) => {
      const look = () => {
        const signal = waiting.shift()
        if (signal === undefined) return
        wake = undefined
        resume(Effect.succeed(signal))
      }
      wake = look
      look()
      return Effect.sync(() => {
        if (wake === look) wake = undefined
      })
    })
    return { next }
  })

/** The first signal drains, the second one waits for no turn any more, the third one kills. */
export const endAt = (signals: EndSignals, drainMs: number): Effect.Effect<void, never, Runtime | Scope.Scope> =>
  Effect.gen(function* () {
    const runtime = yield* Runtime
    const ending = Effect.gen(function* () {
      const first = yield* signals.next
      yield* Effect.annotateLogs(Effect.logInfo("ending"), { signal: first, drainMs })
      yield* Effect.forkChild(runtime.shutdown(drainMs), { startImmediately: true })
      const second = yield* signals.next
      yield* Effect.annotateLogs(Effect.logInfo("ending at once"), { signal: second })
      yield* Effect.forkChild(runtime.shutdown(), { startImmediately: true })
      const third = yield* signals.next
      yield* Effect.annotateLogs(Effect.logWarning("killing every process"), { signal: third })
      yield* runtime.kill
      return yield* Effect.never
    })
    yield* Effect.forkScoped(ending, { startImmediately: true })
  })
