/** What the composition root tells the runtime about where it lives. */
import * as Context from "effect/Context"
import type { RetentionSpec } from "../domain/SessionSpec.ts"
import type { TokenRate } from "../domain/TokenBucket.ts"
import type { FixedTemplates } from "./Templates.ts"

/** How many sessions may be at work at once. What is null is unlimited. */
export interface AdmissionSpec {
  /** Sessions that have a process, or are about to: beyond it the least recently used idle one is suspended to make room. */
  readonly maxLiveSessions: number | null
  /** Operating system processes of all sessions together, descendants counted. */
  readonly maxLiveProcesses: number | null
  /** What becomes of a start where none is idle: it waits its turn, or fails with `LimitReached`. */
  readonly whenFull: "wait" | "refuse"
}

export interface RuntimeOptions {
  readonly version: string
  /** Tells this runtime's children from another's: CRECHE_RUNTIME in their environment. */
  readonly marker: string
  /** Absolute; exists. Sessions without a `cwd` get a directory below it. */
  readonly dataDirectory: string
  /** Whether the store outlives the runtime. */
  readonly durable: boolean
  /** Where clients reach it; null for a runtime that only its embedding program talks to. */
  readonly socket: string | null
  /** It is not ready before it is told so by `Runtime.opened`: sessions are to be started first. */
  readonly opensLater: boolean
  /**
   * Restarts of all sessions together: 500 crashes at the same moment become a brisk queue of spawns and not 500 spawns.
   * Starts that clients ask for do not pass through here.
   */
  readonly restarts: TokenRate
  readonly admission: AdmissionSpec
  /** What of turns and transcripts is forgotten, besides what each session's own `retention` says; null: nothing. */
  readonly retention: RetentionSpec | null
  /** Those of clients come on top. */
  readonly templates: FixedTemplates
  /** The environment from which sessions inherit. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

export const defaultOptions = {
  durable: false,
  socket: null,
  opensLater: false,
  restarts: { burst: 50, perSecond: 100 },
  admission: { maxLiveSessions: null, maxLiveProcesses: null, whenFull: "wait" },
  retention: null,
  templates: { builtIn: {}, file: {} },
} as const

export class RuntimeConfig extends Context.Service<RuntimeConfig, RuntimeOptions>()(
  "creche/supervisor/RuntimeConfig",
) {}
