/**
 * The part of the transition that concerns permissions: a request of the agent is answered by a rule, by the first client
 * that does, or by the clock; it is settled when its turn ends, when its process does, and when the agent takes it back.
 */
import { InvalidParams, RequestNotFound, Unsupported } from "../domain/Errors.ts"
import { decidePermission, optionFor, type PermissionOption } from "../domain/Permission.ts"
import type { ProtocolEvent, Step as ProtocolStep } from "../protocols/Protocol.ts"
import * as Calls from "./HostCalls.ts"
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
  const { request, tool, input, options } = event
  const open = opened(step, { own: request, tool, input, options, call: null })
  const decision = decidePermission(step.draft.spec.permissions, tool, input)
  if (decision !== "ask") settle(step, open, decision, "rule", undefined, follow)
}

const yesOrNo: ReadonlyArray<PermissionOption> = [
  { id: "allow", name: "Allow", kind: "allow_once" },
  { id: "deny", name: "Deny", kind: "reject_once" },
]

/** A rule wants somebody to be asked before this is done for the agent. */
export const requestedFor = (
  step: Step,
  { call, what, tool, input }: Extract<ProtocolEvent, { readonly type: "call" }>,
): void => void opened(step, { own: call, tool, input, options: yesOrNo, call: { call, what } })

const opened = (
  step: Step,
  { own, tool, input, options, call }: Pick<OpenRequest, "own" | "tool" | "input" | "options" | "call">,
): OpenRequest => {
  const { draft, now, at } = step
  const turn = draft.phase._tag === "Busy" ? draft.phase.running.turn.id : undefined
  // Agents count theirs anew in every process, and some use one twice: the place of its entry is its own.
  const request = `req${draft.seq + 1}`
  const seq = step.append({ type: "permission/requested", request, tool, input, options }, turn)
  const open: OpenRequest = {
    request,
    own,
    call,
    turn: turn ?? null,
    tool,
    input,
    options,
    requestedAt: at,
    deadline: now + draft.spec.permissions.timeoutMs,
    seq,
  }
  draft.requests = [...draft.requests, open]
  return open
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
  if (option === undefined || process === null) return false
  if (open.call !== null) {
    step.resolve(open, option.id, by)
    Calls.decided(step, open.call, option.kind === "allow_once", follow)
    return true
  }
  if (draft.protocol.answer === undefined) return false
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
