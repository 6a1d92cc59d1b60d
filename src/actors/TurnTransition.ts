/** The part of the transition that concerns turns: taking them in, giving them to the protocol, cancelling them, their time. */
import { MailboxFull, TurnNotFound } from "../domain/Errors.ts"
import { turnToken, type TurnId } from "../domain/Ids.ts"
import { budgetReached } from "./Budget.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Permissions from "./PermissionRequests.ts"
import { follow, running } from "./ProtocolEvents.ts"
import type { Step } from "./SessionDraft.ts"
import { beginEnding, beginStart } from "./SessionPhases.ts"
import { answers, type Cancelling, type PendingTurn, type RunningTurn, type TurnReply } from "./SessionState.ts"
import {
  cutShort,
  endRunning,
  endUnstarted,
  postponedIn,
  refusal,
  replaceUnder,
  takesNoMore,
  turnError,
} from "./TurnEndings.ts"

/** How long a protocol's own cancel may take before the incarnation is replaced. */
export const cancelGraceMs = 5_000

export const submit = (step: Step, pending: PendingTurn): void => {
  const { draft } = step
  const { phase } = draft
  const reached = budgetReached(draft)
  if (
    phase._tag === "Stopped" ||
    phase._tag === "Failed" ||
    (phase._tag === "Ending" && (phase.aim === "stop" || phase.aim === "remove"))
  ) {
    // Where a budget is used up, a restart would change nothing.
    const error = (phase._tag === "Failed" ? undefined : reached) ?? refusal(step)
    step.act({ type: "refused", turn: pending.turn.id, error })
    return
  }
  if (draft.queue.isHeld) return step.act({ type: "refused", turn: pending.turn.id, error: takesNoMore() })
  if (reached !== undefined) return step.act({ type: "refused", turn: pending.turn.id, error: reached })
  if (phase._tag === "Ready" && answers(phase.process) && Mailbox.isEmpty(draft.queue)) {
    startTurn(step, step.accept(pending))
    return
  }
  const full = () => new MailboxFull({ session: draft.spec.name, capacity: draft.spec.mailbox.capacity })
  // The entry is made by `accept`, and only if the mailbox takes the turn: ask it with the bare turn first.
  const offered = Mailbox.offer(draft.queue, pending)
  switch (offered._tag) {
    case "Refused":
      step.act({ type: "refused", turn: pending.turn.id, error: full() })
      break
    case "Waits":
      draft.queue = offered.mailbox
      step.watch(pending.dueAt)
      break
    case "Accepted":
      acceptQueued(step, offered.mailbox, pending)
      break
    case "Displaced":
      if (offered.accepted) {
        acceptQueued(step, offered.mailbox, pending)
        endUnstarted(step, offered.victim, { status: "failed", text: "", stopReason: null, error: turnError(full()) })
      } else {
        endUnstarted(step, step.accept(pending), {
          status: "failed",
          text: "",
          stopReason: null,
          error: turnError(full()),
        })
      }
      break
  }
  // Also where there was no room: in a session that sleeps there would never be any.
  if (phase._tag === "Suspended") beginStart(step, "supervision", [])
  else advance(step)
}

const acceptQueued = (step: Step, mailbox: Mailbox.Mailbox<PendingTurn>, pending: PendingTurn): void => {
  step.draft.queue = Mailbox.replace(mailbox, pending, step.accept(pending))
}

/** Takes in those that had waited for room. */
export const acceptPromoted = (
  step: Step,
  mailbox: Mailbox.Mailbox<PendingTurn>,
  promoted: ReadonlyArray<PendingTurn>,
): void => {
  if (promoted.length === 0) {
    step.draft.queue = mailbox
    return
  }
  const accepted = new Map(promoted.map((pending) => [pending, step.accept(pending)]))
  step.draft.queue = Mailbox.map(mailbox, (pending) => accepted.get(pending) ?? pending)
}

/** Gives the next queued turn to a session that is ready for it. */
export const advance = (step: Step): void => {
  const { draft } = step
  while (draft.phase._tag === "Ready" && answers(draft.phase.process)) {
    const taken = Mailbox.take(draft.queue)
    if (taken === undefined) return
    draft.queue = taken.mailbox
    if (taken.promoted !== undefined) acceptQueued(step, draft.queue, taken.promoted)
    startTurn(step, taken.item)
  }
}

const startTurn = (step: Step, pending: PendingTurn): void => {
  const { draft, now } = step
  const { phase } = draft
  if (phase._tag !== "Ready") return
  const attempts = pending.attempts + 1
  const turn = { ...pending.turn, status: "running" as const, startedAt: step.at }
  step.append({ type: "turn/started", attempt: attempts }, turn.id)
  step.act({ type: "save", turn })
  const running: RunningTurn = {
    turn,
    attempts,
    dueAt: pending.dueAt,
    text: "",
    deadline: now + draft.spec.turnTimeoutMs,
    lastOutputAt: now,
    stalled: false,
    cancelling: null,
    tools: [],
  }
  step.enter({ _tag: "Busy", process: phase.process, since: phase.since, running })
  follow(step, draft.protocol.prompt(phase.process.protocol, turn.prompt, turnToken(turn.id), now))
}

export const cancel = (step: Step, id: TurnId | null, reply: TurnReply): void => {
  const { draft } = step
  if (draft.phase._tag === "Busy" && (id === null || draft.phase.running.turn.id === id)) {
    return giveUp(step, "cancelled", [reply])
  }
  if (id !== null) {
    const { mailbox, removed, promoted } = Mailbox.remove(draft.queue, (pending) => pending.turn.id === id)
    const victim = removed[0]
    if (victim !== undefined && victim.turn.firstSeq > 0) {
      acceptPromoted(step, mailbox, promoted)
      const turn = step.end(victim, { status: "cancelled", text: "", stopReason: "cancelled" })
      return step.act({ type: "replyTurn", to: reply, turn })
    }
  }
  step.act({
    type: "replyTurnFailed",
    to: reply,
    error: new TurnNotFound({ turn: id, session: draft.spec.name }),
  })
}

export const awaitEnd = (step: Step, id: TurnId, reply: TurnReply): void => {
  const { phase, queue, spec } = step.draft
  const open =
    (phase._tag === "Busy" && phase.running.turn.id === id) ||
    Mailbox.toArray(queue).some((pending) => pending.turn.id === id)
  const postponed = postponedIn(step, id)
  if (postponed !== undefined) step.act({ type: "replyTurnFailed", to: reply, error: postponed })
  else if (open) step.act({ type: "await", turn: id, reply })
  else step.act({ type: "replyTurnFailed", to: reply, error: new TurnNotFound({ turn: id, session: spec.name }) })
}

/** Forgets a turn that waits for room and whose caller went away. */
export const withdraw = (step: Step, id: TurnId): void => {
  const { draft } = step
  if (draft.queue.waiting.size === 0) return
  const unaccepted = (pending: PendingTurn) => pending.turn.id === id && pending.turn.firstSeq === 0
  const { mailbox, promoted } = Mailbox.remove(draft.queue, unaccepted)
  acceptPromoted(step, mailbox, promoted)
}

/** Ends the running turn early: by the protocol's own cancel where it has one, else by a new incarnation. */
const giveUp = (step: Step, status: Cancelling["status"], replies: ReadonlyArray<TurnReply>): void => {
  const { draft, now } = step
  if (draft.phase._tag !== "Busy") return
  const { running: it, process } = draft.phase
  if (it.cancelling !== null) {
    running(step, () => ({
      ...it,
      cancelling: { ...it.cancelling!, replies: [...it.cancelling!.replies, ...replies] },
    }))
  } else if (process.exit !== null) {
    // It answers nothing any more, and supervision decides what follows it.
    running(step, () => ({ ...it, cancelling: { status, deadline: now, replies } }))
    endRunning(step, { status, text: it.text, stopReason: status })
  } else if (draft.protocol.cancel === undefined) {
    running(step, () => ({ ...it, cancelling: { status, deadline: now, replies } }))
    replaceUnder(step, { status, text: it.text, stopReason: status })
  } else {
    running(step, () => ({ ...it, cancelling: { status, deadline: now + cancelGraceMs, replies } }))
    follow(step, draft.protocol.cancel(process.protocol))
  }
}

/** What the clock ends: turns whose time is up, running or queued, and silence. */
export const turnDeadlines = (step: Step): void => {
  const { draft, now } = step
  if (draft.queueDueAt !== null && draft.queueDueAt <= now) {
    const due = (pending: PendingTurn) => pending.dueAt !== null && pending.dueAt <= now
    const { mailbox, removed, promoted } = Mailbox.remove(draft.queue, due)
    acceptPromoted(step, mailbox, promoted)
    for (const pending of removed) {
      const accepted = pending.turn.firstSeq > 0 ? pending : step.accept(pending)
      endUnstarted(step, accepted, { status: "timed_out", text: "", stopReason: "timed_out" })
    }
    draft.queueDueAt = Mailbox.everything(draft.queue).reduce<number | null>(
      (least, { dueAt }) => (dueAt === null ? least : least === null ? dueAt : Math.min(least, dueAt)),
      null,
    )
  }
  if (Permissions.deadlines(step, follow)) giveUp(step, "cancelled", [])
  if (draft.phase._tag !== "Busy") return
  const { running: it } = draft.phase
  if (it.cancelling !== null) {
    if (it.cancelling.deadline <= now) {
      replaceUnder(step, { status: it.cancelling.status, text: it.text, stopReason: it.cancelling.status })
    }
    return
  }
  if (it.deadline <= now || (it.dueAt !== null && it.dueAt <= now)) return giveUp(step, "timed_out", [])
  const { stallTimeoutMs, onStall } = draft.spec
  // Who waits for an answer is not stalled.
  if (stallTimeoutMs === null || draft.requests.length > 0 || it.stalled || it.lastOutputAt + stallTimeoutMs > now)
    return
  // A tool may take its time in silence: that is told, and left alone.
  const reason = it.tools.length > 0 ? "working" : "silent"
  const action = reason === "working" ? "notify" : onStall
  step.append({ type: "turn/stalled", silentMs: now - it.lastOutputAt, reason, action }, it.turn.id)
  running(step, () => ({ ...it, stalled: true }))
  if (action === "notify") return
  if (onStall === "cancel") giveUp(step, "cancelled", [])
  else if (onStall === "restart") {
    const detail = `no output for ${stallTimeoutMs} ms`
    cutShort(step, { tag: "Stalled", message: detail })
    beginEnding(step, { aim: "replace" })
  }
}
