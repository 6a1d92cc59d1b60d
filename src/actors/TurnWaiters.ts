/**
 * Who waits for something of a turn, by its id: one in nearly every case, any number in all. The first place needs no
 * map, for most sessions have one turn under way. Owned by the session actor.
 */
import type * as Exit from "effect/Exit"
import type { RuntimeError } from "../domain/Errors.ts"
import type { TurnId } from "../domain/Ids.ts"
import type { Turn } from "../domain/Turn.ts"
import type { TurnReply } from "./SessionState.ts"

type Waiting = TurnReply | Array<TurnReply>

export class TurnWaiters {
  #turn: TurnId | undefined
  #first: Waiting | undefined
  #others: Map<TurnId, Waiting> | undefined

  has(turn: TurnId): boolean {
    return this.#turn === turn || this.#others?.has(turn) === true
  }

  #get(turn: TurnId): Waiting | undefined {
    return this.#turn === turn ? this.#first : this.#others?.get(turn)
  }

  #set(turn: TurnId, waiting: Waiting): void {
    if (this.#turn === turn || (this.#turn === undefined && this.#others?.has(turn) !== true)) {
      this.#turn = turn
      this.#first = waiting
    } else (this.#others ??= new Map()).set(turn, waiting)
  }

  #delete(turn: TurnId): void {
    if (this.#turn === turn) {
      this.#turn = undefined
      this.#first = undefined
    } else if (this.#others?.delete(turn) === true && this.#others.size === 0) this.#others = undefined
  }

  add(turn: TurnId, reply: TurnReply): void {
    const before = this.#get(turn)
    if (before === undefined) this.#set(turn, reply)
    else if (Array.isArray(before)) before.push(reply)
    else this.#set(turn, [before, reply])
  }

  /** True: it was the last one for this turn. */
  remove(turn: TurnId, reply: TurnReply): boolean {
    const waiting = this.#get(turn)
    if (Array.isArray(waiting)) {
      const index = waiting.indexOf(reply)
      if (index < 0) return false
      waiting.splice(index, 1)
      if (waiting.length > 0) return false
    } else if (waiting === undefined || waiting !== reply) return false
    this.#delete(turn)
    return true
  }

  /** Whoever waits for one turn waits for the other from here on. */
  move(from: TurnId, to: TurnId): void {
    const waiting = this.#get(from)
    if (waiting === undefined || from === to) return
    this.#delete(from)
    for (const reply of [waiting].flat()) this.add(to, reply)
  }

  settle(turn: TurnId, exit: Exit.Exit<Turn, RuntimeError>): void {
    const waiting = this.#get(turn)
    if (waiting === undefined) return
    this.#delete(turn)
    if (Array.isArray(waiting)) waiting.forEach((reply) => reply(exit))
    else waiting(exit)
  }

  settleAll(exit: () => Exit.Exit<Turn, RuntimeError>): void {
    if (this.#turn === undefined && this.#others === undefined) return
    const outcome = exit()
    if (this.#turn !== undefined) this.settle(this.#turn, outcome)
    for (const turn of [...(this.#others?.keys() ?? [])]) this.settle(turn, outcome)
  }
}
