/** Asking a store that is down again and again: a session whose store does not answer holds still. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"

const storeRetryMs = 200

/** Asks a store until it answers, also where it dies instead of failing. */
export const untilAnswered = <A>(effect: Effect.Effect<A, StoreUnavailable>): Effect.Effect<A> =>
  Effect.catchCause(effect, (cause) =>
    Cause.hasInterrupts(cause)
      ? Effect.interrupt
      : Effect.andThen(
          Effect.andThen(Effect.logError("the store does not answer; asking again", cause), Effect.sleep(storeRetryMs)),
          Effect.suspend(() => untilAnswered(effect)),
        ),
  )
