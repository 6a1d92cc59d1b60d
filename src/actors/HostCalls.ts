/**
 * The part of the transition that concerns what a child asks its host to do: the session's rules decide, a client where they
 * say so; what is allowed is handed out to be done, and how it went is stepped into the protocol of the same process.
 */
import { decisionByRule } from "../domain/Permission.ts"
import type { HostAnswer } from "../protocols/HostCall.ts"
import type { ProtocolEvent, Step as ProtocolStep } from "../protocols/Protocol.ts"
import type { Step } from "./SessionDraft.ts"
import { processOf, type OpenCall } from "./SessionState.ts"

type Follow = (step: Step, next: ProtocolStep<unknown>) => void

/** Answers whether somebody has to be asked first. */
export const called = (
  step: Step,
  { call, what, tool, input }: Extract<ProtocolEvent, { readonly type: "call" }>,
  follow: Follow,
): "ask" | undefined => {
  const decision = decisionByRule(step.draft.spec.permissions, tool, input) ?? "allow"
  if (decision === "ask") return "ask"
  decided(step, { call, what }, decision === "allow", follow)
  return undefined
}

export const decided = (step: Step, { call, what }: OpenCall, isAllowed: boolean, follow: Follow): void => {
  if (isAllowed) return step.act({ type: "call", incarnation: step.draft.incarnation, call, what })
  returned(step, call, { type: "refused", reason: "denied", message: "is not allowed here" }, follow)
}

export const returned = (step: Step, call: string, answer: HostAnswer, follow: Follow): void => {
  const { draft } = step
  const process = processOf(draft.phase)
  if (process === null || draft.protocol.returned === undefined) return
  follow(step, draft.protocol.returned(process.protocol, call, answer))
}
