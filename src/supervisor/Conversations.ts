/**
 * Which session goes on with which conversation of an agent's: one writer each, since two would undo each other's work. A
 * session that is over with gives its conversation up to whoever comes next. Knows nothing of starting or stopping.
 */
import { Registry } from "../actors/Registry.ts"
import { resumedConversation, type SessionSpec } from "../domain/SessionSpec.ts"
import { isOver, type Slot } from "./Slot.ts"

const keyOf = ({ protocol }: SessionSpec, conversation: string | null): string | undefined =>
  conversation === null ? undefined : `${protocol.type} ${conversation}`

export class Conversations {
  readonly #writers = new Registry<string, Slot>()
  readonly #keys = new Map<Slot, string>()

  /** Takes note of the conversation that a session has by now. Returns another that has it already and is not over with. */
  claim(slot: Slot): Slot | undefined {
    const { spec, conversation } = slot.actor.state
    const key = keyOf(spec, conversation)
    if (this.#keys.get(slot) === key) return undefined
    this.release(slot)
    if (key === undefined) return undefined
    const other = this.#writers.whereIs(key)
    if (other !== undefined && !isOver(other)) return other
    if (other !== undefined) this.release(other)
    this.#writers.register(key, slot)
    this.#keys.set(slot, key)
    return undefined
  }

  release(slot: Slot): void {
    const key = this.#keys.get(slot)
    if (key !== undefined) this.#writers.unregister(key, slot)
    this.#keys.delete(slot)
  }

  /** Who else has the conversation that a new session would go on with, or `of` when it is brought back. */
  writerFor(spec: SessionSpec, of?: Slot): Slot | undefined {
    const key = keyOf(spec, of === undefined ? resumedConversation(spec) : of.actor.state.conversation)
    const writer = key === undefined ? undefined : this.#writers.whereIs(key)
    return writer === undefined || writer === of || isOver(writer) ? undefined : writer
  }
}
