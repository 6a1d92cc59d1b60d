/**
 * What a supervisor says to the end of a child, as one pure function of its spec, its history, and the time (on a clock
 * that never goes back).
 * one_for_one: nobody else is touched.
 */
import type { Decision, ExitReport } from "../actors/SessionEvent.ts"
import { RestartIntensityReached } from "../domain/Errors.ts"
import type { BackoffSpec, IntensitySpec, RestartType } from "../domain/SessionSpec.ts"
import { charge, noCharges, waited, type ChargeHistory } from "./RestartIntensity.ts"
import { firstStep, nextDelay, type ScheduleStep } from "./RestartSchedule.ts"

export interface RestartHistory {
  readonly charges: ChargeHistory
  readonly step: ScheduleStep
}

export const noHistory: RestartHistory = { charges: noCharges, step: firstStep }

export interface RestartSpec {
  readonly name: string
  readonly restart: RestartType
  readonly backoff: BackoffSpec
  readonly intensity: IntensitySpec
}

/** Whether the restart type wants the child back at all. */
export const wantsRestart = (restart: RestartType, normal: boolean): boolean =>
  restart === "permanent" || (restart === "transient" && !normal)

export const decide = (
  spec: RestartSpec,
  history: RestartHistory,
  report: ExitReport,
  now: number,
  random: number,
  /** Takes a place in the queue for spawns that all restarts share, and says how long it is (ms). */
  queue: () => number = () => 0,
): { readonly history: RestartHistory; readonly decision: Decision } => {
  if (!wantsRestart(spec.restart, report.normal)) return { history, decision: { _tag: "Done" } }
  const { maxRestarts, withinMs } = spec.intensity
  // What was not ready time since the start began was no use of the child.
  const charged = charge(waited(history.charges, report.elapsedMs - report.readyMs), spec.intensity, now)
  if (charged.reached) {
    const error = new RestartIntensityReached({ session: spec.name, maxRestarts, withinMs })
    return { history: { ...history, charges: charged.history }, decision: { _tag: "GiveUp", error } }
  }
  const { step, delayMs: scheduledMs, attempt } = nextDelay(history.step, spec.backoff, report.readyMs, random)
  const delayMs = Math.max(scheduledMs, queue())
  return {
    history: { charges: waited(charged.history, delayMs), step },
    decision: { _tag: "Restart", delayMs, attempt },
  }
}
