/**
 * How sessions come to be, and come back: a start, a fork, a session that has to be there, a client that wants one to run again.
 * From the look at who bears the name to its taking nothing comes between. What becomes of them then is `SessionSupervisor`'s.
 */
import * as Effect from "effect/Effect"
import { initialState, processOf, statusOf } from "../actors/SessionState.ts"
import { Draining, type RuntimeError, Unsupported } from "../domain/Errors.ts"
import type { Ids } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import { sameSpec, type SessionSpecInput } from "../domain/SessionSpec.ts"
import { noHistory } from "./RestartPolicy.ts"
import type { SessionLog } from "./SessionLog.ts"
import type { SessionRegister } from "./SessionRegister.ts"
import { broughtBack, isEnding, whenRemoved, type Slot } from "./Slot.ts"
import { admit, type Admitted } from "./SpecAdmission.ts"
import type { SteadyClock } from "./SteadyClock.ts"
import type { Supervisors } from "./Supervisors.ts"

/** The supervisor of sessions, as far as it matters here. */
export interface House {
  readonly register: SessionRegister
  readonly supervisors: Supervisors
  readonly clock: SteadyClock
  readonly draining: boolean
}

export interface SessionStartsOptions {
  readonly ids: Ids
  readonly log: SessionLog
}

/** A session as a start that found it answers it: once it is ready, where it is on its way there. */
const standing = ({ actor }: Slot): Effect.Effect<Session, RuntimeError> => {
  const { phase } = actor.state
  const starts = statusOf(phase) === "starting" || statusOf(phase) === "authenticating" || phase._tag === "Stopped"
  return starts ? actor.request((reply) => ({ type: "resume", reply })) : Effect.succeed(actor.snapshot())
}

export class SessionStarts {
  readonly #house: House
  readonly #options: SessionStartsOptions

  constructor(house: House, options: SessionStartsOptions) {
    this.#house = house
    this.#options = options
  }

  start(input: SessionSpecInput, ifExists: "fail" | "return"): Effect.Effect<Session, RuntimeError> {
    return Effect.flatMap(this.#admit(input), (admitted) =>
      // A caller that goes away between the taking of the name and the reply must not leave a session behind.
      Effect.uninterruptibleMask((restore) => this.#begin(admitted, ifExists, null, restore)),
    )
  }

  #admit(input: SessionSpecInput): Effect.Effect<Admitted, RuntimeError> {
    return admit(
      input,
      () => this.#house.register.generateName(),
      (path) => this.#house.register.tree.find(path) !== undefined,
    )
  }

  /** A new session that goes on from where this one's conversation stands. */
  fork({ actor }: Slot, name?: string): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend((): Effect.Effect<Session, RuntimeError> => {
      const { spec, protocol, conversation } = actor.state
      const cannot = (detail: string) => Effect.fail(new Unsupported({ what: "session/fork", detail }))
      if (protocol.canFork !== true) return cannot(`the protocol ${protocol.name} has no way to fork a conversation`)
      if (conversation === null) return cannot(`session ${actor.name} has no conversation yet; ask it something first`)
      // A task belongs to one session.
      const forked = { spec: { ...spec, name: name ?? this.#house.register.generateName(), task: null }, protocol }
      return Effect.uninterruptibleMask((restore) => this.#begin(forked, "fail", conversation, restore))
    })
  }

  /**
   * A session that has to be there: started where there is none of its name, brought back where it does not run. Where it
   * exists with another spec, this one counts from now on; what runs by the old one is replaced.
   */
  configure(input: SessionSpecInput): Effect.Effect<Session, RuntimeError> {
    return Effect.flatMap(this.#admit(input), (admitted) => Effect.gen(() => this.#configure(admitted)))
  }

  *#configure(admitted: Admitted): Effect.fn.Return<Session, RuntimeError> {
    const { spec, protocol } = admitted
    const found = yield* Effect.result(this.#house.register.find(spec.name))
    if (found._tag === "Failure") {
      if (found.failure._tag !== "SessionNotFound") return yield* Effect.fail(found.failure)
      return yield* Effect.uninterruptibleMask((restore) => this.#begin(admitted, "return", null, restore))
    }
    const slot = found.success
    const { actor } = slot
    if (actor.name === spec.name && !sameSpec(spec, actor.state.spec)) {
      if (processOf(actor.state.phase) !== null) yield* actor.request((reply) => ({ type: "suspend", reply }))
      yield* this.#house.register.rename(
        slot,
        spec,
        actor.request((reply) => ({ type: "respec", spec, protocol, reply })),
      )
    }
    return yield* this.bringBack(slot, "resume")
  }

  #begin(
    admitted: Admitted,
    ifExists: "fail" | "return",
    forkedFrom: string | null,
    restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>,
  ): Effect.Effect<Session, RuntimeError> {
    const { register, clock } = this.#house
    return Effect.suspend(() => {
      // From the look at the names to their taking, nothing else may come between.
      const prior = this.#admission(admitted, ifExists)
      if (prior !== undefined) {
        if ("_tag" in prior) return Effect.fail(prior)
        if (!isEnding(prior)) return restore(standing(prior))
        return Effect.andThen(restore(prior.actor.recorded), this.#begin(admitted, ifExists, forkedFrom, restore))
      }
      const { spec, protocol } = admitted
      const state = initialState(this.#options.ids.session(), spec, protocol, clock.now(), clock.skewMs())
      const slot = register.seat({ ...state, forkedFrom }, noHistory)
      const { actor } = slot
      register.giveName(slot)
      return restore(actor.request((reply) => ({ type: "start", reply }))).pipe(
        Effect.tap(() => Effect.sync(() => this.#options.log.started(actor))),
        // A caller that goes away must not leave a session behind that it never learnt of.
        Effect.onInterrupt(() => Effect.ignore(actor.request((reply) => ({ type: "remove", reply })))),
        Effect.onError(() => whenRemoved(slot)),
      )
    })
  }

  /** The session that is there already and was asked for; undefined: the way is free. */
  #admission(admitted: Admitted, ifExists: "fail" | "return"): Slot | RuntimeError | undefined {
    const { register, supervisors, draining } = this.#house
    if (draining) return new Draining({ detail: "the runtime is shutting down; it starts nothing more" })
    const taken = register.taken(admitted.spec)
    const { supervisor, name } = admitted.spec
    if (taken === undefined) return supervisors.refusal(supervisor, name)
    if (ifExists === "fail") return taken.error
    const { spec } = taken.slot.actor.state
    return supervisors.refusal(spec.supervisor, spec.name) ?? taken.slot
  }

  /** Brings a session back, also one that was over with: its name may be another's by now. */
  bringBack(slot: Slot, wish: "resume" | "restart"): Effect.Effect<Session, RuntimeError> {
    return Effect.uninterruptibleMask((restore): Effect.Effect<Session, RuntimeError> => {
      const { register, supervisors, draining } = this.#house
      if (draining) return Effect.fail(new Draining({ detail: "the runtime is shutting down" }))
      const { spec } = slot.actor.state
      const taken = register.taken(spec, slot)
      if (taken !== undefined) return Effect.fail(taken.error)
      const refusal = supervisors.refusal(spec.supervisor, spec.name)
      if (refusal !== undefined) return Effect.fail(refusal)
      register.giveName(slot)
      // Its supervisor may have been started anew since.
      register.tree.join(slot)
      slot.finished = false
      return broughtBack(slot, (reply) => ({ type: wish, reply }), restore)
    })
  }
}
