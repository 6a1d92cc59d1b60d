/**
 * What the actors of sessions need of the runtime that they live in: one object for all of them. The supervisor of
 * sessions is it; its policies are asked here, and what happened is told.
 */
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { LimitReached, SpawnFailed, StoreUnavailable } from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { SessionStore } from "../domain/SessionStore.ts"
import type { Turn } from "../domain/Turn.ts"
import type { Command } from "../process/Command.ts"
import type { Spawner } from "../process/Subprocess.ts"
import type { HostAnswer, HostCall } from "../protocols/HostCall.ts"
import type { Decision, ExitReport } from "./SessionEvent.ts"
import type { SessionState } from "./SessionState.ts"

/** The session that asks or tells: its actor. */
export interface HostedSession {
  readonly state: SessionState
}

/** What is run for an incarnation, and the UUID that its conversation may get if it begins one. */
export interface Launch {
  readonly command: Command
  readonly freshId: string
}

export interface SessionHost {
  readonly store: SessionStore["Service"]
  readonly spawner: Spawner["Service"]
  /** The runtime is shutting down: nothing is started any more. */
  readonly draining: boolean
  /** It is ending, and a store that does not answer must not keep it. */
  readonly hurried: boolean
  /** Starts a fiber, at once and on the caller's stack. */
  run(effect: Effect.Effect<unknown>): Fiber.Fiber<unknown>
  /** A clock that no correction moves (ms), for everything that has to pass; `wall` is for the record. */
  now(): number
  wall(): number
  /** What to run for the next incarnation, once the session may: it waits for a place among the live ones, or gets none. */
  launch(session: HostedSession): Effect.Effect<Launch, SpawnFailed | LimitReached>
  /** Does what a process of a session was allowed to ask for. */
  perform(call: HostCall): Effect.Effect<HostAnswer>
  /** It has no process and none is on its way: its place is another's. Told also of what had none. */
  vacated(session: HostedSession): void
  /** It has a process and nothing to do. */
  rested(session: HostedSession): void
  /** Consulted when a process ended that nobody had asked to end. */
  supervise(session: HostedSession, report: ExitReport): Decision
  /** The restart history, any JSON: kept with the session's record whenever it has changed. */
  history(session: HostedSession): unknown
  /** A client started it: past restarts count no more. */
  forgive(session: HostedSession): void
  /** The agent has told which conversation it is in. */
  conversed(session: HostedSession): void
  /** It was let in, and its spawn begins. */
  spawning(session: HostedSession): void
  /** Nothing is left of its process. */
  exited(session: HostedSession, exit: ExitReason): void
  /** The store does not answer it; null: it does again. */
  storeAnswers(session: HostedSession, trouble: StoreUnavailable | null): void
  turnEnded(session: HostedSession, turn: Turn): void
  /** Something new is stored. */
  committed(session: HostedSession): void
  gone(session: HostedSession, cause: "startFailed" | "removed"): void
}
