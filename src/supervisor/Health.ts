/**
 * Whether the runtime lives and whether it takes work. Live is whoever can answer at all; ready is one that is neither
 * starting nor draining and whose store answers. Sessions that failed are told as problems, and keep nobody from working.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { HealthView, RuntimeHealth } from "./Runtime.ts"
import type { SessionSupervisor } from "./SessionSupervisor.ts"

/** Names so many problems of a kind; more are counted. */
const mostProblems = 100
/** A store that takes longer for a single look-up does not answer (ms). */
const storePatienceMs = 1_000
const nobody = "health" as SessionId

const everything: HealthView = { session: () => true, supervisor: () => true }

export const makeHealth = (supervisor: SessionSupervisor): ((view?: HealthView) => Effect.Effect<RuntimeHealth>) => {
  const lookUp: Effect.Effect<string | undefined> = Effect.suspend(() => supervisor.store.session(nobody)).pipe(
    Effect.timeoutOption(storePatienceMs),
    Effect.map((answer) => (answer._tag === "None" ? `no answer within ${storePatienceMs} ms` : undefined)),
    // Also a store that dies does not answer.
    Effect.catchCause((cause) => Effect.succeed((Cause.squash(cause) as StoreUnavailable).detail ?? "it failed")),
  )
  return Effect.fnUntraced(function* (view: HealthView = everything) {
    const trouble = supervisor.storeTrouble?.detail ?? (yield* lookUp)
    const failed = supervisor.register.slots().flatMap(({ actor }) => {
      const { phase, spec } = actor.state
      return phase._tag === "Failed" && view.session(spec)
        ? [`session ${spec.name} is failed: ${phase.error.message}`]
        : []
    })
    const gaveUp = [...supervisor.register.tree.root.nodes()].flatMap(({ path, givenUp }) =>
      givenUp === null || !view.supervisor(path) ? [] : [`supervisor ${path} is failed: ${givenUp.reason}`],
    )
    const more = failed.length - mostProblems
    const problems = [
      ...(trouble === undefined ? [] : [`the store does not answer: ${trouble}`]),
      ...gaveUp.slice(0, mostProblems),
      ...(more > 0 ? [...failed.slice(0, mostProblems), `${more} more sessions are failed`] : failed),
    ]
    const { draining, starting } = supervisor
    return {
      status: draining ? "draining" : starting ? "starting" : problems.length > 0 ? "degraded" : "ok",
      live: true,
      ready: !draining && !starting && trouble === undefined,
      problems,
    }
  })
}
