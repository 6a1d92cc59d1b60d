/**
 * How long to wait before a restart: at once for a child that had been stable, then exponential up to a
 * maximum, each wait shortened by a random part of itself so that children that fell together do not rise together.
 */
import type { BackoffSpec } from "../domain/SessionSpec.ts"

/** Consecutive restarts since the child was last stable. */
export interface ScheduleStep {
  readonly attempt: number
}

export const firstStep: ScheduleStep = { attempt: 0 }

/**
 * The next wait. `readyMs` is how long the child had been ready; `random` is in [0, 1).
 * A child that was stable starts the schedule anew, and its first restart is immediate.
 */
export const nextDelay = (
  step: ScheduleStep,
  spec: BackoffSpec,
  readyMs: number,
  random: number,
): { readonly step: ScheduleStep; readonly delayMs: number; readonly attempt: number } => {
  if (readyMs > 0 && readyMs >= spec.resetAfterMs) return { step: { attempt: 1 }, delayMs: 0, attempt: 1 }
  const attempt = step.attempt + 1
  // The power may be Infinity, and 0 × Infinity is not a number.
  const full = spec.initialMs === 0 ? 0 : Math.min(spec.maxMs, spec.initialMs * spec.factor ** step.attempt)
  return { step: { attempt }, delayMs: Math.round(full * (1 - spec.jitter * random)), attempt }
}
