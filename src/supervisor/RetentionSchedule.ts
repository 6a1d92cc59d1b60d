/**
 * Forgets what is too old or too much, every minute: the runtime's own retention and, in the same call, that of each
 * session that has one. What exactly goes is the store's business; that it never happens twice at once is this file's.
 * Started by `RuntimeLive`, ends with its scope.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { placesOf } from "../domain/Defect.ts"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { RetentionSpec } from "../domain/SessionSpec.ts"
import type { SessionStore } from "../domain/SessionStore.ts"

/** The start of the runtime has the store to itself for so long (ms). */
export const firstAfterMs = 1_000
/** From the end of one to the beginning of the next (ms). */
export const retentionEveryMs = 60_000

/** `retention`: what holds for all sessions together; null: only what single sessions say of themselves. */
export const start = (
  store: Pick<SessionStore["Service"], "retain">,
  retention: RetentionSpec | null,
): Effect.Effect<Fiber.Fiber<void>, never, Scope.Scope> => {
  let failing = false
  const once = Effect.flatMap(Clock.currentTimeMillis, (now) => store.retain({ now, ...retention })).pipe(
    Effect.tap(() => (failing ? Effect.logInfo("retention works again") : Effect.void)),
    Effect.flatMap(({ removedTurns, removedEntries }) => {
      failing = false
      return removedTurns + removedEntries > 0
        ? Effect.logDebug(`retention removed ${removedTurns} turns and ${removedEntries} entries`)
        : Effect.void
    }),
  )
  const look = Effect.catchCause(once, (cause) => {
    // Of a store that stays away, one line is enough.
    const first = !failing
    failing = true
    const what = (Cause.squash(cause) as StoreUnavailable).detail ?? placesOf(cause)
    return first ? Effect.logWarning(`retention does not work; it is tried again every minute: ${what}`) : Effect.void
  })
  return Effect.sleep(firstAfterMs).pipe(
    Effect.andThen(Effect.forever(Effect.andThen(look, Effect.sleep(retentionEveryMs)))),
    Effect.forkScoped,
  )
}
