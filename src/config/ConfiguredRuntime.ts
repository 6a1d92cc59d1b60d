/** What a configuration makes of a runtime: its options, and the sessions that start with it. Called by `serve`. */
import * as Effect from "effect/Effect"
import type { Runtime } from "../supervisor/Runtime.ts"
import { defaultOptions, type RuntimeOptions } from "../supervisor/RuntimeConfig.ts"
import { builtInTemplates } from "./BuiltInTemplates.ts"
import type { Configuration } from "./Configuration.ts"

export const noConfiguration: Configuration = { runtime: {}, templates: {}, supervisors: [], sessions: [] }

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

const told = <A, E extends Error>(what: string, name: string, start: Effect.Effect<A, E>): Effect.Effect<void> =>
  start.pipe(
    Effect.asVoid,
    Effect.catch((error) =>
      Effect.logError(`${what} ${name} of the configuration did not start: ${error.message}`).pipe(
        Effect.annotateLogs({ name }),
      ),
    ),
  )

/**
 * Supervisors first. Sessions together, but those below a supervisor with an order one after the other; one that does not
 * start is logged and keeps no other from it. Interrupted, it leaves none half started.
 */
export const startConfigured = (
  runtime: Runtime["Service"],
  { supervisors, sessions, templates }: Configuration,
): Effect.Effect<void> => {
  const ordered = new Set(
    supervisors.flatMap(({ path, strategy = "one_for_one" }) => (strategy === "one_for_one" ? [] : [path])),
  )
  const groups = new Map<string, Array<(typeof sessions)[number]>>()
  for (const spec of sessions) {
    const above = spec.supervisor ?? (spec.template === undefined ? undefined : templates[spec.template]?.supervisor)
    const group = above !== undefined && ordered.has(above) ? above : `one ${spec.name}`
    groups.set(group, [...(groups.get(group) ?? []), spec])
  }
  const start = (spec: (typeof sessions)[number]) => told("session", spec.name, runtime.configure(spec))
  return Effect.forEach(
    supervisors,
    (request) => told("supervisor", request.path, runtime.startSupervisor(request, "change")),
    { discard: true },
  ).pipe(
    Effect.andThen(
      Effect.forEach(groups.values(), (group) => Effect.forEach(group, start, { discard: true }), {
        concurrency,
        discard: true,
      }),
    ),
  )
}
