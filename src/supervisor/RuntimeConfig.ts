/** What the composition root tells the runtime about where it lives. */
import * as Context from "effect/Context"
import type { FixedTemplates } from "./Templates.ts"
import { defaultSpawnBucket, type SpawnBucketSpec } from "./SpawnBucket.ts"

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
  readonly restarts: SpawnBucketSpec
  /** Those of clients come on top. */
  readonly templates: FixedTemplates
  /** The environment from which sessions inherit. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

export const defaultOptions = {
  durable: false,
  socket: null,
  restarts: defaultSpawnBucket,
  templates: { builtIn: {}, file: {} },
} as const

export class RuntimeConfig extends Context.Service<RuntimeConfig, RuntimeOptions>()(
  "creche/supervisor/RuntimeConfig",
) {}
