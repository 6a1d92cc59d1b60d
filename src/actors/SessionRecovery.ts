/**
 * What becomes of a session when its runtime comes back: its process is gone with the runtime, the turn that ran is
 * `lost`, those that waited still wait. Pure; the rest of its life is the ordinary transition's.
 */
import { SessionNotRunning } from "../domain/Errors.ts"
import type { Session } from "../domain/Session.ts"
import type { Turn } from "../domain/Turn.ts"
import type { Protocol } from "../protocols/Protocol.ts"
import * as Mailbox from "./Mailbox.ts"
import type { Step } from "./SessionDraft.ts"
import { beginStart } from "./SessionPhases.ts"
import { initialState, type SessionState } from "./SessionState.ts"

const detail = "the runtime ended"

/** The state behind a stored record, as it was when the runtime ended; `recover` is its next step. */
export const storedState = (session: Session, protocol: Protocol, now: number, skewMs: number): SessionState => ({
  ...initialState(session.id, session.spec, protocol, now, skewMs),
  createdAt: session.createdAt,
  // What has passed while nobody was there has passed as well.
  expiresAt: session.expiresAt === null ? null : session.expiresAt - skewMs,
  lastActiveAt: session.lastActiveAt,
  seq: session.seq,
  incarnation: session.incarnation,
  restarts: session.restarts,
  completed: session.turns.completed,
  failed: session.turns.failed,
  exit: session.exit,
  deaths: session.deaths,
  usage: session.usage,
  conversation: session.agentSessionId,
  phase: { _tag: "Deciding", status: session.status },
})

/** Settles what the runtime's end left open. `openTurns`: queued and running ones, in the order of their acceptance. */
export const recover = (step: Step, openTurns: ReadonlyArray<Turn>): void => {
  const { draft } = step
  if (draft.phase._tag !== "Deciding") return
  const { status } = draft.phase
  if (status === "ready" || status === "busy" || status === "stopping") {
    draft.exit = { kind: "killedByRuntime", detail, at: step.at }
    step.append({ type: "process/exited", exit: draft.exit })
  }
  const over = status === "stopping" || status === "stopped" || status === "failed"
  for (const turn of openTurns.filter((open) => open.status === "running")) endOpen(step, turn, "lost")
  for (const turn of openTurns.filter((open) => open.status === "queued").toReversed()) {
    if (over) endOpen(step, turn, "cancelled")
    else draft.queue = Mailbox.putBack(draft.queue, { turn, attempts: 0, dueAt: null })
  }
  if (status === "failed") {
    const error = new SessionNotRunning({ session: draft.spec.name, status, exit: draft.exit })
    return step.enter({ _tag: "Failed", error })
  }
  if (over) return step.enter({ _tag: "Stopped" })
  step.enter({ _tag: "Suspended" }, detail)
  // A turn that waits was accepted, and so it is answered; a permanent child is there whether asked or not.
  const wanted = !Mailbox.isEmpty(draft.queue) || (draft.spec.restart === "permanent" && status !== "suspended")
  if (wanted) beginStart(step, "supervision", [])
}

const endOpen = (step: Step, turn: Turn, status: "lost" | "cancelled"): void => {
  const error = { tag: status === "lost" ? "RuntimeEnded" : "SessionNotRunning", message: detail }
  step.end({ turn, attempts: 1, dueAt: null }, { status, text: turn.text, stopReason: status, error })
}
