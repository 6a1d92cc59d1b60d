/**
 * Chance that can be repeated. `lot` is drawn by name: the same seed and the same name give the same number, whatever else
 * was drawn before, so that a schedule from which a part was taken keeps the rest. `Dice` gives one number after another, for
 * what is made from a seed in one go.
 */

const mixed = (hash: number, value: number): number => {
  let h = Math.imul(hash ^ value, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35)
  return (h ^ (h >>> 13)) >>> 0
}

/** What lots are drawn for: the first part of their names. */
export const kinds = {
  tie: 1,
  late: 2,
  fraction: 3,
  commit: 4,
  read: 5,
  spawn: 6,
  output: 7,
  ending: 8,
  interleave: 9,
  death: 10,
  write: 11,
} as const
export type Kind = keyof typeof kinds

/** In [0, 1). */
export const lot = (seed: number, kind: Kind, a: number, b = 0, c = 0): number =>
  mixed(mixed(mixed(mixed(mixed(0x9e3779b9, seed), kinds[kind]), a), b), c) / 2 ** 32

/** A whole number in [from, to], of a number in [0, 1). */
export const within = (fraction: number, from: number, to: number): number =>
  from + Math.floor(fraction * (to - from + 1))

export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = mixed(0x2545f491, seed)
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  chance(of: number): boolean {
    return this.next() < of
  }

  int(from: number, to: number): number {
    return within(this.next(), from, to)
  }

  pick<A>(from: ReadonlyArray<A>): A {
    return from[Math.floor(this.next() * from.length)]!
  }

  /** By weight. */
  weigh<A extends string>(weights: Readonly<Record<A, number>>): A {
    let sum = 0
    for (const name in weights) sum += weights[name]
    let left = this.next() * sum
    let last: A | undefined
    for (const name in weights) {
      last = name
      left -= weights[name]
      if (left < 0) break
    }
    return last!
  }
}
