/**
 * What the log says of sessions and turns. Every line has the session's id and name, and the turn's id where it is about one;
 * none has a prompt, an answer, an argument or the value of a variable. A level that nobody hears costs a comparison.
 */
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import type { HostedSession } from "../actors/SessionHost.ts"
import { describeExit, type ExitReason } from "../domain/ExitReason.ts"
import type { IntensitySpec } from "../domain/SessionSpec.ts"
import type { SupervisorRecord } from "../domain/SupervisorStore.ts"
import type { Turn } from "../domain/Turn.ts"

type Level = "Debug" | "Info" | "Error"

export interface SessionLogOptions {
  readonly run: (effect: Effect.Effect<unknown>) => unknown
  /** The least that is told. */
  readonly minimum: LogLevel.LogLevel
}

export class SessionLog {
  readonly #run: (effect: Effect.Effect<unknown>) => unknown
  readonly #told: Readonly<Record<Level, boolean>>

  constructor({ run, minimum }: SessionLogOptions) {
    this.#run = run
    const isTold = (level: Level) => LogLevel.isGreaterThanOrEqualTo(level, minimum)
    this.#told = { Debug: isTold("Debug"), Info: isTold("Info"), Error: isTold("Error") }
  }

  started(session: HostedSession): void {
    this.#say("Info", session, "session started")
  }

  removed(session: HostedSession): void {
    this.#say("Info", session, "session removed")
  }

  spawning(session: HostedSession): void {
    if (this.#told.Debug) this.#say("Debug", session, "process starts", { incarnation: session.state.incarnation })
  }

  exited(session: HostedSession, exit: ExitReason): void {
    if (!this.#told.Info) return
    this.#say("Info", session, "process ended", { incarnation: session.state.incarnation, exit: briefly(exit) })
  }

  restarts(session: HostedSession, attempt: number, delayMs: number): void {
    if (!this.#told.Info) return
    this.#say("Info", session, "restart scheduled", { attempt, delayMs, ...lastExit(session) })
  }

  gaveUp(session: HostedSession, { maxRestarts, withinMs }: IntensitySpec): void {
    if (!this.#told.Error) return
    this.#say("Error", session, "gave up restarting", { maxRestarts, withinMs, ...lastExit(session) })
  }

  supervisorGaveUp({ path, intensity }: Pick<SupervisorRecord, "path" | "intensity">): void {
    if (!this.#told.Error) return
    this.#run(Effect.annotateLogs(Effect.logError("supervisor gave up"), { supervisor: path, ...intensity }))
  }

  turnEnded(session: HostedSession, turn: Turn): void {
    const level = turn.status === "completed" ? "Debug" : "Info"
    if (!this.#told[level]) return
    this.#say(level, session, "turn ended", {
      turn: turn.id,
      status: turn.status,
      ...(turn.startedAt === null || turn.endedAt === null ? {} : { durationMs: turn.endedAt - turn.startedAt }),
      ...(turn.error === null ? {} : { error: turn.error.tag }),
    })
  }

  #say(level: Level, { state: { id, spec } }: HostedSession, message: string, more: object = {}): void {
    if (!this.#told[level]) return
    this.#run(Effect.annotateLogs(Effect.logWithLevel(level)(message), { session: id, name: spec.name, ...more }))
  }
}

/** Without the detail of a failed spawn: it repeats the command. */
const briefly = (exit: ExitReason): string => (exit.kind === "spawnFailed" ? "spawn failed" : describeExit(exit))

const lastExit = ({ state: { exit } }: HostedSession): object => (exit === null ? {} : { exit: briefly(exit) })
