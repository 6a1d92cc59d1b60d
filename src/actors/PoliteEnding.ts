/**
 * The part of the transition that asks a child to end in its own way, as its protocol states, before the session's
 * `shutdown` begins. All steps together take at most half of `graceMs`; the signal has what they leave of it. Pure; the
 * signal, SIGKILL and the wait are `process/Termination`'s.
 */
import type { ShutdownSpec } from "../domain/SessionSpec.ts"
import type { PoliteStep } from "../protocols/PoliteStop.ts"
import type { Step } from "./SessionDraft.ts"
import { type Aim, answers, type Asking } from "./SessionState.ts"

/** The share of the grace that a protocol's own steps may take. */
const politeShare = 0.5

/** Who is to be replaced has shown that it does not listen. */
const isAsked = (aim: Aim): boolean => aim !== "replace" && aim !== "crash"

/** Only from an ending that has just begun. */
export const askToEnd = (step: Step, shutdown: ShutdownSpec): void => {
  const { draft, now } = step
  const { phase, protocol } = draft
  if (phase._tag !== "Ending") return
  const { process } = phase
  const listens = process !== null && answers(process) && isAsked(phase.aim)
  if (!listens || shutdown === "brutal_kill" || protocol.politeStop === undefined) {
    return step.act({ type: "terminate", shutdown })
  }
  const { state, steps } = protocol.politeStop(process.protocol)
  draft.phase = { ...phase, process: { ...process, protocol: state } }
  const until = now + Math.floor(shutdown.graceMs * politeShare)
  next(step, { rest: steps, begunAt: now, until, shutdown })
}

/** The next step; where there is none, or no time for one, the session's own `shutdown`. */
const next = (step: Step, asking: Omit<Asking, "step" | "at">): void => {
  const { draft, now } = step
  const { phase } = draft
  if (phase._tag !== "Ending") return
  const { begunAt, until, shutdown } = asking
  const [first, ...rest] = asking.rest
  if (first === undefined || until <= now) {
    draft.phase = { ...phase, asking: null }
    const graceMs = Math.max(0, shutdown.graceMs - (now - begunAt))
    return step.act({ type: "terminate", shutdown: { ...shutdown, graceMs } })
  }
  const at = Math.min(until, now + first.patienceMs)
  draft.phase = { ...phase, asking: { ...asking, step: first, rest, at } }
  step.act({ type: "askToEnd", step: first })
}

const waitsFor = (asked: PoliteStep, what: "turn" | "settled"): boolean =>
  asked.type === "write" && (asked.until === "turn" || asked.until === what)

/** The child has answered: its running turn has ended, or it says that it is done. */
export const settled = (step: Step, what: "turn" | "settled"): void => {
  const { phase } = step.draft
  if (phase._tag !== "Ending" || phase.asking === null || !waitsFor(phase.asking.step, what)) return
  next(step, phase.asking)
}

/** Its patience may be at its end. */
export const elapsed = (step: Step): void => {
  const { phase } = step.draft
  if (phase._tag === "Ending" && phase.asking !== null && phase.asking.at <= step.now) next(step, phase.asking)
}
