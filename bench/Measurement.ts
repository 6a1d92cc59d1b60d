/**
 * What a benchmark is, as data: two sides that do the same work, or one that is held against a limit. Each side runs in
 * a Node process of its own, so that its heap holds nothing but what it claims. Declared by the scenario files, run by
 * `Rounds`; starts nothing itself.
 */

/** One side, set up and waiting. */
export interface Side {
  /** Does the work `count` times; the time that one took, in the measurement's unit. */
  readonly round: (count: number) => Promise<number>
  /** Ends every process that the side started, and waits for it. */
  readonly close: () => Promise<void>
}

export interface Settings {
  /** Rounds that count, of each side. */
  readonly rounds: number
  /** Rounds before them that do not. */
  readonly warmups: number
  /** How often the work is done in a round; for a limit, how many sessions or turns. */
  readonly count: number
  /** Suspended sessions that are on record before anything is measured; default none. */
  readonly stored?: number
}

interface Common {
  /** As `--only` takes it: `spawn/fat`; `--only spawn` takes both. */
  readonly name: string
  readonly title: string
  readonly full: Settings
  readonly quick: Settings
  /** Undefined: what it measures is there; otherwise a sentence that says what is missing. */
  readonly missing?: () => string | undefined
}

/** creche against plain Node, or against itself in another setting. Met when the ratio of the medians is at most `target`. */
export interface Comparison extends Common {
  readonly kind: "comparison"
  readonly unit: "µs" | "ms"
  /** null: the figure is told, and held against nothing. */
  readonly target: number | null
  /** Live objects that both processes hold besides, in megabytes; default 0. */
  readonly ballastMb?: number
  /** Both sides on one CPU: where the scheduler puts the two ends of a pipe then makes no difference. */
  readonly pinned?: true
  readonly subject: (settings: Settings) => Promise<Side>
  readonly baseline: (settings: Settings) => Promise<Side>
}

/** One side alone. Met when the median of `value` over fresh processes is at most `target`. */
export interface Limit extends Common {
  readonly kind: "limit"
  readonly unit: "KB" | "B" | "ms"
  readonly target: number | null
  /** Keeps the young generation small, which grows by megabytes with the work and not with what is held; default false. */
  readonly smallYoungGeneration?: true
  /** `value` is held against the target; the others are told beside it, under names that end in their unit. */
  readonly measure: (settings: Settings) => Promise<{ readonly value: number; readonly [detail: string]: number }>
}

export type Measurement = Comparison | Limit
