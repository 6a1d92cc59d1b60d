/** When a session wants to be told that time has passed: the earliest of all that may be due in its phase. Pure. */
import { eofGraceMs, isBeingRemoved, type Incarnation, type SessionState } from "./SessionState.ts"

const earlier = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.min(a, b)

const processDeadline = (process: Incarnation | null): number | null =>
  process === null
    ? null
    : earlier(
        process.protocolDeadline,
        process.eofAt === null || process.exit !== null ? null : process.eofAt + eofGraceMs,
      )

/** When the session wants the next `tick` (epoch ms); null: never. */
export const nextDeadline = (state: SessionState): number | null => {
  const { phase, spec } = state
  const asked = state.requests.reduce<number | null>((least, { deadline }) => earlier(least, deadline), null)
  const always = earlier(earlier(isBeingRemoved(phase) ? null : state.expiresAt, state.queueDueAt), asked)
  switch (phase._tag) {
    case "Starting":
      return earlier(always, earlier(phase.deadline, processDeadline(phase.process)))
    case "Ready":
      return earlier(always, earlier(phase.idleAt, processDeadline(phase.process)))
    case "Busy": {
      const { running } = phase
      const stallAt =
        spec.stallTimeoutMs === null || state.requests.length > 0 || running.stalled || running.cancelling !== null
          ? null
          : running.lastOutputAt + spec.stallTimeoutMs
      const end = running.cancelling === null ? earlier(running.deadline, running.dueAt) : running.cancelling.deadline
      return earlier(earlier(always, processDeadline(phase.process)), earlier(end, stallAt))
    }
    case "Backoff":
      return earlier(always, phase.until)
    case "Deciding":
    case "Gone":
      return null
    case "Ending":
      return earlier(always, phase.asking === null ? null : phase.asking.at)
    case "Parked":
    case "Suspended":
    case "Stopped":
    case "Failed":
      return always
  }
}
