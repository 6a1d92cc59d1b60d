/**
 * What one runtime measures while it works: counters and histograms that are only added to, and sources that are asked when
 * somebody wants to know. No fiber, no registry, no label is touched on the way of a turn. The names are in
 * `domain/Telemetry`; `RuntimeMetrics` and the transports bring the rest.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Histogram } from "../domain/Histogram.ts"
import {
  type LabelsOf,
  metrics,
  type MetricName,
  type MetricSample,
  type MetricsOf,
  type MetricValue,
} from "../domain/Telemetry.ts"
import { terminalTurnStatuses, type TerminalTurnStatus } from "../domain/Turn.ts"
import { EventLoopDelay } from "./EventLoopDelay.ts"
import type { TurnRecord } from "./TurnTrace.ts"

type Labelled<N extends MetricName> = keyof LabelsOf<N> extends never ? [] : [labels: LabelsOf<N>]

/** Takes one value each; names and labels are those of the catalogue. */
export interface Emit {
  counter<N extends MetricsOf<"counter">>(name: N, value: number, ...labels: Labelled<N>): void
  gauge<N extends MetricsOf<"gauge">>(name: N, value: number, ...labels: Labelled<N>): void
  histogram<N extends MetricsOf<"histogram">>(name: N, histogram: Histogram, ...labels: Labelled<N>): void
  summary<N extends MetricsOf<"summary">>(
    name: N,
    value: Extract<MetricValue, { readonly type: "summary" }>,
    ...labels: Labelled<N>
  ): void
}

export type Source = (emit: Emit) => void

/** So many label values are told apart by one tally; what comes after them is counted together. */
const mostKeys = 400
const others = "_other"

/** Counts by the values of labels. */
export class Tally {
  readonly #counts = new Map<string, number>()

  add(key: string, by = 1): void {
    const known = this.#counts.has(key) || this.#counts.size < mostKeys ? key : others
    this.#counts.set(known, (this.#counts.get(known) ?? 0) + by)
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#counts
  }
}

const turnHistograms = () =>
  Object.fromEntries(
    terminalTurnStatuses.map((status) => [status, new Histogram(metrics.creche_turn_duration_seconds.bounds)]),
  ) as Record<TerminalTurnStatus, Histogram>

export class Meters {
  readonly queueWait = new Histogram(metrics.creche_turn_queue_seconds.bounds)
  readonly turnDuration = turnHistograms()
  readonly spawnTime = new Histogram(metrics.creche_spawn_seconds.bounds)
  readonly spawnFailures = new Tally()
  /** Keys: reason, a blank, and the code or the signal. */
  readonly exits = new Tally()
  readonly commitTime = new Histogram(metrics.creche_store_commit_seconds.bounds)
  commits = 0
  readonly refusals = { unauthorized: 0, origin: 0 }
  readonly eventLoop = new EventLoopDelay()
  /** Told of every turn that ended, by whoever sends traces; nobody is asked for one otherwise. */
  onTurn: ((record: TurnRecord) => void) | undefined
  readonly #sources = new Set<Source>()

  /** A group of commits became durable together. */
  committed(commits: number, ms: number): void {
    this.commits += commits
    this.commitTime.observe(ms / 1000)
  }

  /** `source` is asked with all the others until it is taken away again. */
  add(source: Source): () => void {
    this.#sources.add(source)
    return () => void this.#sources.delete(source)
  }

  /** What all sources say now, several of one name and the same labels added up. */
  collect(): ReadonlyArray<MetricSample> {
    const samples = new Map<string, MetricSample>()
    const take = (name: MetricName, value: MetricValue, labels: Readonly<Record<string, string>> = {}) => {
      const key = `${name} ${JSON.stringify(labels)}`
      const before = samples.get(key)
      const sum = before !== undefined && "value" in before && "value" in value ? before.value + value.value : undefined
      samples.set(key, { name, labels, ...value, ...(sum === undefined ? {} : { value: sum }) } as MetricSample)
    }
    const emit: Emit = {
      counter: (name, value, ...[labels]) => take(name, { type: "counter", value }, labels),
      gauge: (name, value, ...[labels]) => take(name, { type: "gauge", value }, labels),
      histogram: (name, { value }, ...[labels]) => take(name, value, labels),
      summary: (name, value, ...[labels]) => take(name, value, labels),
    }
    for (const source of this.#sources) source(emit)
    return [...samples.values()]
  }
}

/** Of the runtime that is around; where there is none, of nobody. */
export const CurrentMeters = Context.Reference<Meters>("creche/supervisor/CurrentMeters", {
  defaultValue: () => new Meters(),
})

/** Has `source` asked with the others as long as the scope is open. */
export const measure = (source: Source): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(CurrentMeters, (meters) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => meters.add(source)),
        (remove) => Effect.sync(remove),
      ),
    ),
  )
