/**
 * A turn that was asked: its entries for a loop, and the turn itself once it ended. A loop that takes its time holds the
 * runtime back, not memory; leaving the loop leaves the turn as it is, only a signal gives it up. Made by `SessionHandle`.
 */
import type { Params } from "../transport/Contract.ts"
import type { WireEntry, WireTurn } from "../transport/Wire.ts"
import { EventQueue } from "./EventQueue.ts"
import type { Link } from "./Link.ts"

/** So many entries wait for their loop before no more are taken in. */
const heldEntries = 256

export class AskedTurn implements AsyncIterable<WireEntry> {
  readonly #entries: EventQueue<WireEntry>
  readonly #asked: Promise<WireTurn>
  /** Somebody waits for the end, so entries must not be what it waits for. */
  #flows = false
  #release: (() => void) | undefined = undefined

  constructor(link: Link, params: Params<"session/ask">, signal: AbortSignal | undefined) {
    this.#entries = new EventQueue<WireEntry>(() => this.#goOn())
    const onEntry = (entry: WireEntry): Promise<void> | undefined => {
      this.#entries.push(entry)
      if (this.#flows || this.#entries.length < heldEntries) return undefined
      return new Promise((resolve) => (this.#release = resolve))
    }
    this.#asked = link.ask(params, signal === undefined ? { onEntry } : { onEntry, signal })
    const over = () => this.#entries.end()
    this.#asked.then(over, over)
  }

  /** The turn once it ended; one that did not complete is a result too. Its entries are kept for a loop that is still to come. */
  get turn(): Promise<WireTurn> {
    this.#flow()
    return this.#asked
  }

  /** Iterate once. The loop ends after the last entry, and throws what the ask failed with. */
  async *[Symbol.asyncIterator](): AsyncGenerator<WireEntry, WireTurn, undefined> {
    yield* this.#entries.iterate(async () => {
      this.#entries.end()
      this.#flow()
    })
    return await this.#asked
  }

  #flow(): void {
    this.#flows = true
    this.#goOn()
  }

  #goOn(): void {
    this.#release?.()
    this.#release = undefined
  }
}
