/**
 * The moves between phases that both halves of the transition make: begin a start, become ready, begin an
 * ending. Nothing here decides about turns.
 */
import { NotReady, SessionNotRunning, type RuntimeError } from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { SuspendedBy } from "../domain/Session.ts"
import type { ShutdownSpec } from "../domain/SessionSpec.ts"
import * as Mailbox from "./Mailbox.ts"
import { askToEnd } from "./PoliteEnding.ts"
import type { Step } from "./SessionDraft.ts"
import { processOf, statusOf, type Aim, type SessionReply, type StartCause } from "./SessionState.ts"

export const answer = (step: Step, to: SessionReply, error: RuntimeError | null = null): void =>
  step.act({ type: "reply", to, error })

export const notRunning = ({ draft }: Step) =>
  new SessionNotRunning({ session: draft.spec.name, status: statusOf(draft.phase), exit: draft.exit })

export const refuse = (step: Step, reply: SessionReply): void => answer(step, reply, notRunning(step))

/** The session is over for good, and says so once. Before the answers: whoever hears of it finds nothing left. */
export const goAway = (step: Step, cause: "startFailed" | "removed"): void => {
  if (step.draft.phase._tag === "Gone") return
  step.draft.phase = { _tag: "Gone" }
  step.act({ type: "gone", cause })
}

/**
 * Begins the next incarnation. Only from phases without a process. `dueAt`: when it should have begun, where a store or
 * others that ended held it up; from then on it counts as starting.
 */
export const beginStart = (
  step: Step,
  cause: StartCause,
  replies: ReadonlyArray<SessionReply>,
  dueAt: number = step.now,
): void => {
  const { draft, now } = step
  draft.incarnation++
  draft.begunAt = Math.min(dueAt, now)
  if (cause === "client") step.act({ type: "forgive" })
  step.enter({ _tag: "Starting", cause, process: null, authenticating: null, deadline: null, replies })
  step.act({ type: "spawn" })
}

/** It has its place, and its spawn begins. */
export const admitted = ({ draft, now }: Step): void => {
  if (draft.phase._tag !== "Starting") return
  draft.phase = { ...draft.phase, deadline: now + draft.spec.readyTimeoutMs }
}

export const becomeReady = (step: Step): void => {
  const { draft, now } = step
  const { phase } = draft
  if (phase._tag !== "Starting" || phase.process === null) return
  const idle = draft.spec.idleTimeoutMs
  const idleAt = idle === null ? null : now + idle
  step.enter({ _tag: "Ready", process: phase.process, since: now, idleAt })
  phase.replies.forEach((to) => answer(step, to))
}

interface Ending {
  readonly aim: Aim
  /** Who suspends it; default: a client. */
  readonly by?: SuspendedBy
  readonly detail?: string
  /** Only for the aim `fall`: what becomes of the session then. */
  readonly error?: RuntimeError
  readonly shutdown?: ShutdownSpec
  readonly stopReplies?: ReadonlyArray<SessionReply>
  readonly startReplies?: ReadonlyArray<SessionReply>
}

/** Ends the process tree; what comes then is `aim`. The running turn has its end already. */
export const beginEnding = (step: Step, ending: Ending): void => {
  const { draft, now } = step
  const { phase } = draft
  step.abandonRequests("end")
  const { aim, by = "client", detail, stopReplies = [], startReplies = [] } = ending
  switch (phase._tag) {
    case "Starting": {
      const error =
        aim === "crash"
          ? notReady(step, detail ?? "its start failed", processOf(phase)?.exit ?? null, "")
          : (ending.error ?? null)
      // The replies of a start that is given up for another aim hear of it when the tree is gone.
      step.enter({
        _tag: "Ending",
        aim,
        by,
        process: phase.process,
        cause: phase.cause,
        readyMs: 0,
        error,
        asking: null,
        stopReplies,
        startReplies: [...phase.replies, ...startReplies],
      })
      break
    }
    case "Ready":
    case "Busy": {
      const { process, since } = phase
      step.enter({
        _tag: "Ending",
        aim,
        by,
        process,
        cause: "supervision",
        readyMs: now - since,
        error: ending.error ?? null,
        asking: null,
        stopReplies,
        startReplies,
      })
      break
    }
    case "Ending": {
      // It ends already, by a budget that its last turn used up. What somebody wishes for comes then, and nothing else.
      const wished = aim === "stop" || aim === "remove" || aim === "suspend" || aim === "restart" || aim === "fall"
      step.enter({
        ...phase,
        ...(wished ? { aim, by, error: ending.error ?? null } : undefined),
        stopReplies: [...phase.stopReplies, ...stopReplies],
        startReplies: [...phase.startReplies, ...startReplies],
      })
      if (ending.shutdown !== "brutal_kill") return
      draft.phase = { ...draft.phase, asking: null } as typeof phase
      return step.act({ type: "terminate", shutdown: ending.shutdown })
    }
    default:
      return
  }
  askToEnd(step, ending.shutdown ?? draft.spec.shutdown)
}

export const notReady = ({ draft }: Step, detail: string, exit: ExitReason | null, stderrTail: string) =>
  new NotReady({ session: draft.spec.name, detail, exit, stderrTail })

/** A turn that was taken in is answered: nobody sleeps over one that waits. */
export const wakeForTurns = (step: Step): void => {
  const { queue } = step.draft
  if (!Mailbox.isEmpty(queue) && !queue.isHeld) beginStart(step, "supervision", [])
}
