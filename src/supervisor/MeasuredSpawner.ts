/** A spawner whose starts are measured and whose failures are counted; what runs is not looked at. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { SpawnFailed } from "../domain/Errors.ts"
import type { Spawner } from "../process/Subprocess.ts"
import type { Meters } from "./Meters.ts"

export const measured = (spawner: Spawner["Service"], meters: Meters): Spawner["Service"] => ({
  ...spawner,
  spawn: (command, handlers) =>
    Effect.suspend(() => {
      const begun = performance.now()
      return Effect.onExit(spawner.spawn(command, handlers), (exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) return meters.spawnTime.observe((performance.now() - begun) / 1000)
          if (Cause.hasInterruptsOnly(exit.cause)) return
          const failure = Cause.squash(exit.cause)
          meters.spawnFailures.add(failure instanceof SpawnFailed ? failure.errno : "unknown")
        }),
      )
    }),
})
