/** How a runtime that ends waits for the turns that it owes, as far as there is time for them. What comes then is `Supervisors.endAll`. */
import * as Effect from "effect/Effect"
import * as Mailbox from "../actors/Mailbox.ts"
import type { Slot } from "./Slot.ts"

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
