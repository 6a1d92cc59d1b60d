/**
 * Who handed a turn in to a session and waits for it: to be taken in, or to end. A turn under a key may turn out to be an
 * earlier one; whoever waits for it then waits for that one. Owned by the session actor, which settles.
 */
import * as Exit from "effect/Exit"
import type { RuntimeError } from "../domain/Errors.ts"
import type { TurnId } from "../domain/Ids.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { TurnReply } from "./SessionState.ts"
import { TurnWaiters } from "./TurnWaiters.ts"

export type Until = "accepted" | "ended"

/** A turn that was handed in under a key: it may turn out to be an earlier one again. */
export interface Handed {
  turn: TurnId
}

export class TurnDesk {
  readonly #accepting = new TurnWaiters()
  readonly #ending = new TurnWaiters()
  /** Not looked up yet. */
  #keyed: Map<TurnId, Handed> | undefined

  add({ id, idempotencyKey }: Turn, until: Until, reply: TurnReply): Handed | undefined {
    let handed: Handed | undefined
    if (idempotencyKey !== null) (this.#keyed ??= new Map()).set(id, (handed = { turn: id }))
    if (until === "accepted") this.#accepting.add(id, reply)
    else this.#ending.add(id, reply)
    return handed
  }

  /** The caller went away. Answers the turn that nobody waits for any more, if so. */
  remove(id: TurnId, handed: Handed | undefined, until: Until, reply: TurnReply): TurnId | undefined {
    this.#keyed?.delete(id)
    const turn = handed?.turn ?? id
    const [mine, other] = until === "accepted" ? [this.#accepting, this.#ending] : [this.#ending, this.#accepting]
    return mine.remove(turn, reply) && !other.has(turn) ? turn : undefined
  }

  /** A turn under a key is looked up; `stored` or else `unaccepted` is the one that came before it. */
  lookedUp(id: TurnId, stored: Turn | undefined, unaccepted: Turn | undefined): "new" | "known" {
    const handed = this.#keyed?.get(id)
    this.#keyed?.delete(id)
    const first = stored ?? unaccepted
    if (first === undefined) return "new"
    if (stored !== undefined) this.#accepting.settle(id, Exit.succeed(stored))
    else this.#accepting.move(id, first.id)
    if (isTerminal(first)) this.#ending.settle(id, Exit.succeed(first))
    else this.#ending.move(id, first.id)
    if (handed !== undefined) handed.turn = first.id
    return "known"
  }

  accepted(turn: Turn): void {
    this.#accepting.settle(turn.id, Exit.succeed(turn))
  }

  ended(turn: Turn): void {
    this.#ending.settle(turn.id, Exit.succeed(turn))
  }

  /** It will not be taken in. */
  refused(turn: TurnId, exit: Exit.Exit<never, RuntimeError>): void {
    this.#accepting.settle(turn, exit)
    this.#ending.settle(turn, exit)
  }

  awaitEnd(turn: TurnId, reply: TurnReply): void {
    this.#ending.add(turn, reply)
  }

  stopAwaiting(turn: TurnId, reply: TurnReply): void {
    this.#ending.remove(turn, reply)
  }

  /** No turn is answered any more. */
  abandon(error: () => RuntimeError): void {
    const outcome = () => Exit.fail(error())
    this.#accepting.settleAll(outcome)
    this.#ending.settleAll(outcome)
  }
}
