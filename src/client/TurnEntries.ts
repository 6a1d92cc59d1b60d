/**
 * The entries of one streamed turn on their way to its listener: one at a time, in order, as fast as the promises that it
 * gives. A listener that gives none is called at once. Refuses to drop or reorder. Made by `Client` for each streamed ask.
 */
import type { WireEntry } from "../transport/Wire.ts"

export class TurnEntries {
  readonly #listener: (entry: WireEntry) => unknown
  readonly #onSettled: () => void
  readonly #onThrown: (error: unknown) => void
  #entries: Array<WireEntry> = []
  #next = 0
  #unsettled = false
  #done: (() => void) | undefined = undefined

  constructor(listener: (entry: WireEntry) => unknown, onSettled: () => void, onThrown: (error: unknown) => void) {
    this.#listener = listener
    this.#onSettled = onSettled
    this.#onThrown = onThrown
  }

  /** Whether the listener is still at work on an entry. */
  get unsettled(): boolean {
    return this.#unsettled
  }

  push(entry: WireEntry): void {
    this.#entries.push(entry)
    if (!this.#unsettled) this.#advance()
  }

  /** Called once, after the last entry that was pushed. */
  whenDone(act: () => void): void {
    if (this.#unsettled) this.#done = act
    else act()
  }

  #advance(): void {
    while (this.#next < this.#entries.length) {
      const given = this.#listener(this.#entries[this.#next++]!)
      if (!(given instanceof Promise)) continue
      this.#unsettled = true
      void given.then(
        () => {
          this.#unsettled = false
          this.#goOn()
        },
        (error: unknown) => this.#onThrown(error),
      )
      return
    }
    this.#entries = []
    this.#next = 0
  }

  #goOn(): void {
    try {
      this.#advance()
    } catch (error) {
      return this.#onThrown(error)
    }
    if (this.#unsettled) return
    this.#done?.()
    this.#onSettled()
  }
}
