/**
 * Whether the runtime lives and whether it takes work. Live is whoever can answer at all; ready is one that is neither
 * starting nor draining and whose store answers. Sessions that failed are told as problems, and keep nobody from working.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { SessionNotRunning, type StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { SessionPage } from "../domain/SessionStore.ts"
import type { HealthView, RuntimeHealth } from "./Runtime.ts"
import type { SessionSupervisor } from "./SessionSupervisor.ts"

/** Names so many problems of a kind; more are counted. */
const mostProblems = 100
/** A store that takes longer for a single look-up does not answer (ms). */
const storePatienceMs = 1_000
/** Records of sessions that failed are looked through for those that are seen, so many pages of them. */
const mostPages = 50
const nobody = "health" as SessionId

interface Failed {
  readonly name: string
  readonly why: string
}

const everything: HealthView = { session: () => true, supervisor: () => true }

export const makeHealth = (supervisor: SessionSupervisor): ((view?: HealthView) => Effect.Effect<RuntimeHealth>) => {
  const { store, register } = supervisor
  const lookUp: Effect.Effect<string | undefined> = Effect.suspend(() => store.session(nobody)).pipe(
    Effect.timeoutOption(storePatienceMs),
    Effect.map((answer) => (answer._tag === "None" ? `no answer within ${storePatienceMs} ms` : undefined)),
    // Also a store that dies does not answer.
    Effect.catchCause((cause) => Effect.succeed((Cause.squash(cause) as StoreUnavailable).detail ?? "it failed")),
  )
  /** Those of runtimes before this one that nobody has asked for since; no more than are told of. */
  const onRecord = Effect.fnUntraced(
    function* ({ session: isSeen, tags }: HealthView) {
      const found: Array<Failed> = []
      let after: string | undefined
      for (let pages = 0; pages < mostPages; pages++) {
        const page: SessionPage = yield* store.list({
          status: ["failed"],
          limit: mostProblems + 1,
          ...(tags === undefined ? undefined : { tags }),
          ...(after === undefined ? undefined : { after }),
        })
        for (const { id, name, status, exit, spec } of page.sessions) {
          if (register.byId(id) !== undefined || register.isLeaving(id) || !isSeen(spec)) continue
          found.push({ name, why: new SessionNotRunning({ session: name, status, exit }).message })
        }
        if (page.next === null || found.length > mostProblems) break
        after = page.next
      }
      return found
    },
    Effect.timeoutOption(storePatienceMs),
    Effect.map(Option.getOrElse((): ReadonlyArray<Failed> => [])),
    Effect.catchCause(() => Effect.succeed<ReadonlyArray<Failed>>([])),
  )
  return Effect.fnUntraced(function* (view: HealthView = everything) {
    const trouble = supervisor.storeTrouble?.detail ?? (yield* lookUp)
    const stored = trouble === undefined ? yield* onRecord(view) : []
    const present = register.slots().flatMap(({ actor }): ReadonlyArray<Failed> => {
      const { phase, spec } = actor.state
      return phase._tag === "Failed" && view.session(spec) ? [{ name: spec.name, why: phase.error.message }] : []
    })
    const failed = [...present, ...stored].map(({ name, why }) => `session ${name} is failed: ${why}`)
    const gaveUp = [...register.tree.root.nodes()].flatMap(({ path, givenUp }) =>
      givenUp === null || !view.supervisor(path) ? [] : [`supervisor ${path} is failed: ${givenUp.reason}`],
    )
    const more = failed.length - mostProblems
    const problems = [
      ...(trouble === undefined ? [] : [`the store does not answer: ${trouble}`]),
      ...gaveUp.slice(0, mostProblems),
      ...failed.slice(0, mostProblems),
      ...(more > 0 ? [`${stored.length > mostProblems ? "at least " : ""}${more} more sessions are failed`] : []),
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
