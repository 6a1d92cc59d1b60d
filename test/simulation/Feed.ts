/** A subscriber: pulls for as long as it may, and judges that what it gets has no gaps that it was not told of. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { RuntimeError } from "../../src/domain/Errors.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import type { Subscription, SubscriptionBatch } from "../../src/supervisor/Runtime.ts"
import type { Records } from "./Records.ts"
import type { RuntimeLife } from "./RuntimeLife.ts"
import type { World } from "./World.ts"

/** A pull that failed is tried again after so long (ms). */
const againMs = 20

/** The client's own time, not the runtime's. */
const pause = (world: World, life: RuntimeLife): Effect.Effect<void> =>
  Effect.callback((resume) => {
    world.in(againMs, () => resume(Effect.void), life)
  })

export class Feed {
  readonly life: RuntimeLife
  readonly name: string
  /** It follows one session; else all. */
  readonly #one: boolean
  readonly #world: World
  readonly #records: Records
  /** The newest entry seen, by session. */
  readonly #seen = new Map<SessionId, number>()
  /** Something came that was not there before. */
  #begun = false
  #fiber: Fiber.Fiber<unknown, unknown> | undefined
  ended = false

  constructor(world: World, records: Records, life: RuntimeLife, session: string) {
    this.#world = world
    this.#records = records
    this.life = life
    this.name = session
    this.#one = session !== ""
  }

  follow(
    subscribed: Effect.Effect<Subscription, RuntimeError, Scope.Scope>,
    after: number | null,
    over: () => void,
  ): void {
    const pull = (subscription: Subscription): Effect.Effect<void> =>
      Effect.suspend(() =>
        this.ended
          ? Effect.void
          : Effect.exit(subscription.pull(4)).pipe(
              Effect.flatMap((batch) =>
                Exit.isSuccess(batch)
                  ? Effect.sync(() => this.#take(batch.value, after))
                  : pause(this.#world, this.life),
              ),
              Effect.andThen(pull(subscription)),
            ),
      )
    this.#fiber = this.life.run(Effect.scoped(Effect.flatMap(subscribed, pull)))
    this.#fiber.addObserver(over)
  }

  leave(): void {
    this.#fiber?.interruptUnsafe()
  }

  #take({ entries, missed, ended }: SubscriptionBatch, after: number | null): void {
    const wrong = (what: string) =>
      this.#world.broke("feed-without-gaps", `a subscriber of ${this.name || "all"} ${what}`)
    if (ended === true) this.ended = true
    for (const range of missed) {
      const before = this.#seen.get(range.session)
      if (before !== undefined && range.after > before) wrong(`missed ${range.after}–${range.through} after ${before}`)
      this.#seen.set(range.session, range.through)
    }
    for (const { session, seq, type } of entries) {
      const record = this.#records.sessions.get(session)
      const before = this.#seen.get(session) ?? (this.#one && after !== null ? after : undefined)
      // Open requests of before come first, out of their order.
      const isAsked = after === null && type === "permission/requested" && !this.#begun
      if (before !== undefined && seq !== before + 1) wrong(`got ${seq} after ${before}`)
      if (record === undefined || record.entries[seq - 1]?.type !== type)
        wrong(`got ${seq} ${type}, which is not on record`)
      if (!isAsked) {
        this.#begun = true
        this.#seen.set(session, seq)
      }
    }
  }

  /** It has seen all that was there some while ago of those that it knows. */
  rests(lengths: ReadonlyMap<SessionId, number>): void {
    for (const [id, seq] of this.#seen) {
      const length = lengths.get(id) ?? 0
      if (this.#records.sessions.get(id)?.removed === true || seq >= length) continue
      this.#world.broke("feed-without-gaps", `a subscriber of ${this.name || "all"} rests at ${seq} of ${length}`)
    }
  }
}
