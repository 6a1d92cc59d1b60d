/** What is run for a session's next incarnation: its spec, its own directories, and the conversation that it goes on with. */
import * as Effect from "effect/Effect"
import type { Launch } from "../actors/SessionHost.ts"
import { resumptionOf, type SessionState } from "../actors/SessionState.ts"
import { SpawnFailed } from "../domain/Errors.ts"
import { childEnvironment } from "../process/Environment.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import type { Draws } from "./Chance.ts"
import type { Directories, OwnDirectories } from "./SessionDirectories.ts"

export interface LaunchMeans {
  readonly config: RuntimeOptions
  readonly directories: Pick<Directories, "make">
  readonly chance: Pick<Draws, "uuid">
}

/** Makes the directories where they are missing. */
export const launchOf = (
  state: SessionState,
  { config, directories, chance }: LaunchMeans,
): Effect.Effect<Launch, SpawnFailed> =>
  Effect.suspend(() => {
    const { id, spec, protocol } = state
    const from = resumptionOf(state)
    const freshId = chance.uuid()
    const args = protocol.args?.({ from, freshId })
    let own: OwnDirectories
    try {
      own = directories.make(config.dataDirectory, id, spec.cwd)
    } catch (error) {
      const { code = "EIO", message } = error as NodeJS.ErrnoException
      const detail = `the session's own directory cannot be made: ${message}`
      return Effect.fail(new SpawnFailed({ command: spec.command, field: "cwd", errno: code, detail }))
    }
    const command = {
      session: id,
      command: spec.command,
      args: args === undefined ? spec.args : [...spec.args, ...args],
      cwd: own.cwd,
      env: childEnvironment(spec.inheritEnv, spec.env, config.environment, {
        CRECHE_RUNTIME: config.marker,
        CRECHE_SESSION: id,
        TMPDIR: own.temporary,
      }),
      shutdown: spec.shutdown,
      containment: spec.containment,
      limits: spec.limits,
    }
    return Effect.succeed({ command, freshId })
  })
