/**
 * Who bears which name and which task. A session that is over with lends its name to a new one. Owned by the supervisor of
 * sessions; knows nothing of starting or stopping.
 */
import { Registry } from "../actors/Registry.ts"
import { SessionAlreadyExists } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import { isOver, type Slot } from "./Slot.ts"

export interface Taken {
  readonly slot: Slot
  readonly error: SessionAlreadyExists
}

export class SessionNames {
  readonly #names = new Registry<string, Slot>()
  readonly #tasks = new Registry<string, Slot>()
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

  /** Whoever bears the name or the task now, unless it is over with. */
  taken({ name, task }: SessionSpec, slots: Registry<SessionId, Slot>, but?: Slot): Taken | undefined {
    // A name that is another session's id would hide the one or the other.
    const byName = slots.whereIs(name as SessionId) ?? this.#names.whereIs(name)
    if (stands(byName, but)) return { slot: byName, error: new SessionAlreadyExists({ session: name, field: "name" }) }
    if (task === null) return undefined
    const byTask = this.#tasks.whereIs(task)
    return stands(byTask, but)
      ? { slot: byTask, error: new SessionAlreadyExists({ session: task, field: "task" }) }
      : undefined
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

  /** Takes the name and the task where nobody has them. `spec`: another one than it has now. */
  giveFree(slot: Slot, { name, task }: SessionSpec = slot.actor.state.spec): void {
    if (this.#names.whereIs(name) === undefined) this.#names.register(name, slot)
    if (task !== null && this.#tasks.whereIs(task) === undefined) this.#tasks.register(task, slot)
  }

  /** The session is gone, or was called so by another spec. */
  takeBack(slot: Slot, { name, task }: SessionSpec = slot.actor.state.spec): void {
    this.#names.unregister(name, slot)
    if (task !== null) this.#tasks.unregister(task, slot)
  }
}

/** Somebody else, and not over with. */
const stands = (slot: Slot | undefined, but: Slot | undefined): slot is Slot =>
  slot !== undefined && slot !== but && !isOver(slot)
