/** Asking a store that is down again and again: a session whose store does not answer holds still. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../domain/Errors.ts"

const storeRetryMs = 200

export interface Patience {
  /** Whether it is time to give the store up. Default: never. */
  readonly isOver?: () => boolean
  /** Told of every failed try. */
  readonly onTrouble?: (trouble: StoreUnavailable) => void
}

const causeOf = (cause: Cause.Cause<StoreUnavailable>): StoreUnavailable => {
  const squashed = Cause.squash(cause)
  return squashed instanceof StoreUnavailable ? squashed : new StoreUnavailable({ detail: String(squashed) })
}

/** Asks a store until it answers, also where it dies instead of failing. Fails only once patience is over. */
export const untilAnswered = <A>(
  effect: Effect.Effect<A, StoreUnavailable>,
  patience: Patience = {},
): Effect.Effect<A, StoreUnavailable> =>
  Effect.catchCause(effect, (cause) => {
    if (Cause.hasInterrupts(cause)) return Effect.interrupt
    const trouble = causeOf(cause)
    if (patience.isOver?.() === true) return Effect.fail(trouble)
    patience.onTrouble?.(trouble)
    return Effect.logError("the store does not answer; asking again", cause).pipe(
      Effect.andThen(Effect.sleep(storeRetryMs)),
      Effect.andThen(Effect.suspend(() => untilAnswered(effect, patience))),
    )
  })
