/** How the sessions of a runtime end with it: first whatever turns may still run, then every process, together. */
import * as Effect from "effect/Effect"
import { statusOf } from "../actors/SessionState.ts"
import type { Slot } from "./Slot.ts"

/**
 * Ends the processes of all these sessions, the last one started first, and answers when every one is gone: a slow one holds
 * up no other. A durable runtime's sessions are suspended, others stopped. Returns the pids that could not be killed.
 */
export const endTogether = (slots: ReadonlyArray<Slot>, durable: boolean): Effect.Effect<ReadonlyArray<number>> =>
  Effect.forEach(
    slots.toReversed(),
    ({ actor }) =>
      Effect.ignore(
        actor.request((reply) => (durable ? { type: "leave", reply } : { type: "stop", brutal: false, reply })),
      ),
    { concurrency: "unbounded", discard: true },
  ).pipe(Effect.map(() => slots.flatMap(({ actor }) => actor.state.survivors)))

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
