/**
 * The part of the transition that follows the process: spawned, exited, gone with all of its tree. What comes then was
 * decided when the ending began; where nobody had asked for it, the supervisor is asked.
 */
import { type LimitReached, SessionNotRunning, type RuntimeError } from "../domain/Errors.ts"
import { describeExit, isNormal, type ExitReason } from "../domain/ExitReason.ts"
import type { SuspendedBy } from "../domain/Session.ts"
import { resumedConversation } from "../domain/SessionSpec.ts"
import type { Step } from "./SessionDraft.ts"
import type { SessionEvent } from "./SessionEvent.ts"
import { answer, beginStart, goAway, notReady, refuse, wakeForTurns } from "./SessionPhases.ts"
import { deathHistory, processOf, resumptionOf, statusOf, type SessionReply, type StartCause } from "./SessionState.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Events from "./ProtocolEvents.ts"
import * as Endings from "./TurnEndings.ts"
import * as Turns from "./TurnTransition.ts"

// Starting

export const spawned = (step: Step, event: Extract<SessionEvent, { readonly type: "spawned" }>): void => {
  const { draft, now } = step
  const { phase } = draft
  const { pid, containment, cwd, freshId } = event
  step.append({ type: "process/spawned", pid, containment })
  const costUsd = resumedConversation(draft.spec) === null ? (draft.usage?.["costUsd"] ?? 0) : null
  const first = draft.protocol.start({ from: resumptionOf(draft), freshId, cwd, costUsd, now })
  const process = { pid, containment, protocol: first.state, protocolDeadline: null, eofAt: null, exit: null }
  // A stop may have come while the spawn was under way; its terminate ends this process too.
  if (phase._tag === "Ending") draft.phase = { ...phase, process }
  if (phase._tag !== "Starting") return
  draft.phase = { ...phase, process }
  Events.follow(step, first)
  Turns.advance(step)
}

/** No process came up, or none that got ready; whatever there was is gone. */
export const startFailed = (step: Step, error: RuntimeError, exit: ExitReason | null): void => {
  const { draft } = step
  const { phase } = draft
  if (exit !== null) draft.exit = exit
  if (phase._tag === "Ending") return treeGone(step, [])
  if (phase._tag !== "Starting") return
  settleFailedStart(step, phase.cause, phase.replies, error)
}

/**
 * There was no room for it among the live sessions, and it may not wait. A first start fails; a session that is there
 * already sleeps, uncharged: its next turn, or a resume, tries again.
 */
export const notAdmitted = (step: Step, error: LimitReached): void => {
  const { draft } = step
  const { phase } = draft
  if (phase._tag === "Ending") return treeGone(step, [])
  if (phase._tag !== "Starting") return
  if (phase.cause === "initial") return settleFailedStart(step, phase.cause, phase.replies, error)
  step.enter({ _tag: "Suspended", by: "room" }, error.message)
  const ended = { status: "failed", text: "", stopReason: null, error: Endings.turnError(error) } as const
  Endings.endQueue(step, () => ended, error)
  phase.replies.forEach((to) => answer(step, to, error))
}

const settleFailedStart = (
  step: Step,
  cause: StartCause,
  replies: ReadonlyArray<SessionReply>,
  error: RuntimeError,
): void => {
  const { draft } = step
  if (cause === "supervision") {
    draft.phase = { _tag: "Deciding", status: statusOf(draft.phase) }
    step.append({ type: "note", text: error.message })
    replies.forEach((to) => answer(step, to, error))
    return supervise(step, false, 0)
  }
  fail(step, error)
  if (cause === "initial") goAway(step, "startFailed")
  replies.forEach((to) => answer(step, to, error))
}

const supervise = (step: Step, normal: boolean, readyMs: number): void =>
  step.act({ type: "supervise", report: { normal, readyMs, elapsedMs: step.now - step.draft.begunAt } })

export const fail = (step: Step, error: RuntimeError): void => {
  step.enter({ _tag: "Failed", error }, error.message)
  Endings.endQueue(step, () => ({ status: "failed", text: "", stopReason: null, error: Endings.turnError(error) }))
}

// Ending

export const exited = (step: Step, exit: ExitReason): void => {
  const { draft } = step
  const { phase } = draft
  if (!("process" in phase) || phase.process === null) return
  // Within an ending a signal's death is the runtime's doing; the child's own exit code stays its own.
  const cause: ExitReason =
    phase._tag === "Ending" && exit.kind === "signaled"
      ? { kind: "killedByRuntime", signal: exit.signal, detail: phase.aim, at: exit.at }
      : exit
  // Nobody asked for this end: a limit of its spec was passed.
  if (phase._tag !== "Ending" && cause.kind === "killedByRuntime") {
    step.append({ type: "note", text: `ended by the runtime: ${cause.detail}` })
  }
  draft.exit = cause
  draft.phase = { ...phase, process: { ...phase.process, exit: cause } } as typeof phase
  // Whatever it left running ends without being asked.
  if (draft.phase._tag === "Ending") draft.phase = { ...draft.phase, asking: null }
}

export const closed = (step: Step, survivors: ReadonlyArray<number>, stderrTail: string): void => {
  const { draft } = step
  const { phase } = draft
  const process = processOf(phase)
  step.abandonRequests("end")
  if (process !== null) {
    const exit = process.exit ?? { kind: "killedByRuntime", detail: "no exit was reported", at: step.at }
    draft.exit = exit
    step.append(survivors.length === 0 ? { type: "process/exited", exit } : { type: "process/exited", exit, survivors })
    const death = { incarnation: draft.incarnation, exit, stderrTail }
    draft.deaths = [...draft.deaths.slice(1 - deathHistory), death]
  }
  switch (phase._tag) {
    case "Starting": {
      const { exit } = draft
      const detail = exit === null ? "it ended" : `it ended before it was ready: ${describeExit(exit)}`
      return settleFailedStart(step, phase.cause, phase.replies, notReady(step, detail, exit, stderrTail))
    }
    case "Ready":
    case "Busy": {
      Endings.cutShort(step, Endings.processExited(step))
      // The turn used up a budget, and the session ends for that.
      if (draft.phase._tag === "Ending") return treeGone(step, survivors, stderrTail)
      if (survivors.length > 0) return unkillable(step, survivors)
      draft.phase = { _tag: "Deciding", status: statusOf(draft.phase) }
      const normal = draft.exit !== null && isNormal(draft.exit)
      return supervise(step, normal, step.now - phase.since)
    }
    case "Ending":
      return treeGone(step, survivors, stderrTail)
    default:
      return
  }
}

/** Never two: over a process that cannot be killed nothing is started. */
const unkillable = (step: Step, survivors: ReadonlyArray<number>): void => {
  const { draft } = step
  draft.survivors = survivors
  step.append({
    type: "note",
    text: `processes that could not be killed: ${survivors.join(", ")}; not restarting over them`,
  })
  fail(step, new SessionNotRunning({ session: draft.spec.name, status: "failed", exit: draft.exit }))
}

const suspensions: Readonly<Record<SuspendedBy, string | undefined>> = {
  client: undefined,
  idle: undefined,
  room: "to make room for another session",
  runtime: "the runtime is ending",
  budget: "a budget is used up",
}

const treeGone = (step: Step, survivors: ReadonlyArray<number>, stderrTail = ""): void => {
  const { draft } = step
  const { phase } = draft
  if (phase._tag !== "Ending") return
  const { aim, by, stopReplies, startReplies, cause, error, readyMs } = phase
  const refuseStarts = () => startReplies.forEach((to) => refuse(step, to))
  if (survivors.length > 0) {
    // A session with processes that live on is not forgotten.
    if (aim === "remove") draft.expiresAt = null
    unkillable(step, survivors)
    refuseStarts()
    stopReplies.forEach((to) => (aim === "remove" ? refuse(step, to) : answer(step, to)))
    return
  }
  switch (aim) {
    case "stop":
    case "remove":
      step.enter({ _tag: "Stopped" })
      if (aim === "remove") goAway(step, "removed")
      // A first start that was stopped halfway leaves no session behind either.
      else if (cause === "initial") goAway(step, "startFailed")
      refuseStarts()
      stopReplies.forEach((to) => answer(step, to))
      return
    case "suspend":
      step.enter({ _tag: "Suspended", by }, suspensions[by])
      if (by === "runtime") {
        // Whoever waits for a first start hears that it came to nothing, and so nothing comes back of it but turns that were taken in.
        if (cause === "initial" && Mailbox.isEmpty(draft.queue)) goAway(step, "startFailed")
        refuseStarts()
        stopReplies.forEach((to) => answer(step, to))
        return
      }
      // A first start that a client's suspend overtook has not failed: the session is there.
      if (cause === "initial") startReplies.forEach((to) => answer(step, to))
      else refuseStarts()
      stopReplies.forEach((to) => answer(step, to))
      return wakeForTurns(step)
    case "restart":
      stopReplies.forEach((to) => answer(step, to))
      return beginStart(step, cause === "initial" ? "initial" : "client", startReplies)
    case "replace":
      stopReplies.forEach((to) => answer(step, to))
      return beginStart(step, "supervision", startReplies)
    case "park":
      step.enter({ _tag: "Parked", cause, replies: startReplies })
      stopReplies.forEach((to) => answer(step, to))
      return
    case "fall":
      fail(step, error ?? notReady(step, "its supervisor has given up", draft.exit, stderrTail))
      startReplies.forEach((to) => answer(step, to, error))
      stopReplies.forEach((to) => answer(step, to))
      return
    case "crash": {
      stopReplies.forEach((to) => answer(step, to))
      if (error !== null) {
        const told = error._tag === "NotReady" ? notReady(step, error.detail, draft.exit, stderrTail) : error
        return settleFailedStart(step, cause, startReplies, told)
      }
      const failed = notReady(step, "its process failed and is being replaced", draft.exit, stderrTail)
      startReplies.forEach((to) => answer(step, to, failed))
      draft.phase = { _tag: "Deciding", status: statusOf(phase) }
      return supervise(step, false, readyMs)
    }
  }
}
