/**
 * Sessions that are being removed: whoever follows one is told its last entries, then nothing of it stays, on record, on disk, as an
 * actor. Begun by `SessionSupervisor` once the session is gone, and waited for at the end of the runtime.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { untilAnswered } from "../actors/StoreRetry.ts"
import type { SessionStore } from "../domain/SessionStore.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import type { Directories } from "./SessionDirectories.ts"
import type { SessionRegister } from "./SessionRegister.ts"
import { whenRemoved, type Slot } from "./Slot.ts"

export interface SessionRemovalsOptions {
  readonly config: RuntimeOptions
  readonly store: SessionStore["Service"]
  readonly directories: Directories
  readonly register: SessionRegister
  readonly run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>
  /** The runtime ends: a store that does not answer is not waited for. */
  readonly hurried: () => boolean
}

export class SessionRemovals {
  readonly #options: SessionRemovalsOptions
  readonly #underWay = new Set<Slot>()

  constructor(options: SessionRemovalsOptions) {
    this.#options = options
  }

  /** Of a session that has left the register. */
  begin(slot: Slot): void {
    const { config, directories, store, run, register, hurried } = this.#options
    const { id } = slot.actor
    const removed = (slot.removed = Deferred.makeUnsafe<void>())
    this.#underWay.add(slot)
    run(
      // A caller that gave up its start hears last, and from the actor itself.
      Effect.yieldNow.pipe(
        Effect.andThen(Effect.suspend(() => Effect.all(slot.farewells ?? [], { discard: true }))),
        Effect.andThen(Effect.ignore(untilAnswered(store.remove(id), { isOver: hurried }))),
        Effect.andThen(directories.remove(config.dataDirectory, id)),
        Effect.andThen(slot.actor.close()),
        Effect.ensuring(
          Effect.sync(() => {
            register.forgotten(id)
            this.#underWay.delete(slot)
            Deferred.doneUnsafe(removed, Effect.void)
          }),
        ),
      ),
    )
  }

  /** Those that are being removed now are gone, or that has taken too long: a store that does not answer keeps nobody. */
  settled(patienceMs: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#underWay.size === 0) return Effect.void
      const gone = Effect.forEach([...this.#underWay], whenRemoved, { concurrency: "unbounded", discard: true })
      return Effect.asVoid(Effect.timeoutOption(gone, patienceMs))
    })
  }
}
