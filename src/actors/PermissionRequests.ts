/**
 * The part of the transition that concerns permissions: a request of the agent is answered by a rule, by the first client
 * that does, or by the clock; it is settled when its turn ends, when its process does, and when the agent takes it back.
 */
import { InvalidParams, RequestNotFound, Unsupported } from "../domain/Errors.ts"
import { decidePermission, optionFor } from "../domain/Permission.ts"
import type { ProtocolEvent, Step as ProtocolStep } from "../protocols/Protocol.ts"
import type { Step } from "./SessionDraft.ts"
import type { SessionEvent } from "./SessionEvent.ts"
import { answer } from "./SessionPhases.ts"
import { processOf, type OpenRequest } from "./SessionState.ts"

type Follow = (step: Step, next: ProtocolStep<unknown>) => void

export const requested = (
  step: Step,
  event: Extract<ProtocolEvent, { readonly type: "permission" }>,
  follow: Follow,
): void => {
  const { draft, now, at } = step
  const { tool, input, options } = event
  const { permissions } = draft.spec
  const turn = draft.phase._tag === "Busy" ? draft.phase.running.turn.id : undefined
  // Agents count theirs anew in every process, and some use one twice: the place of its entry is its own.
  const request = `req${draft.seq + 1}`
  const seq = step.append({ type: "permission/requested", request, tool, input, options }, turn)
  const deadline = now + permissions.timeoutMs
  const open: OpenRequest = {
    request,
    own: event.request,
    turn: turn ?? null,
    tool,
    input,
    options,
    requestedAt: at,
    deadline,
    seq,
  }
  draft.requests = [...draft.requests, open]
  const decision = decidePermission(permissions, tool, input)
  if (decision !== "ask") settle(step, open, decision, "rule", undefined, follow)
}

/** Answers one with what the outcome means among its options; false: it means none of them, and nothing has happened. */
const settle = (
  step: Step,
  open: OpenRequest,
  outcome: string,
  by: string,
  result: unknown,
  follow: Follow,
): boolean => {
  const { draft } = step
  const option = optionFor(open.options, outcome)
  const process = processOf(draft.phase)
  if (option === undefined || draft.protocol.answer === undefined || process === null) return false
  step.resolve(open, option.id, by)
  follow(step, draft.protocol.answer(process.protocol, open.own, option.id, result))
  return true
}

/** A client answers. The first answer wins: of a second one nothing is known any more. */
export const answered = (
  step: Step,
  event: Extract<SessionEvent, { readonly type: "answer" }>,
  follow: Follow,
): void => {
  const { draft } = step
  const { request, outcome, by, result, reply } = event
  const open = draft.requests.find((each) => each.request === request)
  if (open === undefined) return answer(step, reply, new RequestNotFound({ session: draft.spec.name, request }))
  if (settle(step, open, outcome, by, result, follow)) return answer(step, reply)
  if (draft.protocol.answer === undefined) {
    const detail = `the protocol ${draft.protocol.name} takes no answers`
    return answer(step, reply, new Unsupported({ what: "session/answer", detail }))
  }
  const ids = open.options.map(({ id }) => JSON.stringify(id)).join(", ")
  const message = `means none of the options of this request: ${ids}`
  answer(step, reply, new InvalidParams({ issues: [{ path: "outcome", message }] }))
}

/** The agent wants no answer any more. */
export const withdrawn = (step: Step, own: string): void => {
  const open = step.draft.requests.find((each) => each.own === own)
  if (open !== undefined) step.resolve(open, "cancelled", "agent")
}

/** What the clock answers. Returns whether some request can only be answered by giving up its turn. */
export const deadlines = (step: Step, follow: Follow): boolean => {
  const { draft, now } = step
  let isStuck = false
  for (const open of draft.requests.filter(({ deadline }) => deadline <= now)) {
    if (settle(step, open, draft.spec.permissions.onTimeout, "timeout", undefined, follow)) continue
    step.resolve(open, "cancelled", "timeout")
    isStuck = true
  }
  return isStuck
}
