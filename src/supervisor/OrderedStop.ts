/** How the sessions of a runtime end with it: the last one started first, and nobody waits for a slow one for ever. */
import * as Effect from "effect/Effect"
import { statusOf } from "../actors/SessionState.ts"
import type { Slot } from "./Slot.ts"
import type { SteadyClock } from "./SteadyClock.ts"

/** How long the stop goes strictly one after the other, before the rest are told all at once (ms). */
const orderedStopMs = 5_000

/**
 * Ends every session's process in reverse order of start, each gone before the next is told; once that has taken
 * `orderedStopMs`, the rest are told together. A durable runtime's sessions are suspended, others stopped. Returns the pids
 * that could not be killed.
 */
export const stopInOrder = (
  slots: ReadonlyArray<Slot>,
  durable: boolean,
  clock: SteadyClock,
): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    const until = clock.now() + orderedStopMs
    const rest = slots.toReversed()
    const stop = ({ actor }: Slot) =>
      Effect.ignore(
        actor.request((reply) => (durable ? { type: "leave", reply } : { type: "stop", brutal: false, reply })),
      )
    while (rest.length > 0) {
      const left = until - clock.now()
      if (left <= 0) break
      // An unfinished stop goes on by itself and is joined below.
      const done = yield* stop(rest[0]!).pipe(Effect.timeoutOption(left))
      if (done._tag === "Some") rest.shift()
    }
    yield* Effect.forEach(rest, stop, { concurrency: "unbounded", discard: true })
    return slots.flatMap(({ actor }) => actor.state.survivors)
  })

/** Waits until no turn runs any more, at most `drainMs`. `listen`: hears of every step of a session. */
export const drained = (
  slots: () => ReadonlyArray<Slot>,
  listen: (listener: () => void) => () => void,
  drainMs: number,
): Effect.Effect<void> => {
  const busy = () => slots().some(({ actor }) => statusOf(actor.state.phase) === "busy")
  return Effect.callback<void>((resume) => {
    if (!busy()) return resume(Effect.void)
    const unlisten = listen(() => {
      if (!busy()) resume(Effect.void)
    })
    return Effect.sync(unlisten)
  }).pipe(Effect.timeoutOption(drainMs), Effect.asVoid)
}
