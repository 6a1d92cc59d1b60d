/**
 * Keeps what this thread writes into the database and what another thread does apart, so that neither ever waits for the
 * other's lock with the event loop held up. What passes here is done within the call, or in the next gap.
 */
export class WriteGate {
  #closed = false
  #waiting: Array<() => void> = []

  get closed(): boolean {
    return this.#closed
  }

  /** Runs `body` now or, in the order of arrival, when the gate opens. */
  pass(body: () => void): void {
    if (this.#closed) this.#waiting.push(body)
    else body()
  }

  /** The other thread writes from now on. */
  close(): void {
    this.#closed = true
  }

  open(): void {
    this.#closed = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const body of waiting) body()
  }
}
