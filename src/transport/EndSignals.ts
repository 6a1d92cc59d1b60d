/** The way in that every operator and init system has: the signals that ask this process to end, in order. Used by main. */
import * as Effect from "effect/Effect"

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const

/** Waits for the first of SIGTERM, SIGINT and SIGHUP. While nobody waits, they end the process as they always do. */
export const signalled = Effect.callback<string>((resume) => {
  const handlers = signals.map((signal) => [signal, () => resume(Effect.succeed(signal))] as const)
  for (const [signal, handler] of handlers) process.once(signal, handler)
  return Effect.sync(() => handlers.forEach(([signal, handler]) => process.off(signal, handler)))
})
