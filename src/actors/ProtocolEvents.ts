/** The part of the transition that takes over what a protocol's step says, and what the child says that is no frame. */
import { LimitReached } from "../domain/Errors.ts"
import type { ProtocolEvent, Step as ProtocolStep } from "../protocols/Protocol.ts"
import type { Step } from "./SessionDraft.ts"
import { answer, becomeReady, beginEnding } from "./SessionPhases.ts"
import * as Calls from "./HostCalls.ts"
import * as Permissions from "./PermissionRequests.ts"
import * as PoliteEnding from "./PoliteEnding.ts"
import type { RunningTurn } from "./SessionState.ts"
import { cutShort, endRunning, replaceUnder, turnError } from "./TurnEndings.ts"

/** An answer longer than this (UTF-16 units) ends its turn with `LimitReached`: memory stays bounded. */
export const maxAnswerLength = 64 * 1024 * 1024

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
export const running = (step: Step, change: (turn: RunningTurn) => RunningTurn): RunningTurn | undefined => {
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
      running(step, (it) => ({ ...it, tools: toolsAfter(it.tools, event.toolId, event.status) }))
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
      return draft.phase._tag === "Ending" ? PoliteEnding.settled(step, "turn") : finishTurn(step, event)
    case "settled":
      return PoliteEnding.settled(step, "settled")
    case "deadline": {
      const { phase } = draft
      if ("process" in phase && phase.process !== null) {
        draft.phase = { ...phase, process: { ...phase.process, protocolDeadline: event.at } } as typeof phase
      }
      return
    }
    case "conversation":
      if (beginsAnew(step, event.id)) step.append({ type: "note", text: `a new conversation begins: ${event.id}` })
      draft.conversation = event.id
      draft.forkedFrom = null
      return
    case "permission":
      heard(step)
      return Permissions.requested(step, event, follow)
    case "call":
      heard(step)
      if (Calls.called(step, event, follow) === "ask") Permissions.requestedFor(step, event)
      return
    case "permissionWithdrawn":
      return Permissions.withdrawn(step, event.request)
    case "authenticate":
      return wantsAuthentication(step, event)
    case "broken":
      // One that is being ended owes nobody a protocol.
      return draft.phase._tag === "Ending" ? undefined : broken(step, event.detail)
  }
}

/** What was said before is not in it: its process ended too early for the agent to keep that, or the agent left it behind. */
const beginsAnew = ({ draft }: Step, id: string): boolean => {
  const { conversation, forkedFrom, incarnation, completed, failed, phase } = draft
  if (conversation !== null || forkedFrom !== null) return forkedFrom === null && conversation !== id
  const isAskedAgain = phase._tag === "Busy" && phase.running.attempts > 1
  return incarnation > 1 && (completed + failed > 0 || isAskedAgain)
}

/** As agents call the ends of their tools. */
const toolEnds: ReadonlySet<string> = new Set(["completed", "failed", "cancelled", "declined", "error"])

const toolsAfter = (tools: ReadonlyArray<string>, id: string, status: string): ReadonlyArray<string> => {
  if (toolEnds.has(status)) return tools.includes(id) ? tools.filter((other) => other !== id) : tools
  return tools.includes(id) ? tools : [...tools, id]
}

/** Whoever waits for the start hears of it now: without them it goes no further, and the clock waits as well. */
const wantsAuthentication = (
  step: Step,
  { methods, instructions }: Extract<ProtocolEvent, { readonly type: "authenticate" }>,
): void => {
  const { draft } = step
  const { phase } = draft
  if (phase._tag !== "Starting") return
  const cause = phase.cause === "initial" ? "client" : phase.cause
  step.enter(
    { ...phase, cause, authenticating: methods, deadline: null, replies: [] },
    `methods: ${methods.join(", ")}`,
  )
  if (instructions !== undefined) step.append({ type: "note", text: instructions })
  phase.replies.forEach((to) => answer(step, to))
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
