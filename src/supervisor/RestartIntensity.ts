/**
 * The limit on restarts, as OTP has it: more charges than `maxRestarts` within `withinMs` mean giving up. The window
 * slides, exact to the millisecond. Time spent waiting in backoff, starting or being ended does not count as time passed:
 * a schedule or a start that is slower than the window could otherwise hide a crash loop for ever.
 */
import type { IntensitySpec } from "../domain/SessionSpec.ts"

export interface ChargeHistory {
  /** Times of the charges that may still count, oldest first, on a clock that stands still while there is no use of the child. */
  readonly charges: ReadonlyArray<number>
  /** How long that clock stood still since the history began (ms). */
  readonly waitedMs: number
}

export const noCharges: ChargeHistory = { charges: [], waitedMs: 0 }

/** Charges one restart at `now`. `reached`: it is one too many. */
export const charge = (
  history: ChargeHistory,
  spec: IntensitySpec,
  now: number,
): { readonly history: ChargeHistory; readonly reached: boolean } => {
  const time = now - history.waitedMs
  const charges = [...history.charges.filter((at) => time - at < spec.withinMs), time]
  return { history: { ...history, charges }, reached: charges.length > spec.maxRestarts }
}

/** Takes note of time that does not count: gone by since the last charge, or about to be waited. */
export const waited = (history: ChargeHistory, delayMs: number): ChargeHistory =>
  history.charges.length === 0 ? history : { ...history, waitedMs: history.waitedMs + delayMs }
