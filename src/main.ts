/**
 * The composition root: configuration → layers → run. The only place that knows every part; reads as the supervision
 * tree: data directory, spawner, store, supervisor of sessions, transports.
 */
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { version } from "./version.ts"
import type { Configuration } from "./config/Configuration.ts"
import { configuredOptions, noConfiguration, startConfigured } from "./config/ConfiguredRuntime.ts"
import { demoSpec } from "./demo/spec.ts"
import * as TemplateStore from "./domain/TemplateStore.ts"
import { layerSpawner } from "./process/SpawnerLayer.ts"
import * as DataDirectoryLock from "./store/DataDirectoryLock.ts"
import * as MemorySessionStore from "./store/MemorySessionStore.ts"
import * as SqlStores from "./store/SqlStores.ts"
import { temporaryDirectory } from "./store/TemporaryDirectory.ts"
import { Runtime } from "./supervisor/Runtime.ts"
import { defaultOptions, RuntimeConfig, type RuntimeOptions } from "./supervisor/RuntimeConfig.ts"
import * as RuntimeLive from "./supervisor/RuntimeLive.ts"
import { signalled } from "./transport/EndSignals.ts"
import * as Stdio from "./transport/Stdio.ts"
import * as UnixSocket from "./transport/UnixSocket.ts"

/** `sqlite`: in the data directory, so that what was accepted outlives the runtime; `memory`: gone with it. */
export type StoreKind = "sqlite" | "memory"

const stores = (kind: StoreKind, dataDirectory: string) =>
  kind === "sqlite"
    ? SqlStores.layer({ file: join(dataDirectory, databaseName) })
    : Layer.mergeAll(MemorySessionStore.layer, TemplateStore.layerMemory)

/**
 * A whole runtime in `dataDirectory`, which it holds alone. Closing the layer's scope ends every process; with the store
 * `sqlite` (the default) the next runtime there takes the sessions up again.
 */
export const runtimeLayer = ({
  store = "sqlite",
  ...options
}: Partial<Omit<RuntimeOptions, "durable">> & { readonly dataDirectory: string; readonly store?: StoreKind }) => {
  const config: RuntimeOptions = {
    ...defaultOptions,
    version,
    marker: `${process.pid}-${randomBytes(6).toString("hex")}`,
    environment: process.env,
    ...configuredOptions(noConfiguration),
    ...options,
    durable: store === "sqlite",
  }
  return RuntimeLive.layer.pipe(
    Layer.provide(stores(store, config.dataDirectory)),
    Layer.provide(layerSpawner({ directory: config.dataDirectory })),
    Layer.provide(Layer.succeed(RuntimeConfig, config)),
    // The lock is taken first and given back last: nobody else sweeps or writes here meanwhile.
    Layer.provide(Layer.effectDiscard(DataDirectoryLock.hold(config.dataDirectory))),
  )
}

export { temporaryDirectory }

/** In the data directory. */
const databaseName = "creche.db"

/** Logs go to stderr: stdout carries results, or protocol. */
const logging = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])

export interface ServeOptions {
  readonly dataDirectory: string
  readonly socket: string
  /** Default: `sqlite`, or what the configuration says. */
  readonly store?: StoreKind
  /** Starts a session named `demo`. */
  readonly demo: boolean
  /** What `--config` named: its templates, its sessions and what it tells the runtime. */
  readonly configuration?: Configuration
  /** Called once clients can connect. */
  readonly onListening?: (info: {
    readonly socket: string
    readonly containment: string
    readonly detail: string
  }) => void
}

/** The runtime on its unix socket, until SIGTERM, SIGINT, SIGHUP or `runtime/shutdown`; then with nothing left. */
export const serve = ({
  dataDirectory,
  socket,
  demo,
  configuration = noConfiguration,
  store = configuration.runtime.store ?? "sqlite",
  onListening,
}: ServeOptions) =>
  Effect.gen(function* () {
    const runtime = yield* Runtime
    // From here on a signal is a wish to end in order, also while the demo session is starting.
    const ended = yield* Effect.forkScoped(Effect.raceFirst(signalled, runtime.closed), { startImmediately: true })
    yield* UnixSocket.serve({ path: socket })
    if (demo) yield* runtime.configure(demoSpec({ name: "demo" }))
    yield* Effect.raceFirst(startConfigured(runtime, configuration), Fiber.await(ended))
    const { containment } = yield* runtime.info
    onListening?.({ socket, containment: containment.level, detail: containment.detail })
    yield* Fiber.await(ended)
    yield* runtime.shutdown()
  }).pipe(
    Effect.scoped,
    Effect.provide(runtimeLayer({ dataDirectory, socket, store, ...configuredOptions(configuration) })),
    Effect.provide(logging),
  )

/** The runtime of one client, on stdin and stdout; without a data directory it uses one of its own, and removes it. */
export const stdio = ({ dataDirectory }: { readonly dataDirectory: string | null }) =>
  Effect.gen(function* () {
    const directory = dataDirectory ?? (yield* temporaryDirectory)
    yield* Effect.gen(function* () {
      const runtime = yield* Runtime
      yield* Effect.raceFirst(Stdio.serve(), signalled)
      yield* runtime.shutdown()
    }).pipe(
      Effect.provide(runtimeLayer({ dataDirectory: directory, store: dataDirectory === null ? "memory" : "sqlite" })),
    )
  }).pipe(Effect.scoped, Effect.provide(logging))
