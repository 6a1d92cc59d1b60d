/** The part of the transition that concerns turns: taking them in, giving them to the protocol, ending them. */
import { LimitReached, MailboxFull, TurnNotFound, type RuntimeError } from "../domain/Errors.ts"
import { describeExit } from "../domain/ExitReason.ts"
import { turnToken, type TurnId } from "../domain/Ids.ts"
import type { TurnError } from "../domain/Turn.ts"
import type { ProtocolEvent, Step as ProtocolStep } from "../protocols/Protocol.ts"
import * as Mailbox from "./Mailbox.ts"
import type { Ended, Step } from "./SessionDraft.ts"
import { becomeReady, beginEnding, beginStart, notRunning } from "./SessionPhases.ts"
import type { Cancelling, Incarnation, PendingTurn, RunningTurn, TurnReply } from "./SessionState.ts"

/** An answer longer than this (UTF-16 units) ends its turn with `LimitReached`: memory stays bounded. */
export const maxAnswerLength = 64 * 1024 * 1024

/** How long a protocol's own cancel may take before the incarnation is replaced. */
export const cancelGraceMs = 5_000

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
const refusal = (step: Step): RuntimeError => {
  const { phase } = step.draft
  return phase._tag === "Failed" && phase.error._tag === "RestartIntensityReached" ? phase.error : notRunning(step)
}

export const submit = (step: Step, pending: PendingTurn): void => {
  const { draft } = step
  const { phase } = draft
  if (
    phase._tag === "Stopped" ||
    phase._tag === "Failed" ||
    (phase._tag === "Ending" && (phase.aim === "stop" || phase.aim === "remove"))
  ) {
    step.act({ type: "refused", turn: pending.turn.id, error: refusal(step) })
    return
  }
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
const acceptPromoted = (
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

const endUnstarted = (step: Step, pending: PendingTurn, ended: Ended): void => {
  step.end(pending, ended)
}

/** Whether the process can still answer a prompt. */
const answers = (process: Incarnation): boolean => process.exit === null && process.eofAt === null

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
    requests: [],
  }
  step.enter({ _tag: "Busy", process: phase.process, since: phase.since, running })
  follow(step, draft.protocol.prompt(phase.process.protocol, turn.prompt, turnToken(turn.id), now))
}

/** Takes over what a protocol's step says. */
export const follow = (step: Step, next: ProtocolStep<unknown>): void => {
  const { draft } = step
  const { phase } = draft
  if (!("process" in phase) || phase.process === null) return
  if (next.state !== phase.process.protocol) {
    draft.phase = { ...phase, process: { ...phase.process, protocol: next.state } } as typeof phase
  }
  for (const event of next.events) protocolEvent(step, event)
}

/** Changes the running turn, if one runs. */
const running = (step: Step, change: (turn: RunningTurn) => RunningTurn): RunningTurn | undefined => {
  const { draft } = step
  if (draft.phase._tag !== "Busy") return undefined
  const next = change(draft.phase.running)
  draft.phase = { ...draft.phase, running: next }
  return next
}

/** Takes note that the child is not silent; answers the running turn. */
export const heard = (step: Step): RunningTurn | undefined =>
  running(step, (it) => ({ ...it, lastOutputAt: step.now, stalled: false }))

const protocolEvent = (step: Step, event: ProtocolEvent): void => {
  const { draft, now } = step
  const turn = draft.phase._tag === "Busy" ? draft.phase.running.turn.id : undefined
  switch (event.type) {
    case "ready":
      return becomeReady(step)
    case "write":
      return step.act({ type: "write", data: event.data, reply: null })
    case "delta": {
      // The rest of an answer that nobody waits for any more.
      if (turn === undefined) return void step.append({ type: "output", stream: "stdout", data: event.text })
      step.append({ type: "turn/delta", text: event.text }, turn)
      const changed = running(step, (it) => ({ ...it, text: it.text + event.text, lastOutputAt: now, stalled: false }))
      if (changed !== undefined && changed.text.length > maxAnswerLength) {
        const error = new LimitReached({ limit: "answerBytes", value: maxAnswerLength })
        replaceUnder(step, { status: "failed", text: changed.text, stopReason: "limit", error: turnError(error) })
      }
      return
    }
    case "thought":
      heard(step)
      step.append({ type: "turn/thought", text: event.text }, turn)
      return
    case "tool": {
      heard(step)
      const { type: _, ...tool } = event
      step.append({ type: "turn/tool", ...tool }, turn)
      return
    }
    case "native":
      heard(step)
      step.append({ type: "native", message: event.message }, turn)
      return
    case "output":
      heard(step)
      step.append({ type: "output", stream: "stdout", data: event.data }, turn)
      return
    case "ended":
      return finishTurn(step, event)
    case "deadline": {
      const { phase } = draft
      if ("process" in phase && phase.process !== null) {
        draft.phase = { ...phase, process: { ...phase.process, protocolDeadline: event.at } } as typeof phase
      }
      return
    }
    case "conversation":
      draft.conversation = event.id
      return
    case "permission":
      running(step, (it) => ({ ...it, requests: [...it.requests, event.request] }))
      step.append(
        {
          type: "permission/requested",
          request: event.request,
          tool: event.tool,
          input: event.input,
          options: event.options,
        },
        turn,
      )
      return
    case "authenticate":
      if (draft.phase._tag === "Starting") step.enter({ ...draft.phase, authenticating: true })
      return
    case "broken":
      // One that is being ended owes nobody a protocol.
      return draft.phase._tag === "Ending" ? undefined : broken(step, event.detail)
  }
}

/** The child cannot go on: its turn fails, and supervision hears of it as of a crash. */
export const broken = (step: Step, detail: string): void => {
  const { draft } = step
  step.append({ type: "note", text: detail })
  if (draft.phase._tag === "Busy") {
    cutShort(step, { tag: "ProtocolBroken", message: detail, detail })
  }
  beginEnding(step, { aim: "crash", detail })
}

/** The running turn came to its end in the protocol's words. */
const finishTurn = (step: Step, event: Extract<ProtocolEvent, { readonly type: "ended" }>): void => {
  const { draft } = step
  if (draft.phase._tag !== "Busy") return
  const { cancelling } = draft.phase.running
  const status = event.status === "cancelled" && cancelling !== null ? cancelling.status : event.status
  endRunning(step, { ...event, status })
}

const withdrawRequests = (step: Step, { requests, turn }: RunningTurn): void => {
  for (const request of requests) {
    step.append({ type: "permission/resolved", request, outcome: "cancelled", by: "turn" }, turn.id)
  }
}

/** Ends the running turn and answers those who cancelled it. The session is ready again. */
export const endRunning = (step: Step, ended: Ended): void => {
  const { draft, now } = step
  if (draft.phase._tag !== "Busy") return
  const { running: it, process, since } = draft.phase
  withdrawRequests(step, it)
  const turn = step.end(it, ended)
  it.cancelling?.replies.forEach((to) => step.act({ type: "replyTurn", to, turn }))
  const idle = draft.spec.idleTimeoutMs
  step.enter({ _tag: "Ready", process, since, idleAt: idle === null ? null : now + idle })
}

/** The process went away under the running turn: asked again where `retryTurns` allows, else failed. */
export const cutShort = (step: Step, error: TurnError): void => {
  const { draft } = step
  if (draft.phase._tag !== "Busy") return
  const { running: it } = draft.phase
  if (it.cancelling !== null) {
    endRunning(step, { status: it.cancelling.status, text: it.text, stopReason: it.cancelling.status })
  } else if (it.attempts <= draft.spec.retryTurns) {
    withdrawRequests(step, it)
    const turn = { ...it.turn, status: "queued" as const, startedAt: null }
    step.act({ type: "save", turn })
    step.append({ type: "note", text: `the turn will be asked again: ${error.message}` }, turn.id)
    draft.queue = Mailbox.putBack(draft.queue, { turn, attempts: it.attempts, dueAt: it.dueAt })
    step.watch(it.dueAt)
    step.enter({ _tag: "Ready", process: draft.phase.process, since: draft.phase.since, idleAt: null })
  } else {
    endRunning(step, { status: "failed", text: it.text, stopReason: null, error })
  }
}

/** Ends the running turn and replaces the process: what it may still say must not meet the next prompt. */
const replaceUnder = (step: Step, ended: Ended): void => {
  endRunning(step, ended)
  beginEnding(step, { aim: "replace" })
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
  if (open) step.act({ type: "await", turn: id, reply })
  else step.act({ type: "replyTurnFailed", to: reply, error: new TurnNotFound({ turn: id, session: spec.name }) })
}

/** Forgets a turn that waits for room and whose caller went away. */
export const withdraw = (step: Step, id: TurnId): void => {
  const { draft } = step
  if (draft.queue.waiting.size === 0) return
  const unaccepted = (pending: PendingTurn) => pending.turn.id === id && pending.turn.firstSeq === 0
  draft.queue = Mailbox.remove(draft.queue, unaccepted).mailbox
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

/** A line over the limit was skipped: it may have been the answer, so the turn cannot be trusted any more. */
export const oversize = (step: Step, bytes: number): void => {
  const { draft } = step
  const { lineBytes } = draft.spec.limits
  step.append({ type: "note", text: `a line of ${bytes} bytes was skipped; limits.lineBytes is ${lineBytes}` })
  if (draft.phase._tag === "Busy") {
    const error = new LimitReached({ limit: "lineBytes", value: lineBytes })
    replaceUnder(step, {
      status: "failed",
      text: draft.phase.running.text,
      stopReason: "limit",
      error: turnError(error),
    })
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
  if (stallTimeoutMs === null || it.stalled || it.lastOutputAt + stallTimeoutMs > now) return
  step.append({ type: "turn/stalled", silentMs: now - it.lastOutputAt, action: onStall }, it.turn.id)
  running(step, () => ({ ...it, stalled: true }))
  if (onStall === "cancel") giveUp(step, "cancelled", [])
  else if (onStall === "restart") {
    const detail = `no output for ${stallTimeoutMs} ms`
    cutShort(step, { tag: "Stalled", message: detail })
    beginEnding(step, { aim: "replace" })
  }
}

/** Ends every queued turn, and refuses those that waited for room: the session will not get to them. */
export const endQueue = (step: Step, ending: () => Ended): void => {
  const { draft } = step
  draft.queueDueAt = null
  if (draft.queue.items.size === 0 && draft.queue.waiting.size === 0) return
  const ended = ending()
  const { items, waiting, mailbox } = Mailbox.drain(draft.queue)
  draft.queue = mailbox
  for (const pending of items) endUnstarted(step, pending, ended)
  for (const pending of waiting) {
    step.act({ type: "refused", turn: pending.turn.id, error: refusal(step) })
  }
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
