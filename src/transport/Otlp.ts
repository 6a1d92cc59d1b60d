/**
 * Sends traces of turns and metrics to an OTLP collector, by Effect's exporters. What waits for the collector is bounded, one
 * request of a kind is under way at a time, and each has its time: a collector that is down or slow costs what it does not
 * get, and nothing else. Loaded only where a collector was named.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import * as OtlpMetrics from "effect/observability/OtlpMetrics"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as OtlpTracer from "effect/observability/OtlpTracer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type { OtlpTarget } from "../domain/Telemetry.ts"
import { CurrentMeters, measure } from "../supervisor/Meters.ts"
import { Runtime } from "../supervisor/Runtime.ts"
import { type SpanDescription, spansOf, type TurnRecord } from "../supervisor/TurnTrace.ts"
import { registryOf } from "./MetricRegistry.ts"

/** Turns that wait to be sent; of more the oldest go. */
export const mostWaiting = 2048
/** In one request. */
const batchTurns = 256
/** Effect's exporter gives a collector up for so long after a failure (ms). */
const restMs = 60_000
/** What the end of the runtime waits for the collector (ms). */
const farewellMs = 1_000
/** Effect's own timer is never to be the one that sends. */
const never = "20 days"

type Signal = "traces" | "metrics"

interface Way {
  readonly signal: Signal
  sent: number
  failed: number
  /** How the last request went. */
  isUp: boolean
  readonly client: HttpClient.HttpClient
}

const wayTo = (signal: Signal, timeoutMs: number, client: HttpClient.HttpClient): Way => {
  const way: Way = {
    signal,
    sent: 0,
    failed: 0,
    isUp: true,
    client: HttpClient.transformResponse(client, (response) =>
      response.pipe(
        // Not repeated: who is slow is not helped by more.
        Effect.timeoutOrElse({ duration: timeoutMs, orElse: () => Effect.die(new Error("the collector is slow")) }),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            const isTaken = Exit.isSuccess(exit) && exit.value.status >= 200 && exit.value.status < 300
            if (isTaken) way.sent++
            else way.failed++
            way.isUp = isTaken
          }),
        ),
      ),
    ),
  }
  return way
}

/** Tells once when a collector fails, and once when it is back. */
const tell = (way: Way, url: string): (() => Effect.Effect<void>) => {
  let wasUp = true
  return () => {
    if (way.isUp === wasUp) return Effect.void
    wasUp = way.isUp
    const line = way.isUp
      ? Effect.logInfo(`the collector takes ${way.signal} again`)
      : Effect.logWarning(`the collector does not take ${way.signal}; what it misses is lost`)
    return Effect.annotateLogs(line, { url })
  }
}

/** Sends until the scope closes, then what is left, for a second at most. */
export const start = (options: OtlpTarget): Effect.Effect<void, never, Runtime | Scope.Scope> =>
  Effect.gen(function* () {
    const { version } = yield* (yield* Runtime).info
    const { headers, protocol, serviceName } = options
    const shared = {
      headers,
      exportInterval: never,
      shutdownTimeout: 1,
      resource: { serviceName, serviceVersion: version, attributes: { "process.pid": process.pid } },
    } as const
    const http = yield* HttpClient.HttpClient
    const serialization = protocol === "json" ? OtlpSerialization.layerJson : OtlpSerialization.layerProtobuf
    const exporting = <A, R>(way: Way, make: Effect.Effect<A, never, R>) =>
      Effect.gen(function* () {
        const { flush } = yield* OtlpExporter.Flusher
        return { made: yield* make, flush }
      }).pipe(
        Effect.provide(Layer.mergeAll(Layer.fresh(OtlpExporter.layerFlusher), serialization)),
        Effect.provideService(HttpClient.HttpClient, way.client),
      )
    if (options.traces !== null) {
      const way = wayTo("traces", options.timeoutMs, http)
      const { made, flush } = yield* exporting(
        way,
        OtlpTracer.make({ ...shared, url: options.traces, maxBatchSize: Number.MAX_SAFE_INTEGER }),
      )
      yield* sendTraces(way, options.traces, options.tracesEveryMs, made, flush)
    }
    if (options.metrics !== null) {
      const way = wayTo("metrics", options.timeoutMs, http)
      const registry: Metric.MetricRegistry = new Map()
      const { flush } = yield* exporting(
        way,
        Effect.provideService(OtlpMetrics.make({ ...shared, url: options.metrics }), Metric.MetricRegistry, registry),
      )
      yield* sendMetrics(way, options.metrics, options.metricsEveryMs, registry, flush)
    }
  }).pipe(Effect.provide(FetchHttpClient.layer))

const counting = (way: Way): Effect.Effect<void, never, Scope.Scope> =>
  measure((emit) => {
    const { signal, sent, failed } = way
    emit.counter("creche_otlp_exports_total", sent, { signal, outcome: "sent" })
    emit.counter("creche_otlp_exports_total", failed, { signal, outcome: "failed" })
  })

const sendTraces = (
  way: Way,
  url: string,
  everyMs: number,
  tracer: Tracer.Tracer,
  flush: Effect.Effect<void>,
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const meters = yield* CurrentMeters
    const waiting: Array<TurnRecord> = []
    let dropped = 0
    let restUntil = 0
    meters.onTurn = (record) => {
      waiting.push(record)
      if (waiting.length <= mostWaiting) return
      waiting.shift()
      dropped++
    }
    yield* counting(way)
    yield* measure((emit) => emit.counter("creche_otlp_dropped_turns_total", dropped))
    const report = tell(way, url)
    const send = Effect.gen(function* () {
      while (waiting.length > 0 && performance.now() >= restUntil) {
        const batch = waiting.splice(0, batchTurns)
        for (const record of batch) trace(tracer, spansOf(record))
        yield* flush.pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (Exit.isSuccess(exit) && way.isUp) return
              dropped += batch.length
              restUntil = performance.now() + restMs
            }),
          ),
        )
        yield* report()
      }
    })
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        meters.onTurn = undefined
        return Effect.timeoutOption(send, farewellMs)
      }),
    )
    yield* Effect.sleep(everyMs).pipe(Effect.andThen(send), Effect.forever, Effect.forkScoped)
  })

const sendMetrics = (
  way: Way,
  url: string,
  everyMs: number,
  registry: Metric.MetricRegistry,
  flush: Effect.Effect<void>,
): Effect.Effect<void, never, Runtime | Scope.Scope> =>
  Effect.gen(function* () {
    const runtime = yield* Runtime
    yield* counting(way)
    const report = tell(way, url)
    const send = Effect.gen(function* () {
      const samples = yield* runtime.metrics
      registry.clear()
      for (const [key, metadata] of registryOf(samples)) registry.set(key, metadata)
      yield* flush
      yield* report()
    })
    yield* Effect.addFinalizer(() => Effect.timeoutOption(send, farewellMs))
    yield* Effect.sleep(everyMs).pipe(Effect.andThen(send), Effect.forever, Effect.forkScoped)
  })

const nanos = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n

const trace = (tracer: Tracer.Tracer, spans: ReadonlyArray<SpanDescription>): void => {
  const made = new Map<string, Tracer.Span>()
  for (const { name, parent, startedAt, attributes, events } of spans) {
    const above = parent === null ? undefined : made.get(parent)
    const span = tracer.span({
      name,
      parent: Option.fromUndefinedOr(above),
      annotations: Context.empty(),
      links: [],
      startTime: nanos(startedAt),
      kind: "internal",
      root: above === undefined,
      sampled: true,
    })
    for (const [key, value] of Object.entries(attributes)) span.attribute(key, value)
    for (const event of events) span.event(event.name, nanos(event.at), event.attributes)
    made.set(name, span)
  }
  for (const { name, endedAt, attributes } of spans) {
    const status = attributes["creche.turn.status"]
    made.get(name)!.end(nanos(endedAt), status === undefined || status === "completed" ? Exit.void : failed(status))
  }
}

/** Without a stack: it would be that of the exporter. */
const failed = (status: unknown): Exit.Exit<never, Error> => {
  const error = new Error(`the turn ended as ${String(status)}`)
  error.stack = ""
  return Exit.fail(error)
}
