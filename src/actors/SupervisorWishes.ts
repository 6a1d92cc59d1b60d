/**
 * The part of the transition that a supervisor wishes for: a session is parked while its group ends, released in its turn, falls
 * with a supervisor that has given up, and rises with one that is started anew. What clients wished for meanwhile stands.
 */
import type { RuntimeError } from "../domain/Errors.ts"
import type { Step } from "./SessionDraft.ts"
import { answer, beginEnding, beginStart } from "./SessionPhases.ts"
import { fail } from "./ProcessEvents.ts"
import type { SessionReply } from "./SessionState.ts"
import { cutShort, turnError } from "./TurnEndings.ts"

export const park = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Busy": {
      const message = `its supervisor ${draft.spec.supervisor} restarts it together with another child`
      cutShort(step, { tag: "SupervisorRestarted", message, supervisor: draft.spec.supervisor })
      return beginEnding(step, { aim: "park", stopReplies: [reply] })
    }
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "park", stopReplies: [reply] })
    case "Ending": {
      const stopReplies = [...phase.stopReplies, reply]
      const { aim } = phase
      // A first start that has failed is over with, and its caller hears why.
      const failed = aim === "crash" && phase.cause === "initial"
      const comesBack = (aim === "restart" || aim === "replace" || aim === "crash") && !failed
      if (comesBack) step.enter({ ...phase, aim: "park", error: null, stopReplies })
      else draft.phase = { ...phase, stopReplies }
      return
    }
    case "Backoff":
      step.enter({ _tag: "Parked", cause: "supervision", replies: [], dueAt: phase.until })
      return answer(step, reply)
    case "Deciding":
    case "Parked":
    case "Suspended":
    case "Stopped":
    case "Failed":
    case "Gone":
      return answer(step, reply)
  }
}

export const release = (step: Step, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  if (phase._tag === "Starting") {
    draft.phase = { ...phase, replies: [...phase.replies, reply] }
    return
  }
  if (phase._tag !== "Parked") return answer(step, reply)
  if (phase.cause === "supervision") draft.restarts++
  beginStart(step, phase.cause, [...phase.replies, reply], phase.dueAt)
}

export const fall = (step: Step, error: RuntimeError, reply: SessionReply): void => {
  const { draft } = step
  const { phase } = draft
  switch (phase._tag) {
    case "Busy":
      cutShort(step, turnError(error))
      return beginEnding(step, { aim: "fall", error, stopReplies: [reply] })
    case "Ready":
    case "Starting":
      return beginEnding(step, { aim: "fall", error, stopReplies: [reply] })
    case "Ending": {
      const stopReplies = [...phase.stopReplies, reply]
      if (phase.aim === "stop" || phase.aim === "remove") draft.phase = { ...phase, stopReplies }
      else step.enter({ ...phase, aim: "fall", error, stopReplies })
      return
    }
    case "Parked": {
      const { replies } = phase
      fail(step, error)
      replies.forEach((to) => answer(step, to, error))
      return answer(step, reply)
    }
    case "Deciding":
    case "Backoff":
    case "Suspended":
      fail(step, error)
      return answer(step, reply)
    case "Stopped":
    case "Failed":
    case "Gone":
      return answer(step, reply)
  }
}

/** Only said of one that fell with its supervisor, or that had finished. */
export const rise = (step: Step, asleep: boolean, reply: SessionReply): void => {
  const { _tag } = step.draft.phase
  if (_tag === "Failed" || _tag === "Stopped") {
    step.act({ type: "forgive" })
    step.enter(asleep ? { _tag: "Suspended", by: "idle" } : { _tag: "Parked", cause: "supervision", replies: [] })
  }
  answer(step, reply)
}
