/**
 * The session's life as one pure function: `transition(state, event, now) → [state, actions]`, one exhaustive
 * switch over the events. Turns are dealt with in `TurnTransition`.
 */
import { SessionNotRunning, TurnNotFound, type RuntimeError } from "../domain/Errors.ts"
import { describeExit, isNormal, type ExitReason } from "../domain/ExitReason.ts"
import { Step } from "./SessionDraft.ts"
import type { Decision, SessionAction, SessionEvent } from "./SessionEvent.ts"
import {
  deathHistory,
  eofGraceMs,
  processOf,
  statusOf,
  type SessionReply,
  type SessionState,
  type StartCause,
} from "./SessionState.ts"
import { answer, beginEnding, beginStart, goAway, notReady, notRunning, refuse } from "./SessionPhases.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Turns from "./TurnTransition.ts"

export const transition = (
  state: SessionState,
  event: SessionEvent,
  now: number,
): readonly [SessionState, ReadonlyArray<SessionAction>] => {
  const step = new Step(state, now)
  apply(step, event)
  return [step.draft, step.actions]
}

const apply = (step: Step, event: SessionEvent): void => {
  const { draft } = step
  if (draft.phase._tag === "Gone") return tooLate(step, event)
  switch (event.type) {
    case "start":
      if (draft.phase._tag !== "Stopped" || draft.incarnation > 0) return resume(step, event.reply)
      return beginStart(step, "initial", [event.reply])
    case "submit":
      return Turns.submit(step, event.pending)
    case "withdraw":
      return Turns.withdraw(step, event.turn)
    case "await":
      return Turns.awaitEnd(step, event.turn, event.reply)
    case "cancel":
      Turns.cancel(step, event.turn, event.reply)
      return Turns.advance(step)
    case "write": {
      const process = processOf(draft.phase)
      if (process === null || process.exit !== null) return refuse(step, event.reply)
      return step.act({ type: "write", data: event.data, reply: event.reply })
    }
    case "signal": {
      const process = processOf(draft.phase)
      if (process === null || process.exit !== null) return refuse(step, event.reply)
      step.act({ type: "signal", signal: event.signal })
      return answer(step, event.reply)
    }
    case "suspend":
      return suspend(step, event.reply)
    case "resume":
      return resume(step, event.reply)
    case "restart":
      return restart(step, event.reply)
    case "stop":
      return stop(step, "stop", event.reply, event.brutal)
    case "remove":
      return stop(step, "remove", event.reply, false)
    case "spawned":
      return spawned(step, event)
    case "spawnFailed":
      return startFailed(step, event.error, { kind: "spawnFailed", detail: event.error.message, at: step.at })
    case "frames": {
      const process = processOf(draft.phase)
      if (process !== null) Turns.follow(step, draft.protocol.frames(process.protocol, event.frames, step.now))
      return Turns.advance(step)
    }
    case "oversize":
      return Turns.oversize(step, event.bytes)
    case "broken":
      return Turns.broken(step, event.detail)
    case "stdoutEnd": {
      const process = processOf(draft.phase)
      if (process === null) return
      draft.phase = { ...draft.phase, process: { ...process, eofAt: step.now } } as typeof draft.phase
      return Turns.follow(step, draft.protocol.eof(process.protocol))
    }
    case "stderr": {
      const turn = Turns.heard(step)
      step.append({ type: "output", stream: "stderr", data: event.data }, turn?.turn.id)
      return
    }
    case "exited":
      return exited(step, event.exit)
    case "closed":
      return closed(step, event.survivors, event.stderrTail)
    case "decision":
      return decided(step, event.decision)
    case "tick":
      return tick(step)
    case "defect":
      return defect(step, event.detail)
    case "note":
      step.append({ type: "note", text: event.text })
      return
  }
}

/** What reaches a session that is gone changes nothing, and whoever asks is told. */
const tooLate = (step: Step, event: SessionEvent): void => {
  const { name } = step.draft.spec
  switch (event.type) {
    case "submit":
      return step.act({ type: "refused", turn: event.pending.turn.id, error: notRunning(step) })
    case "cancel":
    case "await":
      return step.act({
        type: "replyTurnFailed",
        to: event.reply,
        error: new TurnNotFound({ turn: event.turn, session: name }),
      })
    case "stop":
    case "remove":
      return answer(step, event.reply)
    case "start":
    case "write":
    case "signal":
    case "suspend":
    case "resume":
    case "restart":
      return refuse(step, event.reply)
    default:
      return
  }
}

// Starting

const spawned = (step: Step, event: Extract<SessionEvent, { readonly type: "spawned" }>): void => {
  const { draft, now } = step
  const { phase } = draft
  const { pid, containment } = event
  step.append({ type: "process/spawned", pid, containment })
  const first = draft.protocol.start({ conversation: draft.conversation, now })
  const process = { pid, containment, protocol: first.state, protocolDeadline: null, eofAt: null, exit: null }
  // A stop may have come while the spawn was under way; its terminate ends this process too.
  if (phase._tag === "Ending") draft.phase = { ...phase, process }
  if (phase._tag !== "Starting") return
  draft.phase = { ...phase, process }
  Turns.follow(step, first)
  Turns.advance(step)
}

/** No process came up, or none that got ready; whatever there was is gone. */
const startFailed = (step: Step, error: RuntimeError, exit: ExitReason | null): void => {
  const { draft } = step
  const { phase } = draft
  if (exit !== null) draft.exit = exit
  if (phase._tag === "Ending") return treeGone(step, [])
  if (phase._tag !== "Starting") return
  settleFailedStart(step, phase.cause, phase.replies, error)
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

const fail = (step: Step, error: RuntimeError): void => {
  step.enter({ _tag: "Failed", error }, error.message)
  Turns.endQueue(step, () => ({ status: "failed", text: "", stopReason: null, error: Turns.turnError(error) }))
}

// Ending

const exited = (step: Step, exit: ExitReason): void => {
  const { draft } = step
  const { phase } = draft
  if (!("process" in phase) || phase.process === null) return
  // Within an ending a signal's death is the runtime's doing; the child's own exit code stays its own.
  const cause: ExitReason =
    phase._tag === "Ending" && exit.kind === "signaled"
      ? { kind: "killedByRuntime", signal: exit.signal, detail: phase.aim, at: exit.at }
      : exit
  draft.exit = cause
  draft.phase = { ...phase, process: { ...phase.process, exit: cause } } as typeof phase
}

const closed = (step: Step, survivors: ReadonlyArray<number>, stderrTail: string): void => {
  const { draft } = step
  const { phase } = draft
  const process = processOf(phase)
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
      Turns.cutShort(step, Turns.processExited(step))
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

const treeGone = (step: Step, survivors: ReadonlyArray<number>, stderrTail = ""): void => {
  const { draft } = step
  const { phase } = draft
  if (phase._tag !== "Ending") return
  const { aim, stopReplies, startReplies, cause, error, readyMs } = phase
  const refuseStarts = () => startReplies.forEach((to) => refuse(step, to))
  if (survivors.length > 0) {
    unkillable(step, survivors)
    refuseStarts()
    // A session with processes that live on is not forgotten.
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
      step.enter({ _tag: "Suspended" })
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

/** A turn that was taken in is answered: nobody sleeps over one that waits. */
const wakeForTurns = (step: Step): void => {
  if (!Mailbox.isEmpty(step.draft.queue)) beginStart(step, "supervision", [])
}

// Clients' wishes

const suspend = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Busy":
      endCancelled(step, "suspended")
      return beginEnding(step, { aim: "suspend", stopReplies: [reply] })
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "suspend", stopReplies: [reply] })
    case "Ending":
      if (phase.aim === "stop" || phase.aim === "remove") return refuse(step, reply)
      return step.enter({ ...phase, aim: "suspend", stopReplies: [...phase.stopReplies, reply] })
    case "Deciding":
    case "Backoff":
      step.enter({ _tag: "Suspended" })
      answer(step, reply)
      return wakeForTurns(step)
    case "Suspended":
      return answer(step, reply)
    case "Stopped":
    case "Failed":
    case "Gone":
      return refuse(step, reply)
  }
}

const resume = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Ready":
    case "Busy":
      return answer(step, reply)
    case "Starting":
      draft.phase = { ...phase, replies: [...phase.replies, reply] }
      return
    case "Ending":
      if (phase.aim === "suspend")
        step.enter({ ...phase, aim: "restart", startReplies: [...phase.startReplies, reply] })
      else if (phase.aim === "stop" || phase.aim === "remove") refuse(step, reply)
      else draft.phase = { ...phase, startReplies: [...phase.startReplies, reply] }
      return
    case "Deciding":
    case "Backoff":
    case "Suspended":
    case "Stopped":
    case "Failed":
      return beginStart(step, "client", [reply])
    case "Gone":
      return refuse(step, reply)
  }
}

const restart = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Busy":
      endCancelled(step, "restarted")
      return beginEnding(step, { aim: "restart", startReplies: [reply] })
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "restart", startReplies: [reply] })
    case "Ending":
      if (phase.aim === "remove") return refuse(step, reply)
      return step.enter({
        ...phase,
        aim: "restart",
        cause: phase.cause === "initial" ? "initial" : "client",
        startReplies: [...phase.startReplies, reply],
      })
    default:
      return resume(step, reply)
  }
}

const stop = (step: Step, aim: "stop" | "remove", reply: SessionReply, brutal: boolean): void => {
  const { draft } = step
  const { phase } = draft
  const shutdown = brutal ? "brutal_kill" : draft.spec.shutdown
  const endWaiting = () =>
    Turns.endQueue(step, () => ({
      status: "cancelled",
      text: "",
      stopReason: "stopped",
      error: Turns.turnError(notRunning(step)),
    }))
  switch (phase._tag) {
    case "Busy":
    case "Ready":
    case "Starting":
      endCancelled(step, "stopped")
      beginEnding(step, { aim, shutdown, stopReplies: [reply] })
      return endWaiting()
    case "Ending":
      step.enter({
        ...phase,
        aim: phase.aim === "remove" ? "remove" : aim,
        stopReplies: [...phase.stopReplies, reply],
      })
      if (brutal) step.act({ type: "terminate", shutdown })
      return endWaiting()
    case "Deciding":
    case "Backoff":
    case "Suspended":
      step.enter({ _tag: "Stopped" })
      endWaiting()
      break
    case "Stopped":
    case "Failed":
    case "Gone":
      break
  }
  if (aim === "remove") goAway(step, "removed")
  answer(step, reply)
}

const endCancelled = (step: Step, stopReason: string): void => {
  const { phase } = step.draft
  if (phase._tag !== "Busy") return
  Turns.endRunning(step, { status: "cancelled", text: phase.running.text, stopReason })
}

// The supervisor's word and the clock

const decided = (step: Step, decision: Decision): void => {
  const { draft, now } = step
  if (draft.phase._tag !== "Deciding") return
  switch (decision._tag) {
    case "Restart": {
      const { delayMs, attempt } = decision
      draft.restarts++
      step.append({ type: "restart/scheduled", delayMs, attempt })
      if (delayMs <= 0) return beginStart(step, "supervision", [])
      return step.enter({ _tag: "Backoff", until: now + delayMs, attempt })
    }
    case "Done": {
      step.enter({ _tag: "Stopped" })
      return Turns.endQueue(step, () => ({
        status: "failed",
        text: "",
        stopReason: null,
        error: Turns.turnError(notRunning(step)),
      }))
    }
    case "GiveUp":
      return fail(step, decision.error)
  }
}

const tick = (step: Step): void => {
  const { draft, now } = step
  if (draft.expiresAt !== null && draft.expiresAt <= now) {
    draft.expiresAt = null
    return stop(step, "remove", () => {}, false)
  }
  Turns.turnDeadlines(step)
  switch (draft.phase._tag) {
    case "Starting":
      if (draft.phase.deadline <= now) {
        beginEnding(step, { aim: "crash", detail: `it was not ready after ${draft.spec.readyTimeoutMs} ms` })
      }
      break
    case "Ready":
      if (draft.phase.idleAt !== null && draft.phase.idleAt <= now) {
        beginEnding(step, { aim: "suspend" })
      }
      break
    case "Backoff":
      if (draft.phase.until <= now) beginStart(step, "supervision", [])
      break
    default:
      break
  }
  // A process that is being ended has no deadlines of its own any more.
  const process = draft.phase._tag === "Ending" ? null : processOf(draft.phase)
  if (process !== null && process.eofAt !== null && process.exit === null && process.eofAt + eofGraceMs <= now) {
    return Turns.broken(step, "it closed its stdout and lives on: no answer can come any more")
  }
  if (process !== null && process.protocolDeadline !== null && process.protocolDeadline <= now) {
    draft.phase = { ...draft.phase, process: { ...process, protocolDeadline: null } } as typeof draft.phase
    Turns.follow(step, draft.protocol.timer(process.protocol, now))
  }
  Turns.advance(step)
}

/** A bug in a step: what it was about is over, and the process is replaced as after a crash. */
const defect = (step: Step, detail: string): void => {
  Turns.broken(step, `internal error: ${detail}`)
}
