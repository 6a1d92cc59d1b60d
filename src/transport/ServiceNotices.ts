/**
 * What the service manager is told of a runtime: that it is ready, that it ends, and, as often as it wants, that all is well. The
 * last is said only by an event loop that turns and only while the store answers, so that a runtime that hangs is started
 * again. Called by main; says nothing where nobody listens.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ServiceManager } from "../process/ServiceNotifier.ts"
import { Runtime, type RuntimeHealth } from "../supervisor/Runtime.ts"

/** Beyond a drain, what the end itself may take: every session's grace, the store, the streams (ms). */
const endMs = 90_000

export interface ServiceNotices {
  /** It can be used from now on. */
  readonly ready: (status: string) => Effect.Effect<void>
}

/** Starts and drains have their own deadlines; a store that does not answer has none. */
const isWell = ({ status, ready }: RuntimeHealth): boolean => ready || status === "starting" || status === "draining"

/** `drainMs`: how long a signal lets turns go on. */
export const start = (
  manager: ServiceManager | undefined,
  drainMs: number,
): Effect.Effect<ServiceNotices, never, Runtime | Scope.Scope> =>
  Effect.gen(function* () {
    if (manager === undefined) return { ready: () => Effect.void }
    const { notify, watchdogMs } = manager
    const runtime = yield* Runtime
    yield* Effect.addFinalizer(() => Effect.sync(manager.close))
    yield* runtime.ending.pipe(
      Effect.andThen(
        Effect.sync(() =>
          notify({
            STOPPING: "1",
            STATUS: drainMs > 0 ? "draining: no new work, what runs is finished" : "ending",
            EXTEND_TIMEOUT_USEC: String((drainMs + endMs) * 1000),
          }),
        ),
      ),
      Effect.forkScoped({ startImmediately: true }),
    )
    if (watchdogMs !== null) yield* Effect.forkScoped(watch(runtime, notify, watchdogMs))
    return { ready: (status: string) => Effect.sync(() => notify({ READY: "1", STATUS: status })) }
  })

const watch = (
  runtime: Runtime["Service"],
  notify: ServiceManager["notify"],
  watchdogMs: number,
): Effect.Effect<never> => {
  let wasWell = true
  return runtime.health.pipe(
    Effect.tap((health) =>
      Effect.sync(() => {
        const well = isWell(health)
        if (well) notify(wasWell ? { WATCHDOG: "1" } : { WATCHDOG: "1", STATUS: "the store answers again" })
        else if (wasWell) notify({ STATUS: health.problems[0] ?? "not well" })
        wasWell = well
      }),
    ),
    Effect.andThen(Effect.sleep(watchdogMs / 2)),
    Effect.forever,
  )
}
