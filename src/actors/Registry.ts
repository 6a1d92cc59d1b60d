/** Names for things that live: unique, found in constant time, given back when the bearer is gone. */

export class Registry<K, V> {
  readonly #entries = new Map<K, V>()

  /** False, and nothing changes, where the name is taken. */
  register(key: K, value: V): boolean {
    if (this.#entries.has(key)) return false
    this.#entries.set(key, value)
    return true
  }

  whereIs(key: K): V | undefined {
    return this.#entries.get(key)
  }

  /** Gives the name back, if this bearer still has it: a late goodbye must not unname its successor. */
  unregister(key: K, value: V): void {
    if (this.#entries.get(key) === value) this.#entries.delete(key)
  }

  get size(): number {
    return this.#entries.size
  }

  /** In order of registration. */
  values(): IterableIterator<V> {
    return this.#entries.values()
  }
}
