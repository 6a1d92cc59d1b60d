/**
 * The port to one OS process: who implements it (the spawn server, or Node's own spawn) is decided once,
 * at start. A subprocess lives in a Scope: closing the scope is terminate-then-wait, and returns only
 * when the last descendant that the containment level reaches is gone and reaped.
 *
 * Bytes are handed over by callback and synchronously, not as a Stream: the session actor takes them in
 * batches, and a per-chunk fiber hop would be the dearest part of a round trip.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SpawnFailed } from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { Containment, ContainmentReport } from "../domain/Session.ts"
import type { Signal, ShutdownSpec } from "../domain/SessionSpec.ts"
import type { Command } from "./Command.ts"

/** Called on the runtime's thread, never before `spawn` has returned, and never after `onClosed`. */
export interface SubprocessHandlers {
  readonly onStdout: (chunk: Buffer) => void
  readonly onStderr: (chunk: Buffer) => void
  /** Stdout is at its end; the process may live on. Comes before `onClosed`, at the latest with it. */
  readonly onStdoutEnd?: () => void
  /** Stdin has room again after a `write` that returned false. */
  readonly onDrain: () => void
  /** The command's own process ended. Output may still follow, from the pipe or from descendants. */
  readonly onExit: (exit: ExitReason) => void
  /**
   * The last event: the process and every descendant in reach are gone and reaped, both output streams
   * are read to the end. `survivors` are pids that could not be killed (state D).
   */
  readonly onClosed: (survivors: ReadonlyArray<number>) => void
}

export interface Subprocess {
  readonly pid: number
  readonly containment: Containment
  /**
   * Writes to stdin. False: the pipe is full and the bytes wait in memory; hold back until `onDrain`.
   * Writing after the process closed its stdin is no error; the bytes are dropped.
   */
  readonly write: (data: string | Uint8Array) => boolean
  /** Closes stdin once what was written is out. */
  readonly endStdin: () => void
  /** Stops and resumes reading stdout and stderr, so that a flooding child blocks on its pipes. */
  readonly pauseOutput: () => void
  readonly resumeOutput: () => void
  /** Sends a signal to the process group (`leader`: to the command's own process alone). */
  readonly signal: (signal: Signal, target?: "group" | "leader") => void
  /**
   * Terminate-then-wait: ask as `shutdown` says, wait the grace, SIGKILL, wait for `onClosed`.
   * Resolves with what could not be killed. Calling again joins the first call; a later "brutal_kill" cuts its grace short.
   */
  readonly terminate: (shutdown: ShutdownSpec) => Effect.Effect<ReadonlyArray<number>>
}

export class Spawner extends Context.Service<
  Spawner,
  {
    /** The level that `auto` gives here, and all others. */
    readonly containment: ContainmentReport
    /**
     * Starts a process. The scope's close is `terminate(command.shutdown)`. Interrupting a spawn under way
     * leaves nothing behind.
     */
    readonly spawn: (
      command: Command,
      handlers: SubprocessHandlers,
    ) => Effect.Effect<Subprocess, SpawnFailed, Scope.Scope>
    /** Descendants now held, by pid of their leader: for health and for leak checks. */
    readonly live: Effect.Effect<ReadonlyArray<number>>
  }
>()("creche/process/Spawner") {}
