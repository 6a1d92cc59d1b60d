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
import type { SessionEvent } from "./SessionEvent.ts"
import { answer, beginStart } from "./SessionPhases.ts"
import { deathHistory, initialState, type Phase, type SessionState } from "./SessionState.ts"

const detail = "the runtime ended"

const phaseOf = (session: Session): Phase => {
  switch (session.status) {
    case "suspended":
      return { _tag: "Suspended", by: session.suspendedBy ?? "client" }
    case "stopped":
      return { _tag: "Stopped" }
    case "failed": {
      const { name, status, exit } = session
      return { _tag: "Failed", error: new SessionNotRunning({ session: name, status, exit }) }
    }
    default:
      return { _tag: "Deciding", status: session.status }
  }
}

/** The state behind a stored record, as it was when the runtime ended; where that left something open, `recover` comes next. */
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
  survivors: session.survivors,
  usage: session.usage,
  conversation: session.agentSessionId,
  forkedFrom: session.forkedFrom,
  phase: phaseOf(session),
})

/** Whether the runtime's end left something to settle, or the session is to be started again. */
export const isOpen = ({ phase, spec }: SessionState, openTurns: ReadonlyArray<Turn>): boolean =>
  openTurns.length > 0 ||
  phase._tag === "Deciding" ||
  (phase._tag === "Suspended" && phase.by === "runtime" && spec.restart === "permanent")

export const recover = (step: Step, event: Extract<SessionEvent, { readonly type: "recover" }>): void => {
  settle(step, event)
  answer(step, event.reply)
}

const settle = (step: Step, event: Extract<SessionEvent, { readonly type: "recover" }>): void => {
  const { draft } = step
  const { record, openTurns, delayMs, parked } = event
  const wasUp = draft.phase._tag === "Deciding"
  const hadProcess = wasUp && record.containment !== null
  for (const { request, turn } of record.pendingRequests) {
    step.append({ type: "permission/resolved", request, outcome: "cancelled", by: "runtime" }, turn ?? undefined)
  }
  if (hadProcess) recordDeath(step)
  const { suspendedBy } = record
  const over =
    draft.phase._tag === "Stopped" ||
    draft.phase._tag === "Failed" ||
    (record.status === "stopping" && suspendedBy === null) ||
    // Never restarted, whatever ended it.
    (hadProcess && suspendedBy === null && draft.spec.restart === "temporary")
  for (const turn of openTurns.filter((open) => open.status === "running")) endOpen(step, turn, "lost")
  for (const turn of openTurns.filter((open) => open.status === "queued").toReversed()) {
    if (over) endOpen(step, turn, "cancelled")
    else putBack(step, turn)
  }
  if (over) return wasUp ? step.enter({ _tag: "Stopped" }, detail) : undefined
  // Before its end it may have been on its way to sleep.
  const by = suspendedBy ?? "runtime"
  if (wasUp) step.enter({ _tag: "Suspended", by }, detail)
  // A turn that waits was accepted, and so it is answered; a permanent child is there whether asked or not.
  const wanted = !Mailbox.isEmpty(draft.queue) || (by === "runtime" && draft.spec.restart === "permanent")
  if (!wanted) return
  if (parked) step.enter({ _tag: "Parked", cause: "supervision", replies: [] })
  else if (delayMs <= 0) beginStart(step, "supervision", [])
  else step.enter({ _tag: "Backoff", until: step.now + delayMs, attempt: 0 })
}

/** A process went down with the runtime; its end goes on record. */
const recordDeath = (step: Step): void => {
  const { draft } = step
  const exit = { kind: "killedByRuntime", detail, at: step.at } as const
  draft.exit = exit
  step.append({ type: "process/exited", exit })
  draft.deaths = [...draft.deaths.slice(1 - deathHistory), { incarnation: draft.incarnation, exit, stderrTail: "" }]
}

const putBack = (step: Step, turn: Turn): void => {
  const { draft } = step
  const dueAt = turn.timeoutMs === undefined ? null : turn.queuedAt + turn.timeoutMs - draft.skewMs
  draft.queue = Mailbox.putBack(draft.queue, { turn, attempts: turn.attempts ?? 0, dueAt })
  step.watch(dueAt)
}

const endOpen = (step: Step, turn: Turn, status: "lost" | "cancelled"): void => {
  const error = { tag: status === "lost" ? "RuntimeEnded" : "SessionNotRunning", message: detail }
  step.end({ turn, attempts: 1, dueAt: null }, { status, text: turn.text, stopReason: status, error })
}
