/** How the sessions of a runtime end with it: first whatever turns may still run, then every process, together. */
import * as Effect from "effect/Effect"
import * as Mailbox from "../actors/Mailbox.ts"
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

export interface Drain {
  readonly slots: () => ReadonlyArray<Slot>
  /** Hears of every step of a session. */
  readonly listen: (listener: () => void) => () => void
  /** Queued turns are kept for the next runtime, so they are not begun; without one they are worked off. */
  readonly durable: boolean
}

/** A turn that this runtime has to bring to its end, as far as there is time for it. */
const owes = ({ actor }: Slot, durable: boolean): boolean => {
  const { phase, queue } = actor.state
  return phase._tag === "Busy" || (!durable && !Mailbox.isEmpty(queue))
}

/** Lets what runs come to its end, for at most `drainMs`; 0: not at all. */
export const drained = ({ slots, listen, durable }: Drain, drainMs: number): Effect.Effect<void> => {
  if (drainMs <= 0) return Effect.void
  const hold = Effect.forEach(
    durable ? slots() : [],
    ({ actor }) => Effect.ignore(actor.request((reply) => ({ type: "hold", reply }))),
    { concurrency: "unbounded", discard: true },
  )
  const isDone = () => !slots().some((slot) => owes(slot, durable))
  const done = Effect.callback<void>((resume) => {
    if (isDone()) return resume(Effect.void)
    const unlisten = listen(() => {
      if (isDone()) resume(Effect.void)
    })
    return Effect.sync(unlisten)
  })
  return hold.pipe(Effect.andThen(done), Effect.timeoutOption(drainMs), Effect.asVoid)
}
