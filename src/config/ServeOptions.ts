/** What `creche serve` is told: by flags and variables, and for the rest by its configuration. */
import type { StoreKind } from "../domain/SessionStore.ts"
import type { Configuration } from "./Configuration.ts"

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
