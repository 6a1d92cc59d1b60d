/**
 * Virtual time: what is to happen, by its moment. Moments that are the same are put in order by lot or by arrival, as the
 * plan says. Time passes by nothing else than taking the next entry. What belongs to a runtime that died does not happen.
 */

export interface Owner {
  readonly alive: boolean
}

export interface Entry {
  readonly at: number
  readonly rank: number
  readonly order: number
  readonly act: () => void
  readonly owner: Owner | undefined
  cancelled: boolean
}

const before = (a: Entry, b: Entry): boolean =>
  a.at !== b.at ? a.at < b.at : a.rank !== b.rank ? a.rank < b.rank : a.order < b.order

export class Agenda {
  /** Milliseconds since the world began. */
  now = 0
  readonly #heap: Array<Entry> = []
  readonly #rank: (order: number) => number
  #order = 0

  /** `rank` puts entries of one moment in order; equal ranks: by arrival. */
  constructor(rank: (order: number) => number) {
    this.#rank = rank
  }

  in(ms: number, act: () => void, owner?: Owner): Entry {
    const order = ++this.#order
    const entry: Entry = {
      at: this.now + Math.max(0, ms),
      rank: this.#rank(order),
      order,
      act,
      owner,
      cancelled: false,
    }
    this.#push(entry)
    return entry
  }

  /** The next entry that still counts, not taken. */
  peek(): Entry | undefined {
    while (true) {
      const first = this.#heap[0]
      if (first === undefined || !(first.cancelled || first.owner?.alive === false)) return first
      this.#pop()
    }
  }

  /** Takes the next entry and goes to its moment. */
  take(): Entry | undefined {
    const entry = this.peek()
    if (entry === undefined) return undefined
    this.#pop()
    this.now = entry.at
    return entry
  }

  /** Entries that still count. */
  *pending(): Generator<Entry> {
    for (const entry of this.#heap) if (!entry.cancelled && entry.owner?.alive !== false) yield entry
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(entry)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(entry, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const { length } = heap
    if (length === 0) return
    let at = 0
    while (true) {
      let child = 2 * at + 1
      if (child >= length) break
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}
