/** The part of the transition that ends turns: the running one, those in the queue, and those that never got in. */
import { Draining, type RuntimeError } from "../domain/Errors.ts"
import { describeExit } from "../domain/ExitReason.ts"
import type { TurnId } from "../domain/Ids.ts"
import type { Turn, TurnError } from "../domain/Turn.ts"
import { budgetReached } from "./Budget.ts"
import * as Mailbox from "./Mailbox.ts"
import type { Ended, Step } from "./SessionDraft.ts"
import { beginEnding, notRunning } from "./SessionPhases.ts"
import type { PendingTurn } from "./SessionState.ts"

/** The plain data of an error, as a turn keeps it. */
export const turnError = (error: RuntimeError): TurnError => {
  const fields: Record<string, unknown> = {}
  // Key by key: only to name the stack, which is no part of it, would have it written out.
  for (const [key, value] of Object.entries(error)) {
    if (key !== "_tag" && key !== "name" && key !== "cause" && key !== "stack") fields[key] = value
  }
  return { ...fields, tag: error._tag, message: error.message }
}

/** Why a turn is not taken in. */
export const refusal = (step: Step): RuntimeError => {
  const { phase } = step.draft
  return phase._tag === "Failed" && phase.error._tag === "RestartIntensityReached" ? phase.error : notRunning(step)
}

export const endUnstarted = (step: Step, pending: PendingTurn, ended: Ended): void => {
  step.end(pending, ended)
}

/** Ends the running turn and answers those who cancelled it. The session is ready again. */
export const endRunning = (step: Step, ended: Ended): void => {
  const { draft, now } = step
  if (draft.phase._tag !== "Busy") return
  const { running: it, process, since } = draft.phase
  step.abandonRequests("turn", it.turn.id)
  const turn = step.end(it, ended)
  it.cancelling?.replies.forEach((to) => step.act({ type: "replyTurn", to, turn }))
  const idle = draft.spec.idleTimeoutMs
  step.enter({ _tag: "Ready", process, since, idleAt: idle === null ? null : now + idle })
  const reached = budgetReached(draft)
  if (reached === undefined) return
  step.append({ type: "note", text: reached.message })
  endQueue(step, () => ({ status: "failed", text: "", stopReason: "limit", error: turnError(reached) }))
  beginEnding(step, draft.spec.limits.onReached === "stop" ? { aim: "stop" } : { aim: "suspend", by: "budget" })
}

/** The process went away under the running turn: asked again where `retryTurns` allows, else failed. */
export const cutShort = (step: Step, error: TurnError): void => {
  const { draft } = step
  if (draft.phase._tag !== "Busy") return
  const { running: it } = draft.phase
  if (it.cancelling !== null) {
    endRunning(step, { status: it.cancelling.status, text: it.text, stopReason: it.cancelling.status })
  } else if (it.attempts <= draft.spec.retryTurns) {
    step.abandonRequests("turn", it.turn.id)
    const turn = { ...it.turn, status: "queued" as const, startedAt: null, attempts: it.attempts }
    step.act({ type: "save", turn })
    step.append({ type: "note", text: `the turn will be asked again: ${error.message}` }, turn.id)
    draft.queue = Mailbox.putBack(draft.queue, { turn, attempts: it.attempts, dueAt: it.dueAt })
    if (draft.queue.isHeld) step.act({ type: "postponed", turn: turn.id, error: postponed(turn) })
    step.watch(it.dueAt)
    step.enter({ _tag: "Ready", process: draft.phase.process, since: draft.phase.since, idleAt: null })
  } else {
    endRunning(step, { status: "failed", text: it.text, stopReason: null, error })
  }
}

/** Ends the running turn and replaces the process: what it may still say must not meet the next prompt. */
export const replaceUnder = (step: Step, ended: Ended): void => {
  endRunning(step, ended)
  beginEnding(step, { aim: "replace" })
}

/** Ends every queued turn, and refuses those that waited for room (for `why`): the session will not get to them. */
export const endQueue = (step: Step, ending: () => Ended, why?: RuntimeError): void => {
  const { draft } = step
  draft.queueDueAt = null
  if (draft.queue.items.size === 0 && draft.queue.waiting.size === 0) return
  const ended = ending()
  const { items, waiting, mailbox } = Mailbox.drain(draft.queue)
  draft.queue = mailbox
  for (const pending of items) endUnstarted(step, pending, ended)
  for (const pending of waiting) {
    step.act({ type: "refused", turn: pending.turn.id, error: why ?? refusal(step) })
  }
}

const postponed = ({ id }: Turn): Draining =>
  new Draining({ detail: `the runtime is shutting down; turn ${id} stays queued for the next one` })

/** What is queued waits for the next runtime. Whoever waits for the end of such a turn is told now, not by a closed connection. */
export const hold = (step: Step): void => {
  const { draft } = step
  if (draft.queue.isHeld) return
  const { mailbox, waiting } = Mailbox.hold(draft.queue)
  draft.queue = mailbox
  for (const { turn } of Mailbox.toArray(mailbox)) {
    step.act({ type: "postponed", turn: turn.id, error: postponed(turn) })
  }
  for (const { turn } of waiting) step.act({ type: "refused", turn: turn.id, error: takesNoMore() })
}

/** Why a turn is refused that comes while the queue is held. */
export const takesNoMore = (): Draining =>
  new Draining({ detail: "the runtime is shutting down; it takes no more turns" })

/** Why nobody waits for the end of a turn that is queued while the queue is held. */
export const postponedIn = ({ draft }: Step, id: TurnId): Draining | undefined => {
  const pending = draft.queue.isHeld ? Mailbox.toArray(draft.queue).find(({ turn }) => turn.id === id) : undefined
  return pending === undefined ? undefined : postponed(pending.turn)
}

/** How a turn that was running when its process ended remembers it. */
export const processExited = (step: Step): TurnError => {
  const { exit } = step.draft
  return {
    tag: "ProcessExited",
    message:
      exit === null ? "the process ended during the turn" : `the process ended during the turn: ${describeExit(exit)}`,
    exit,
  }
}
