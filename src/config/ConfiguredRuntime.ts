/** What a configuration makes of a runtime: its options, and the sessions that start with it. Called by `serve`. */
import * as Effect from "effect/Effect"
import type { Runtime } from "../supervisor/Runtime.ts"
import { defaultOptions, type RuntimeOptions } from "../supervisor/RuntimeConfig.ts"
import { builtInTemplates } from "./BuiltInTemplates.ts"
import type { Configuration } from "./Configuration.ts"

export const noConfiguration: Configuration = { runtime: {}, templates: {}, sessions: [] }

/** Directories and sockets are settled by the caller: flags and variables come before the file. */
export const configuredOptions = ({
  runtime,
  templates,
}: Configuration): Pick<RuntimeOptions, "restarts" | "admission" | "retention" | "templates"> => {
  const { admission, restarts } = defaultOptions
  return {
    restarts: { ...restarts, ...runtime.restarts },
    admission: {
      maxLiveSessions: runtime.maxLiveSessions ?? admission.maxLiveSessions,
      maxLiveProcesses: runtime.maxLiveProcesses ?? admission.maxLiveProcesses,
      whenFull: runtime.whenFull ?? admission.whenFull,
    },
    retention: runtime.retention ?? defaultOptions.retention,
    templates: { builtIn: builtInTemplates, file: templates },
  }
}

/** So many start at once. */
const concurrency = 16

/** Together; one that does not start is logged and keeps no other from it. Interrupted, it leaves none half started. */
export const startConfigured = (runtime: Runtime["Service"], { sessions }: Configuration): Effect.Effect<void> =>
  Effect.forEach(
    sessions,
    (spec) =>
      runtime
        .configure(spec)
        .pipe(
          Effect.catch((error) =>
            Effect.logError(`session ${spec.name} of the configuration did not start: ${error.message}`).pipe(
              Effect.annotateLogs({ name: spec.name }),
            ),
          ),
        ),
    { concurrency, discard: true },
  )
