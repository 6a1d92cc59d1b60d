/** Samples as a registry of Effect's metrics, from which its exporters read. */
import type * as Metric from "effect/Metric"
import { metrics, type MetricSample, type MetricValue } from "../domain/Telemetry.ts"

const types = { counter: "Counter", gauge: "Gauge", histogram: "Histogram", summary: "Summary" } as const

const stateOf = (value: MetricValue): unknown => {
  switch (value.type) {
    case "counter":
      return { count: value.value, incremental: true }
    case "gauge":
      return { value: value.value }
    case "histogram":
    case "summary":
      return value
  }
}

/** In the order of the catalogue: what belongs together stands together, every time. */
const order = new Map(Object.keys(metrics).map((name, at) => [name, at]))

export const registryOf = (samples: ReadonlyArray<MetricSample>): Metric.MetricRegistry => {
  const registry: Metric.MetricRegistry = new Map()
  for (const sample of samples.toSorted((a, b) => order.get(a.name)! - order.get(b.name)!)) {
    const { name, labels, type } = sample
    registry.set(`${name} ${JSON.stringify(labels)}`, {
      id: name,
      type: types[type],
      description: metrics[name].help,
      attributes: labels,
      hooks: { get: () => stateOf(sample), update: () => {}, modify: () => {} },
    })
  }
  return registry
}
