/** The part of the transition that clients wish for: suspend, resume, restart, stop, remove, in whatever phase they come. */
import { InvalidParams, Unsupported } from "../domain/Errors.ts"
import type { Step as ProtocolStep } from "../protocols/Protocol.ts"
import type { Step } from "./SessionDraft.ts"
import { answer, beginEnding, beginStart, goAway, notRunning, refuse, wakeForTurns } from "./SessionPhases.ts"
import type { SessionEvent } from "./SessionEvent.ts"
import { guarded } from "./GuardedProtocol.ts"
import * as Mailbox from "./Mailbox.ts"
import { isIdle, processOf, type SessionReply } from "./SessionState.ts"
import * as Endings from "./TurnEndings.ts"
import { acceptPromoted } from "./TurnTransition.ts"

export const suspend = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Busy":
      endCancelled(step, "suspended")
      return suspend(step, reply)
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "suspend", stopReplies: [reply] })
    case "Ending":
      // It falls with its supervisor: asleep it would be woken again.
      if (phase.aim === "stop" || phase.aim === "remove" || phase.aim === "fall") return refuse(step, reply)
      return step.enter({
        ...phase,
        aim: "suspend",
        // What the runtime's end suspends comes back with it, whoever else wants it suspended.
        by: phase.aim === "suspend" ? phase.by : "client",
        stopReplies: [...phase.stopReplies, reply],
      })
    case "Deciding":
    case "Backoff":
      step.enter({ _tag: "Suspended", by: "client" })
      answer(step, reply)
      return wakeForTurns(step)
    case "Parked":
      // What waits would wake it at once, and out of its turn.
      if (Mailbox.isEmpty(draft.queue)) {
        step.enter({ _tag: "Suspended", by: "client" })
        phase.replies.forEach((to) => refuse(step, to))
      }
      return answer(step, reply)
    case "Suspended":
      return answer(step, reply)
    case "Stopped":
    case "Failed":
    case "Gone":
      return refuse(step, reply)
  }
}

export const resume = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Ready":
    case "Busy":
      return answer(step, reply)
    case "Starting":
    case "Parked":
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

export const restart = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Busy":
      endCancelled(step, "restarted")
      return restart(step, reply)
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "restart", startReplies: [reply] })
    case "Ending":
      if (phase.aim === "remove" || phase.aim === "fall") return refuse(step, reply)
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

export const stop = (step: Step, aim: "stop" | "remove", reply: SessionReply, brutal: boolean): void => {
  const { draft } = step
  const { phase } = draft
  const shutdown = brutal ? "brutal_kill" : draft.spec.shutdown
  const endWaiting = () =>
    Endings.endQueue(step, () => ({
      status: "cancelled",
      text: "",
      stopReason: "stopped",
      error: Endings.turnError(notRunning(step)),
    }))
  switch (phase._tag) {
    case "Busy":
      endCancelled(step, "stopped")
      return stop(step, aim, reply, brutal)
    case "Ready":
    case "Starting":
      beginEnding(step, { aim, shutdown, stopReplies: [reply] })
      return endWaiting()
    case "Ending":
      step.enter({
        ...phase,
        aim: phase.aim === "remove" ? "remove" : aim,
        asking: brutal ? null : phase.asking,
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
    case "Parked": {
      const { cause, replies } = phase
      step.enter({ _tag: "Stopped" })
      endWaiting()
      if (cause === "initial") goAway(step, "startFailed")
      replies.forEach((to) => refuse(step, to))
      break
    }
    case "Stopped":
      // Its first start is on the way here, and begins nothing any more.
      if (draft.incarnation === 0) goAway(step, "startFailed")
      break
    case "Failed":
    case "Gone":
      break
  }
  if (aim === "remove") goAway(step, "removed")
  answer(step, reply)
}

/** Only from what is idle at this moment: whoever chose it may have seen it as it was before. */
export const makeRoom = (step: Step, reply: SessionReply): void => {
  if (!isIdle(step.draft)) return refuse(step, reply)
  beginEnding(step, { aim: "suspend", by: "room", stopReplies: [reply] })
}

/** The runtime ends and comes back: nothing is lost but the turn that runs. A temporary child is not brought back. */
export const leave = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  if (processOf(phase) !== null && draft.spec.restart === "temporary") return stop(step, "stop", reply, false)
  Endings.hold(step)
  switch (phase._tag) {
    case "Busy":
      endCancelled(step, "shutdown")
      return leave(step, reply)
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "suspend", by: "runtime", stopReplies: [reply] })
    case "Ending": {
      const stopReplies = [...phase.stopReplies, reply]
      if (phase.aim === "stop" || phase.aim === "remove") draft.phase = { ...phase, stopReplies }
      else {
        // Whoever else is suspending it keeps the word; but what waits wakes it in the next runtime, not in this one.
        const theirs = phase.aim === "suspend" && Mailbox.isEmpty(draft.queue)
        step.enter({ ...phase, aim: "suspend", by: theirs ? phase.by : "runtime", stopReplies })
      }
      return
    }
    case "Deciding":
    case "Backoff":
      step.enter({ _tag: "Suspended", by: "runtime" })
      return answer(step, reply)
    case "Parked": {
      const { cause, replies } = phase
      step.enter({ _tag: "Suspended", by: "runtime" })
      if (cause === "initial" && Mailbox.isEmpty(draft.queue)) goAway(step, "startFailed")
      replies.forEach((to) => refuse(step, to))
      return answer(step, reply)
    }
    case "Suspended":
    case "Stopped":
    case "Failed":
    case "Gone":
      return answer(step, reply)
  }
}

/** Goes on with a start that waits for it; answered once the session is ready. */
export const authenticate = (
  step: Step,
  method: string | null,
  reply: SessionReply,
  follow: (step: Step, next: ProtocolStep<unknown>) => void,
): void => {
  const { draft, now } = step
  const { phase } = draft
  if (phase._tag !== "Starting" || phase.authenticating === null || phase.process === null) {
    const detail = `session ${draft.spec.name} waits for no authentication`
    return answer(step, reply, new Unsupported({ what: "session/authenticate", detail }))
  }
  if (draft.protocol.authenticate === undefined) {
    const detail = `the protocol ${draft.protocol.name} has no way to authenticate`
    return answer(step, reply, new Unsupported({ what: "session/authenticate", detail }))
  }
  const { process, authenticating: offered } = phase
  if (method !== null && offered.length > 0 && !offered.includes(method)) {
    const message = `must be one of ${offered.map((each) => JSON.stringify(each)).join(", ")}, which the agent offers`
    return answer(step, reply, new InvalidParams({ issues: [{ path: "method", message }] }))
  }
  draft.phase = { ...phase, deadline: now + draft.spec.readyTimeoutMs, replies: [...phase.replies, reply] }
  follow(step, draft.protocol.authenticate(process.protocol, method))
}

/** From now on it has so long; an entry makes it durable. */
export const extend = (step: Step, expiresInMs: number | null, reply: SessionReply): void => {
  const { draft, now, at } = step
  draft.expiresAt = expiresInMs === null ? null : now + expiresInMs
  const text =
    expiresInMs === null ? "does not expire any more" : `expires at ${new Date(at + expiresInMs).toISOString()}`
  step.append({ type: "note", text })
  answer(step, reply)
}

/** Takes another spec over. What runs goes on by the old one until it is replaced. */
export const respec = (step: Step, event: Extract<SessionEvent, { readonly type: "respec" }>): void => {
  const { draft } = step
  const protocol = guarded(event.protocol)
  // The state of a protocol is its own; whoever asks for this restarts what runs.
  if (protocol !== draft.protocol && processOf(draft.phase) !== null) return refuse(step, event.reply)
  draft.spec = event.spec
  draft.protocol = protocol
  const { mailbox, promoted } = Mailbox.resize(draft.queue, event.spec.mailbox)
  acceptPromoted(step, mailbox, promoted)
  step.append({ type: "note", text: "its spec was changed" })
  answer(step, event.reply)
}

/** The session is ready after that, or ending where the turn used up a budget. */
const endCancelled = (step: Step, stopReason: string): void => {
  const { phase } = step.draft
  if (phase._tag !== "Busy") return
  Endings.endRunning(step, { status: "cancelled", text: phase.running.text, stopReason })
}
