/**
 * Puts a callback-style start into an Effect with a Scope: the scope's close is terminate-then-wait, an
 * interrupted spawn leaves nothing. Both spawners use it.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { SpawnFailed } from "../domain/Errors.ts"
import type { Command } from "./Command.ts"
import type { PipedSubprocess } from "./PipedSubprocess.ts"
import type { Subprocess, SubprocessHandlers } from "./Subprocess.ts"

/** `settle` is called once, never before this returns. */
export type Start = (
  command: Command,
  handlers: SubprocessHandlers,
  settle: (result: PipedSubprocess | SpawnFailed) => void,
) => PipedSubprocess

export const scopedSpawn =
  (start: Start) =>
  (command: Command, handlers: SubprocessHandlers): Effect.Effect<Subprocess, SpawnFailed, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) => {
      let started: PipedSubprocess | undefined
      const settled = Effect.callback<PipedSubprocess, SpawnFailed>((resume) => {
        started = start(command, handlers, (result) =>
          resume("_tag" in result ? Effect.fail(result) : Effect.succeed(result)),
        )
      })
      return restore(settled).pipe(
        Effect.onInterrupt(() => {
          if (started === undefined) return Effect.void
          started.discard()
          return started.terminate("brutal_kill")
        }),
        Effect.flatMap((subprocess) =>
          Effect.flatMap(Effect.scope, (scope) => {
            // After the fiber's present run: the caller holds the subprocess before its handlers are called.
            queueMicrotask(() => subprocess.open())
            return Effect.as(
              Scope.addFinalizer(
                scope,
                Effect.suspend(() => subprocess.terminate(command.shutdown)),
              ),
              subprocess,
            )
          }),
        ),
      )
    })
