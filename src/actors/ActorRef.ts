/**
 * The stable reference to an actor: it outlives the actor's incarnations, and answers `ActorDown` once there
 * will be no further one. Nothing said to it is lost silently: a tell is accepted or fails, an ask is
 * answered or fails.
 */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { MailboxFull } from "../domain/Errors.ts"
import type { Down } from "./Monitor.ts"

/** The actor is gone for good, or crashed while it handled this ask. */
export class ActorDown extends Data.TaggedError("ActorDown")<{ readonly actor: string; readonly down: Down }> {
  override get message() {
    return `actor ${this.actor} is down (${this.down.reason._tag})`
  }
}

/** Where an actor puts its answer; only the first counts. */
export type ReplyTo<A, E = never> = (exit: Exit.Exit<A, E>) => void

export interface ActorRef<M> {
  readonly name: string
  /** One-way. Under `suspend` it waits for room. */
  readonly tell: (message: M) => Effect.Effect<void, MailboxFull | ActorDown>
  /** The same from outside of Effect and without waiting: under `suspend` an offer without room waits unseen. */
  readonly tellUnsafe: (message: M) => MailboxFull | ActorDown | undefined
  /** Waits for the answer. Interrupting it leaves the message where it is; its answer is dropped. */
  readonly ask: <A, E = never>(message: (replyTo: ReplyTo<A, E>) => M) => Effect.Effect<A, E | MailboxFull | ActorDown>
  /** Calls back once when the actor is down for good. */
  readonly monitor: (onDown: (down: Down) => void) => () => void
  /** Waits until the actor is down for good. */
  readonly down: Effect.Effect<Down>
}
