/** Asking a store that is down again and again: a session whose store does not answer holds still. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { placesOf } from "../domain/Defect.ts"
import { StoreUnavailable } from "../domain/Errors.ts"

/** The first wait between two tries; each is half as long again as the one before, up to the longest (ms). */
const firstRetryMs = 200
const longestRetryMs = 1_000
/** Of so many tries in a row one is logged: many sessions may be asking, and the log may be on the disk that is full. */
const triesPerLine = 20

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
): Effect.Effect<A, StoreUnavailable> => tryFor(effect, patience, 0, firstRetryMs)

const tryFor = <A>(
  effect: Effect.Effect<A, StoreUnavailable>,
  patience: Patience,
  tries: number,
  waitMs: number,
): Effect.Effect<A, StoreUnavailable> =>
  Effect.catchCause(effect, (cause) => {
    if (Cause.hasInterrupts(cause)) return Effect.interrupt
    const trouble = causeOf(cause)
    if (patience.isOver?.() === true) return Effect.fail(trouble)
    patience.onTrouble?.(trouble)
    // A store that fails says all in one sentence; one that dies is a bug, whose place is wanted.
    const what = Cause.hasDies(cause) ? placesOf(cause) : trouble.detail
    const tell =
      tries % triesPerLine === 0 ? Effect.logError(`the store does not answer; asking again: ${what}`) : Effect.void
    return tell.pipe(
      Effect.andThen(Effect.sleep(waitMs)),
      Effect.andThen(Effect.suspend(() => tryFor(effect, patience, tries + 1, Math.min(longestRetryMs, waitMs * 1.5)))),
    )
  })
