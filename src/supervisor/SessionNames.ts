/**
 * Who bears which name and which task. A session that is over with lends its name to a new one. Owned by the supervisor of
 * sessions; knows nothing of starting or stopping.
 */
import { Registry } from "../actors/Registry.ts"
import { SessionAlreadyExists } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { Slot } from "./Slot.ts"

export interface Taken {
  readonly slot: Slot
  readonly error: SessionAlreadyExists
}

export class SessionNames {
  readonly #names = new Registry<string, Slot>()
  readonly #tasks = new Registry<string, Slot>()
  /** Who goes on with a conversation of an agent's: two at once would undo each other's work. */
  readonly #conversations = new Registry<string, Slot>()
  readonly #keys = new Map<Slot, string>()
  #generated = 0

  /** By name, or else by task. */
  whereIs(nameOrTask: string): Slot | undefined {
    return this.#names.whereIs(nameOrTask) ?? this.#tasks.whereIs(nameOrTask)
  }

  /** So many sessions were made before: what is generated now is none of theirs. */
  goOnFrom(created: number): void {
    this.#generated = Math.max(this.#generated, created)
  }

  generate(): string {
    let name: string
    do name = `session-${++this.#generated}`
    while (this.#names.whereIs(name) !== undefined)
    return name
  }

  /** Takes note of the conversation that a session has by now. Returns another that has it already and is not over with. */
  converse(slot: Slot): Slot | undefined {
    const { protocol, conversation } = slot.actor.state
    const key = conversation === null ? undefined : `${protocol.name} ${conversation}`
    const before = this.#keys.get(slot)
    if (before === key) return undefined
    if (before !== undefined) this.#conversations.unregister(before, slot)
    this.#keys.delete(slot)
    if (key === undefined) return undefined
    const other = this.#conversations.whereIs(key)
    if (!isOver(other, slot)) return other
    if (other !== undefined) this.#forgetConversation(other)
    this.#conversations.register(key, slot)
    this.#keys.set(slot, key)
    return undefined
  }

  #forgetConversation(slot: Slot): void {
    const key = this.#keys.get(slot)
    if (key !== undefined) this.#conversations.unregister(key, slot)
    this.#keys.delete(slot)
  }

  #conversing(spec: SessionSpec, but: Slot | undefined): Slot | undefined {
    const own = "resume" in spec.protocol ? (spec.protocol.resume ?? null) : null
    const conversation = but === undefined ? own : but.actor.state.conversation
    return conversation === null ? undefined : this.#conversations.whereIs(`${spec.protocol.type} ${conversation}`)
  }

  /** Whoever bears the name or the task now, or goes on with the conversation, unless it is over with. */
  taken(spec: SessionSpec, slots: Registry<SessionId, Slot>, but?: Slot): Taken | undefined {
    const { name, task } = spec
    const byConversation = this.#conversing(spec, but)
    if (!isOver(byConversation, but)) {
      const other = byConversation!
      return { slot: other, error: new SessionAlreadyExists({ session: other.actor.name, field: "protocol.resume" }) }
    }
    // A name that is another session's id would hide the one or the other.
    const byName = slots.whereIs(name as SessionId) ?? this.#names.whereIs(name)
    if (!isOver(byName, but)) {
      return { slot: byName!, error: new SessionAlreadyExists({ session: name, field: "name" }) }
    }
    if (task === null) return undefined
    const byTask = this.#tasks.whereIs(task)
    return isOver(byTask, but)
      ? undefined
      : { slot: byTask!, error: new SessionAlreadyExists({ session: task, field: "task" }) }
  }

  /** Takes the name and the task, also from a session that is over with. */
  give(slot: Slot): void {
    const { name, task } = slot.actor.state.spec
    const take = (registry: Registry<string, Slot>, key: string) => {
      const before = registry.whereIs(key)
      if (before !== undefined) registry.unregister(key, before)
      registry.register(key, slot)
    }
    take(this.#names, name)
    if (task !== null) take(this.#tasks, task)
  }

  /** Takes the name and the task where nobody has them. */
  giveFree(slot: Slot): void {
    const { name, task } = slot.actor.state.spec
    if (this.#names.whereIs(name) === undefined) this.#names.register(name, slot)
    if (task !== null && this.#tasks.whereIs(task) === undefined) this.#tasks.register(task, slot)
  }

  /** The session is gone, or is about to be called otherwise. */
  takeBack(slot: Slot): void {
    this.#forgetConversation(slot)
    const { name, task } = slot.actor.state.spec
    this.#names.unregister(name, slot)
    if (task !== null) this.#tasks.unregister(task, slot)
  }
}

const isOver = (slot: Slot | undefined, but: Slot | undefined): boolean => {
  if (slot === undefined || slot === but) return true
  const { phase, incarnation } = slot.actor.state
  switch (phase._tag) {
    case "Gone":
      return true
    case "Stopped":
      // Before its first start it only looks as if it were over.
      return incarnation > 0 && slot.returning === 0
    case "Failed":
      return slot.returning === 0
    default:
      return false
  }
}
