/** What the supervisor keeps of a session besides its actor: it outlives every incarnation. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { SessionActor } from "../actors/SessionActor.ts"
import type { SessionEvent } from "../actors/SessionEvent.ts"
import type { SessionReply, SessionState } from "../actors/SessionState.ts"
import type { RuntimeError } from "../domain/Errors.ts"
import type { Session } from "../domain/Session.ts"
import type { RestartHistory } from "./RestartPolicy.ts"

export interface Slot {
  readonly actor: SessionActor
  history: RestartHistory
  /** A transient child that ended normally by itself: a group restart starts it again. */
  finished: boolean
  /** Its group is bringing it back from its end: as good as held, though it does not know yet. */
  rising: boolean
  /** Clients whose stop is not answered yet: what ends by itself meanwhile has not finished, it is stopped. */
  stopping: number
  /** Clients that are bringing it back just now. */
  returning: number
  /** Waited for when it is removed, while its transcript is still there. */
  farewells: Set<Effect.Effect<void>> | undefined
  /** Settles when nothing of a removed session is left. */
  removed: Deferred.Deferred<void> | undefined
}

/** Waits until nothing of it is left, where it is being removed. */
export const whenRemoved = (slot: Slot): Effect.Effect<void> =>
  Effect.suspend(() => (slot.removed === undefined ? Effect.void : Deferred.await(slot.removed)))

/** A reply that first says here that it has come: whoever looks in between the answer and its arrival sees what is so. */
export const answering =
  (reply: SessionReply, answered: () => void): SessionReply =>
  (exit) => {
    answered()
    reply(exit)
  }

/**
 * Asks for something that brings it back: from the call on, and until that is answered, nobody takes its name. The answer counts,
 * not its arrival: whoever looks in between sees a session that is over with again where it was refused. To be called where nothing
 * interrupts; `restore` lets the waiting be interrupted.
 */
export const broughtBack = (
  slot: Slot,
  wish: (reply: SessionReply) => SessionEvent,
  restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E> = (effect) => effect,
): Effect.Effect<Session, RuntimeError> => {
  slot.returning++
  let open = true
  const answered = () => {
    if (open) slot.returning--
    open = false
  }
  const asked = slot.actor.request((reply) => wish(answering(reply, answered)))
  // Nobody waits any more, or the actor is down and answers nothing.
  return Effect.ensuring(restore(asked), Effect.sync(answered))
}

/**
 * Over with, and that on record: its name, its task and its conversation are whoever's wants them. Before the record says so,
 * a runtime that comes back would find two that bear them.
 */
export const isOver = ({ actor, returning }: Slot): boolean =>
  isOverIn(actor.state, returning) && isOverIn(actor.stored, returning)

/** It has no process and gets none by itself, and that is on record: also of one that somebody is just bringing back. */
export const isDown = ({ actor }: Slot): boolean =>
  actor.state.phase._tag === "Gone" || (isOverIn(actor.state, 0) && isOverIn(actor.stored, 0))

/** It will be over with as soon as that is on record, unless somebody who is bringing it back comes first: then that is known. */
export const isEnding = (slot: Slot): boolean => isOverIn(slot.actor.state, 0) && !isOver(slot)

const isOverIn = ({ phase, incarnation }: SessionState, returning: number): boolean => {
  switch (phase._tag) {
    case "Gone":
      return true
    case "Stopped":
      // Before its first start it only looks as if it were over.
      return incarnation > 0 && returning === 0
    case "Failed":
      return returning === 0
    default:
      return false
  }
}
