/** What the supervisor keeps of a session besides its actor: it outlives every incarnation. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { SessionActor } from "../actors/SessionActor.ts"
import type { SessionState } from "../actors/SessionState.ts"
import type { RestartHistory } from "./RestartPolicy.ts"

export interface Slot {
  readonly actor: SessionActor
  history: RestartHistory
  /** A transient child that ended normally by itself: a group restart starts it again. */
  finished: boolean
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

/**
 * Over with, and that on record: its name, its task and its conversation are whoever's wants them. Before the record says so,
 * a runtime that comes back would find two that bear them.
 */
export const isOver = ({ actor, returning }: Slot): boolean =>
  isOverIn(actor.state, returning) && isOverIn(actor.stored, returning)

/** It will be over with as soon as that is on record. */
export const isEnding = (slot: Slot): boolean => isOverIn(slot.actor.state, slot.returning) && !isOver(slot)

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
