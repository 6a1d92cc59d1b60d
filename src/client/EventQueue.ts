/** Events on their way to one `for await`: pushed as they come, taken as fast as the loop goes. Made by `Client`. */

export class EventQueue<A> {
  readonly #onTaken: () => void
  #events: Array<A> = []
  #next = 0
  #ended = false
  #wake: (() => void) | undefined = undefined

  constructor(onTaken: () => void) {
    this.#onTaken = onTaken
  }

  /** Events not taken yet. */
  get length(): number {
    return this.#events.length - this.#next
  }

  push(event: A): void {
    if (this.#ended) return
    this.#events.push(event)
    this.#wake?.()
  }

  /** What was pushed before is still given. */
  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  async *iterate(finish: () => Promise<void>): AsyncGenerator<A, void, undefined> {
    try {
      while (true) {
        if (this.length > 0) {
          yield this.#take()
        } else if (this.#ended) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      await finish()
    }
  }

  #take(): A {
    const event = this.#events[this.#next++] as A
    if (this.#next === this.#events.length || this.#next === 1024) {
      this.#events = this.#events.slice(this.#next)
      this.#next = 0
      this.#onTaken()
    }
    return event
  }
}
