/**
 * The store as one session's actor uses it: asks until it is answered, remembers since when it is not, and gives it up for
 * good when the runtime ends meanwhile. After that nothing is written any more: behind a gap it would be worth nothing.
 */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { Commit } from "../domain/SessionStore.ts"
import type { Turn } from "../domain/Turn.ts"
import type { HostedSession, SessionHost } from "./SessionHost.ts"
import { untilAnswered, type Patience } from "./StoreRetry.ts"

/** A store that does not answer for so long refuses turns; until then they wait (ms). */
const hiccupMs = 1_000

export class StepStore {
  readonly #host: Pick<SessionHost, "store" | "hurried" | "now" | "storeAnswers">
  readonly #session: HostedSession
  /** Since when the store does not answer, and what it said first. */
  #trouble: { readonly error: StoreUnavailable; readonly since: number } | undefined
  #givenUp: StoreUnavailable | undefined

  constructor(host: Pick<SessionHost, "store" | "hurried" | "now" | "storeAnswers">, session: HostedSession) {
    this.#host = host
    this.#session = session
  }

  /** Set once the store was given up. */
  get givenUp(): StoreUnavailable | undefined {
    return this.#givenUp
  }

  /** Why a turn is not even handed in: it would only wait behind others. */
  get refusal(): StoreUnavailable | undefined {
    const trouble = this.#trouble
    return trouble !== undefined && this.#host.now() - trouble.since >= hiccupMs ? trouble.error : undefined
  }

  #ask<A>(effect: Effect.Effect<A, StoreUnavailable>): Effect.Effect<A, StoreUnavailable> {
    const patience: Patience = {
      isOver: () => this.#host.hurried,
      onTrouble: (error) => {
        this.#trouble ??= { error, since: this.#host.now() }
        this.#host.storeAnswers(this.#session, error)
      },
    }
    return Effect.map(untilAnswered(effect, patience), (answer) => {
      if (this.#trouble !== undefined) this.#host.storeAnswers(this.#session, null)
      this.#trouble = undefined
      return answer
    })
  }

  turnByKey(session: SessionId, key: string): Effect.Effect<Turn | undefined, StoreUnavailable> {
    return this.#ask(this.#host.store.turnByKey(session, key))
  }

  /** Fails only once it was given up, and then for good. */
  commit(commit: Commit): Effect.Effect<void, StoreUnavailable> {
    if (this.#givenUp !== undefined) return Effect.fail(this.#givenUp)
    return Effect.matchEffect(this.#ask(this.#host.store.commit(commit)), {
      onFailure: (trouble) => Effect.fail((this.#givenUp = trouble)),
      onSuccess: () => Effect.void,
    })
  }
}
