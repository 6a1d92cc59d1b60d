/**
 * The composition root: configuration → layers → run. The only place that knows every part; reads as the supervision
 * tree: data directory, spawner, store, supervisor of sessions, transports.
 */
import { randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { version } from "./version.ts"
import { configuredOptions, noConfiguration, startConfigured } from "./config/ConfiguredRuntime.ts"
import { type LogLevel, type LogOptions, logging } from "./config/Logging.ts"
import type { ServeOptions } from "./config/ServeOptions.ts"
import { demoSpec } from "./demo/spec.ts"
import type { StoreKind } from "./domain/SessionStore.ts"
import { serviceManager } from "./process/ServiceNotifier.ts"
import { layerSpawner } from "./process/SpawnerLayer.ts"
import * as DataDirectoryLock from "./store/DataDirectoryLock.ts"
import * as Stores from "./store/Stores.ts"
import { temporaryDirectory } from "./process/TemporaryDirectory.ts"
import { CurrentMeters, Meters } from "./supervisor/Meters.ts"
import { Runtime } from "./supervisor/Runtime.ts"
import { defaultOptions, RuntimeConfig, type RuntimeOptions } from "./supervisor/RuntimeConfig.ts"
import * as RuntimeLive from "./supervisor/RuntimeLive.ts"
import * as EndSignals from "./transport/EndSignals.ts"
import * as ServiceNotices from "./transport/ServiceNotices.ts"
import * as Stdio from "./transport/Stdio.ts"
import * as UnixSocket from "./transport/UnixSocket.ts"

/**
 * A whole runtime in `dataDirectory`, which it holds alone. Closing the layer's scope ends every process; with the store
 * `sqlite` (the default) the next runtime there takes the sessions up again.
 */
export const runtimeLayer = ({
  store = "sqlite",
  ...options
}: Partial<Omit<RuntimeOptions, "durable">> & {
  readonly dataDirectory: string
  readonly store?: StoreKind
}) => {
  const config: RuntimeOptions = {
    ...defaultOptions,
    version,
    marker: `${process.pid}-${randomBytes(6).toString("hex")}`,
    environment: process.env,
    ...configuredOptions(noConfiguration),
    ...options,
    durable: store === "sqlite",
  }
  const meters = new Meters()
  return RuntimeLive.layer.pipe(
    Layer.provide(Stores.layer(store, config.dataDirectory, (commits, ms) => meters.committed(commits, ms))),
    Layer.provide(layerSpawner({ directory: config.dataDirectory })),
    Layer.provide(Layer.succeed(RuntimeConfig, config)),
    Layer.provideMerge(Layer.succeed(CurrentMeters, meters)),
    // The lock is taken first and given back last: nobody else sweeps or writes here meanwhile.
    Layer.provide(Layer.effectDiscard(DataDirectoryLock.hold(config.dataDirectory))),
  )
}

export { logging, type LogLevel, temporaryDirectory }

/** The runtime on its unix socket, until SIGTERM, SIGINT, SIGHUP or `runtime/shutdown`; then with nothing left. */
export const serve = ({
  dataDirectory,
  socket,
  demo,
  configuration = noConfiguration,
  store = configuration.runtime.store ?? "sqlite",
  http = [],
  log,
  otlp,
  drainMs = configuration.runtime.drainMs ?? 0,
  onListening,
}: ServeOptions) =>
  Effect.flatMap(Effect.scope, (whole) => {
    const manager = serviceManager()
    return Effect.gen(function* () {
      const runtime = yield* Runtime
      const { eventLoop } = yield* CurrentMeters
      yield* Effect.acquireRelease(
        Effect.sync(() => eventLoop.start()),
        () => Effect.sync(() => eventLoop.stop()),
      )
      // From here on a signal is a wish to end in order, also while sessions are starting and while all is closed again.
      yield* EndSignals.endAt(yield* Scope.provide(EndSignals.listen(3), whole), drainMs)
      const notices = yield* ServiceNotices.start(manager, drainMs)
      const ended = yield* Effect.forkScoped(runtime.ending, { startImmediately: true })
      yield* UnixSocket.serve({ path: socket })
      // Only who serves HTTP pays for loading it.
      const Http = http.length === 0 ? undefined : yield* Effect.promise(() => import("./transport/Http.ts"))
      const served = yield* Effect.forEach(http, (options) => Http!.serve(options))
      if (otlp !== undefined) yield* (yield* Effect.promise(() => import("./transport/Otlp.ts"))).start(otlp)
      if (demo) yield* runtime.configure(demoSpec({ name: "demo" }))
      yield* Effect.raceFirst(startConfigured(runtime, configuration), Fiber.await(ended))
      yield* runtime.opened
      const { containment } = yield* runtime.info
      yield* notices.ready(`listening on ${socket}; containment ${containment.level}`)
      const urls = served.map(({ url }) => url)
      const listening = { socket, http: urls, containment: containment.level, detail: containment.detail }
      if (onListening !== undefined) onListening(listening)
      else yield* Effect.annotateLogs(Effect.logInfo("listening"), { ...listening, http: urls.join(" ") })
      yield* runtime.closed
    }).pipe(
      Effect.scoped,
      Effect.provide(
        runtimeLayer({ dataDirectory, socket, store, opensLater: true, ...configuredOptions(configuration) }),
      ),
    )
  }).pipe(Effect.scoped, Effect.provide(logging({ ...configuration.runtime.log, ...log })))

/** The runtime of one client, on stdin and stdout; without a data directory it uses one of its own, and removes it. */
export const stdio = ({ dataDirectory, log }: { readonly dataDirectory: string | null; readonly log?: LogOptions }) =>
  Effect.gen(function* () {
    const directory = dataDirectory ?? (yield* temporaryDirectory)
    yield* Effect.gen(function* () {
      const runtime = yield* Runtime
      yield* Effect.raceFirst(Stdio.serve(), EndSignals.signalled)
      yield* runtime.shutdown()
    }).pipe(
      Effect.provide(runtimeLayer({ dataDirectory: directory, store: dataDirectory === null ? "memory" : "sqlite" })),
    )
  }).pipe(Effect.scoped, Effect.provide(logging(log)))
