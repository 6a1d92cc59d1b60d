/**
 * Who is there: the slots of a runtime by id, name and task, and the records behind them. One that is only on record (over
 * with before this runtime began, or its name lent) gets its slot when somebody asks for it. Starts and stops nothing.
 */
import * as Effect from "effect/Effect"
import { Registry } from "../actors/Registry.ts"
import type { SessionActor } from "../actors/SessionActor.ts"
import { storedState } from "../actors/SessionRecovery.ts"
import type { SessionState } from "../actors/SessionState.ts"
import {
  Draining,
  SessionAlreadyExists,
  SessionNotFound,
  type StoreUnavailable,
  Unsupported,
  type RuntimeError,
} from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { RecoverableSession, SessionStore } from "../domain/SessionStore.ts"
import { protocolFor } from "../protocols/ProtocolFor.ts"
import { Conversations } from "./Conversations.ts"
import { takeUp } from "./KeptHistory.ts"
import type { RestartHistory } from "./RestartPolicy.ts"
import { SessionNames, type Taken } from "./SessionNames.ts"
import type { Slot } from "./Slot.ts"
import { SupervisorTree } from "./SupervisorTree.ts"
import type { SteadyClock } from "./SteadyClock.ts"

export interface RegisterOptions {
  readonly store: SessionStore["Service"]
  readonly clock: SteadyClock
  readonly actorOf: (state: SessionState) => SessionActor
}

export class SessionRegister {
  readonly #options: RegisterOptions
  readonly #slots = new Registry<SessionId, Slot>()
  readonly #names = new SessionNames()
  readonly conversations = new Conversations()
  readonly tree = new SupervisorTree()
  /** Removed here, and not yet from the store. */
  readonly #leaving = new Set<SessionId>()
  #closed = false

  constructor(options: RegisterOptions) {
    this.#options = options
  }

  /** In order of their creation. */
  slots(): ReadonlyArray<Slot> {
    return [...this.#slots.values()]
  }

  byId(id: SessionId): Slot | undefined {
    return this.#slots.whereIs(id)
  }

  /** By id, or else by name, or else by task: the newest session that has it. */
  whereIs(ref: string): Slot | undefined {
    return this.#slots.whereIs(ref as SessionId) ?? this.#names.whereIs(ref)
  }

  /** The same, also for one that is only on record. */
  find(ref: string): Effect.Effect<Slot, RuntimeError> {
    return Effect.suspend(() => {
      const slot = this.whereIs(ref)
      return slot === undefined ? Effect.gen(() => this.#recall(ref)) : Effect.succeed(slot)
    })
  }

  *#recall(ref: string): Effect.fn.Return<Slot, RuntimeError> {
    const { store } = this.#options
    const found = (yield* store.session(ref as SessionId)) ?? (yield* store.find(ref))
    const record = found === undefined ? undefined : yield* store.recover(found.id)
    const named = record === undefined || (yield* this.bearsName(record.session))
    // What came between the questions counts.
    const slot = this.whereIs(ref) ?? (record === undefined ? undefined : this.byId(record.session.id))
    if (slot !== undefined) {
      this.#names.giveFree(slot)
      return slot
    }
    if (record === undefined || this.#leaving.has(record.session.id)) {
      return yield* new SessionNotFound({ session: ref })
    }
    // Nobody would end it any more.
    if (this.#closed) return yield* new Draining({ detail: "the runtime is shut down" })
    return yield* this.restore(record, named)
  }

  /** One that is over with may have lent its name to another, which is over with by now as well. */
  bearsName({ id, name, status }: Session): Effect.Effect<boolean, StoreUnavailable> {
    if (status !== "stopped" && status !== "failed") return Effect.succeed(true)
    return Effect.map(this.#options.store.find(name), (newest) => newest === undefined || newest.id === id)
  }

  /** A slot for a session on record, as its runtime left it. */
  restore({ session, history }: RecoverableSession, named: boolean): Effect.Effect<Slot, Unsupported> {
    return Effect.suspend(() => {
      const { clock } = this.#options
      const protocol = protocolFor(session.spec.protocol)
      if (protocol !== undefined) {
        const skewMs = clock.skewMs()
        const state = storedState(session, protocol, clock.now(), skewMs)
        return Effect.succeed(this.seat(state, takeUp(history, skewMs, clock.now()), named))
      }
      const detail = `session ${session.name} was made by a build that speaks ${session.spec.protocol.type}; this one does not`
      return Effect.fail(new Unsupported({ what: "protocol", detail }))
    })
  }

  /** Its name and its task are its own where nobody has them; without `named` it is found by its id alone. */
  seat(state: SessionState, history: RestartHistory, named = true): Slot {
    const actor = this.#options.actorOf(state)
    const slot: Slot = {
      actor,
      history,
      finished: false,
      rising: false,
      stopping: 0,
      returning: 0,
      farewells: undefined,
      removed: undefined,
    }
    this.#slots.register(actor.id, slot)
    this.tree.join(slot)
    if (named) this.#names.giveFree(slot)
    this.conversations.claim(slot)
    return slot
  }

  generateName(): string {
    return this.#names.generate()
  }

  /** So many sessions were made before. */
  goOnFrom(created: number): void {
    this.#names.goOnFrom(created)
  }

  /** Who stands in the way of this spec, by its name, its task or its conversation. */
  taken(spec: SessionSpec, but?: Slot): Taken | undefined {
    const slot = this.conversations.writerFor(spec, but)
    return slot === undefined
      ? this.#names.taken(spec, this.#slots, but)
      : { slot, error: new SessionAlreadyExists({ session: slot.actor.name, field: "protocol.resume" }) }
  }

  /** Takes its name and its task, also from a session that is over with. */
  giveName(slot: Slot): void {
    this.#names.give(slot)
  }

  /** Its name or its task are about to change to those of `spec`: while the change is under way it has the old and the new. */
  rename(
    slot: Slot,
    spec: SessionSpec,
    change: Effect.Effect<unknown, RuntimeError>,
  ): Effect.Effect<void, RuntimeError> {
    return Effect.suspend(() => {
      const before = slot.actor.state.spec
      this.#names.giveFree(slot, spec)
      if (before.supervisor !== spec.supervisor) this.tree.leave(slot)
      return Effect.ensuring(
        change,
        Effect.sync(() => {
          this.#names.takeBack(slot, before)
          this.#names.takeBack(slot, spec)
          this.#names.giveFree(slot)
          this.conversations.claim(slot)
          this.tree.join(slot)
        }),
      )
    }).pipe(Effect.asVoid)
  }

  /** It is gone. Until `forgotten` its record is nobody's. */
  leave(slot: Slot): void {
    const { id } = slot.actor
    this.#slots.unregister(id, slot)
    this.#names.takeBack(slot)
    this.tree.leave(slot)
    this.conversations.release(slot)
    this.#leaving.add(id)
  }

  /** From here on none is taken from the record any more; those that are here are closed by whoever closes this. */
  close(): ReadonlyArray<Slot> {
    this.#closed = true
    return this.slots()
  }

  isLeaving(id: SessionId): boolean {
    return this.#leaving.has(id)
  }

  forgotten(id: SessionId): void {
    this.#leaving.delete(id)
  }
}
