/** Who waits for something of a turn, by its id: one in nearly every case, any number in all. Owned by the session actor. */
import type * as Exit from "effect/Exit"
import type { RuntimeError } from "../domain/Errors.ts"
import type { TurnId } from "../domain/Ids.ts"
import type { Turn } from "../domain/Turn.ts"
import type { TurnReply } from "./SessionState.ts"

export class TurnWaiters {
  readonly #waiting = new Map<TurnId, TurnReply | Array<TurnReply>>()

  add(turn: TurnId, reply: TurnReply): void {
    const others = this.#waiting.get(turn)
    if (others === undefined) this.#waiting.set(turn, reply)
    else if (Array.isArray(others)) others.push(reply)
    else this.#waiting.set(turn, [others, reply])
  }

  /** True: it was the last one for this turn. */
  remove(turn: TurnId, reply: TurnReply): boolean {
    const waiting = this.#waiting.get(turn)
    if (waiting === reply) return this.#waiting.delete(turn)
    if (!Array.isArray(waiting)) return false
    const index = waiting.indexOf(reply)
    if (index < 0) return false
    waiting.splice(index, 1)
    return waiting.length === 0 && this.#waiting.delete(turn)
  }

  /** Whoever waits for one turn waits for the other from here on. */
  move(from: TurnId, to: TurnId): void {
    const waiting = this.#waiting.get(from)
    if (waiting === undefined || from === to) return
    this.#waiting.delete(from)
    for (const reply of [waiting].flat()) this.add(to, reply)
  }

  settle(turn: TurnId, exit: Exit.Exit<Turn, RuntimeError>): void {
    const waiting = this.#waiting.get(turn)
    if (waiting === undefined) return
    this.#waiting.delete(turn)
    if (Array.isArray(waiting)) waiting.forEach((reply) => reply(exit))
    else waiting(exit)
  }

  settleAll(exit: Exit.Exit<Turn, RuntimeError>): void {
    for (const turn of [...this.#waiting.keys()]) this.settle(turn, exit)
  }

  get size(): number {
    return this.#waiting.size
  }
}
