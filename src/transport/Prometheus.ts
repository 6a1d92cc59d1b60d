/**
 * Metrics as Prometheus reads them. The text is written by Effect's formatter, for which the samples stand in a registry
 * that holds them for this one time. Loaded by whoever asks for metrics first.
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import type { MetricSample } from "../domain/Telemetry.ts"
import { registryOf } from "./MetricRegistry.ts"

export const contentType = "text/plain; version=0.0.4; charset=utf-8"

export const format = (samples: ReadonlyArray<MetricSample>): string =>
  PrometheusMetrics.formatUnsafe(Context.make(Metric.MetricRegistry, registryOf(samples)))
