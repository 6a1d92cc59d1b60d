/**
 * The session's life as one pure function: `transition(state, event, now) → [state, actions]`, one exhaustive
 * switch over the events. Turns are dealt with in `TurnTransition`, clients' wishes and the process in `ClientWishes` and
 * `ProcessEvents`.
 */
import { TurnNotFound } from "../domain/Errors.ts"
import * as Wishes from "./ClientWishes.ts"
import * as Process from "./ProcessEvents.ts"
import { recover } from "./SessionRecovery.ts"
import { Step } from "./SessionDraft.ts"
import type { Decision, SessionAction, SessionEvent } from "./SessionEvent.ts"
import { admitted, answer, beginEnding, beginStart, notRunning, refuse } from "./SessionPhases.ts"
import * as Calls from "./HostCalls.ts"
import { eofGraceMs, isBeingRemoved, processOf, type SessionState } from "./SessionState.ts"
import * as Permissions from "./PermissionRequests.ts"
import * as PoliteEnding from "./PoliteEnding.ts"
import * as Events from "./ProtocolEvents.ts"
import * as Endings from "./TurnEndings.ts"
import * as Supervision from "./SupervisorWishes.ts"
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
      if (draft.phase._tag !== "Stopped" || draft.incarnation > 0) return Wishes.resume(step, event.reply)
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
      if (process === null || process.exit !== null || draft.phase._tag === "Ending") return refuse(step, event.reply)
      return step.act({ type: "write", data: event.data, reply: event.reply })
    }
    case "signal": {
      const process = processOf(draft.phase)
      if (process === null || process.exit !== null) return refuse(step, event.reply)
      step.act({ type: "signal", signal: event.signal })
      return answer(step, event.reply)
    }
    case "suspend":
      return Wishes.suspend(step, event.reply)
    case "resume":
      return Wishes.resume(step, event.reply)
    case "restart":
      return Wishes.restart(step, event.reply)
    case "stop":
      return Wishes.stop(step, "stop", event.reply, event.brutal)
    case "remove":
      return Wishes.stop(step, "remove", event.reply, false)
    case "answer":
      Permissions.answered(step, event, Events.follow)
      return Turns.advance(step)
    case "authenticate":
      return Wishes.authenticate(step, event.method, event.reply, Events.follow)
    case "extend":
      return Wishes.extend(step, event.expiresInMs, event.reply)
    case "respec":
      return Wishes.respec(step, event)
    case "recover":
      return recover(step, event)
    case "makeRoom":
      return Wishes.makeRoom(step, event.reply)
    case "hold":
      Endings.hold(step)
      return answer(step, event.reply)
    case "leave":
      return Wishes.leave(step, event.reply)
    case "park":
      return Supervision.park(step, event.reply)
    case "release":
      return Supervision.release(step, event.reply)
    case "fall":
      return Supervision.fall(step, event.error, event.reply)
    case "rise":
      return Supervision.rise(step, event.asleep, event.reply)
    case "admitted":
      return admitted(step)
    case "spawned":
      return Process.spawned(step, event)
    case "spawnFailed":
      if (event.error._tag === "LimitReached") return Process.notAdmitted(step, event.error)
      return Process.startFailed(step, event.error, { kind: "spawnFailed", detail: event.error.message, at: step.at })
    case "frames": {
      const process = processOf(draft.phase)
      if (process !== null) Events.follow(step, draft.protocol.frames(process.protocol, event.frames, step.now))
      return Turns.advance(step)
    }
    case "oversize":
      return Events.oversize(step, event.bytes)
    case "broken":
      return Events.broken(step, event.detail)
    case "stdoutEnd": {
      const process = processOf(draft.phase)
      if (process === null) return
      draft.phase = { ...draft.phase, process: { ...process, eofAt: step.now } } as typeof draft.phase
      return Events.follow(step, draft.protocol.eof(process.protocol))
    }
    case "stderr": {
      const turn = Events.heard(step)
      step.append({ type: "output", stream: "stderr", data: event.data }, turn?.turn.id)
      return
    }
    case "exited":
      return Process.exited(step, event.exit)
    case "closed":
      return Process.closed(step, event.survivors, event.stderrTail)
    case "returned":
      // One that was asked by a process before this one is nobody's.
      if (event.incarnation === draft.incarnation) Calls.returned(step, event.call, event.answer, Events.follow)
      return Turns.advance(step)
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
    case "recover":
    case "hold":
    case "leave":
    case "park":
    case "release":
    case "fall":
    case "rise":
      return answer(step, event.reply)
    case "answer":
    case "authenticate":
    case "extend":
    case "respec":
    case "start":
    case "write":
    case "signal":
    case "makeRoom":
    case "suspend":
    case "resume":
    case "restart":
      return refuse(step, event.reply)
    default:
      return
  }
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
    case "Park": {
      const { delayMs, attempt } = decision
      step.append({ type: "restart/scheduled", delayMs, attempt })
      return step.enter({ _tag: "Parked", cause: "supervision", replies: [], dueAt: now + delayMs })
    }
    case "Done": {
      step.enter({ _tag: "Stopped" })
      return Endings.endQueue(step, () => ({
        status: "failed",
        text: "",
        stopReason: null,
        error: Endings.turnError(notRunning(step)),
      }))
    }
    case "Leave":
      return step.enter({ _tag: "Suspended", by: "runtime" }, "the runtime is ending")
    case "GiveUp":
      return Process.fail(step, decision.error)
  }
}

const tick = (step: Step): void => {
  const { draft, now } = step
  // Kept until it is gone: a runtime that dies on the way there leaves that to the next one.
  if (draft.expiresAt !== null && draft.expiresAt <= now && !isBeingRemoved(draft.phase)) {
    return Wishes.stop(step, "remove", () => {}, false)
  }
  Turns.turnDeadlines(step)
  switch (draft.phase._tag) {
    case "Starting":
      if (draft.phase.deadline !== null && draft.phase.deadline <= now) {
        beginEnding(step, { aim: "crash", detail: `it was not ready after ${draft.spec.readyTimeoutMs} ms` })
      }
      break
    case "Ready":
      if (draft.phase.idleAt !== null && draft.phase.idleAt <= now) {
        beginEnding(step, { aim: "suspend", by: "idle" })
      }
      break
    case "Backoff":
      if (draft.phase.until <= now) beginStart(step, "supervision", [], draft.phase.until)
      break
    case "Ending":
      PoliteEnding.elapsed(step)
      break
    default:
      break
  }
  // A process that is being ended has no deadlines of its own any more.
  const process = draft.phase._tag === "Ending" ? null : processOf(draft.phase)
  if (process !== null && process.eofAt !== null && process.exit === null && process.eofAt + eofGraceMs <= now) {
    return Events.broken(step, "it closed its stdout and lives on: no answer can come any more")
  }
  if (process !== null && process.protocolDeadline !== null && process.protocolDeadline <= now) {
    draft.phase = { ...draft.phase, process: { ...process, protocolDeadline: null } } as typeof draft.phase
    Events.follow(step, draft.protocol.timer(process.protocol, now))
  }
  Turns.advance(step)
}

/** A bug in a step: what it was about is over, and the process is replaced as after a crash. */
const defect = (step: Step, detail: string): void => {
  Events.broken(step, `internal error: ${detail}`)
}
