/** What `creche serve` is told: by flags and variables, and for the rest by its configuration. */
import type { StoreKind } from "../domain/SessionStore.ts"
import type { OtlpTarget } from "../domain/Telemetry.ts"
import type { Configuration } from "./Configuration.ts"
import type { LogOptions } from "./Logging.ts"

/** Where HTTP is served, and to whom. */
export interface ServeHttp {
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string }
  /** Whose tokens count; `required`: the file was named, so it has to be there. null: no token is asked for. */
  readonly tokens: { readonly file: string; readonly required: boolean } | null
  /** Names under which it is served besides `localhost` and addresses. */
  readonly names: ReadonlyArray<string>
}

export interface ServeOptions {
  readonly dataDirectory: string
  readonly socket: string
  /** Default: `sqlite`, or what the configuration says. */
  readonly store?: StoreKind
  /** Starts a session named `demo`. */
  readonly demo: boolean
  /** What `--config` named: its templates, its sessions and what it tells the runtime. */
  readonly configuration?: Configuration
  /** Each a listener of its own; none: no HTTP. */
  readonly http?: ReadonlyArray<ServeHttp>
  /** Comes before what the configuration says. */
  readonly log?: LogOptions
  /** Where traces and metrics are sent; left out: nowhere. */
  readonly otlp?: OtlpTarget
  /** How long a signal lets running turns go on (ms); default: what the configuration says, else 0. */
  readonly drainMs?: number
  /** Called once clients can connect; left out: a line in the log says so. */
  readonly onListening?: (info: {
    readonly socket: string
    /** The addresses of the HTTP server; empty where there is none. */
    readonly http: ReadonlyArray<string>
    readonly containment: string
    readonly detail: string
  }) => void
}
