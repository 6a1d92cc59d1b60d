/** What is run for a session's next incarnation: its spec, its own directories, and the conversation that it goes on with. */
import * as Effect from "effect/Effect"
import { resumptionOf, type SessionState } from "../actors/SessionState.ts"
import { SpawnFailed } from "../domain/Errors.ts"
import type { Command } from "../process/Command.ts"
import { childEnvironment } from "../process/Environment.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import * as SessionDirectories from "./SessionDirectories.ts"

/** Makes the directories where they are missing. */
export const commandOf = (state: SessionState, config: RuntimeOptions): Effect.Effect<Command, SpawnFailed> =>
  Effect.suspend(() => {
    const { id, spec, protocol } = state
    const from = resumptionOf(state)
    const resumeArgs = from === null ? undefined : protocol.resumeArgs?.(from)
    let directories: SessionDirectories.OwnDirectories
    try {
      directories = SessionDirectories.make(config.dataDirectory, id, spec.cwd)
    } catch (error) {
      const { code = "EIO", message } = error as NodeJS.ErrnoException
      const detail = `the session's own directory cannot be made: ${message}`
      return Effect.fail(new SpawnFailed({ command: spec.command, field: "cwd", errno: code, detail }))
    }
    return Effect.succeed({
      session: id,
      command: spec.command,
      args: resumeArgs === undefined ? spec.args : [...spec.args, ...resumeArgs],
      cwd: directories.cwd,
      env: childEnvironment(spec.inheritEnv, spec.env, config.environment, {
        CRECHE_RUNTIME: config.marker,
        CRECHE_SESSION: id,
        TMPDIR: directories.temporary,
      }),
      shutdown: spec.shutdown,
      containment: spec.containment,
    })
  })
