/** The part of the transition that clients wish for: suspend, resume, restart, stop, remove, in whatever phase they come. */
import type { Step } from "./SessionDraft.ts"
import { answer, beginEnding, beginStart, goAway, notRunning, refuse, wakeForTurns } from "./SessionPhases.ts"
import type { SessionReply } from "./SessionState.ts"
import * as Endings from "./TurnEndings.ts"

export const suspend = (step: Step, reply: SessionReply): void => {
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

export const resume = (step: Step, reply: SessionReply): void => {
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

export const restart = (step: Step, reply: SessionReply): void => {
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
  Endings.endRunning(step, { status: "cancelled", text: phase.running.text, stopReason })
}
