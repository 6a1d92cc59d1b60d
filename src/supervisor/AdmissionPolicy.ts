/**
 * What becomes of starts when only so many sessions may be live: who is let in, who is suspended to make room, who is
 * refused. Pure: it is shown how things stand and answers with the next move. `LiveSessions` keeps the score and makes it.
 */
import { LimitReached } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { AdmissionSpec } from "./RuntimeConfig.ts"

export interface IdleSession {
  readonly id: SessionId
  /** When it was last of use (epoch ms). */
  readonly since: number
}

/** Sessions with a place. Looked at only when there is not room for all. */
export interface Residents {
  /** Ready, no turn waiting, and not asked to leave yet; in any order. */
  readonly idle: ReadonlyArray<IdleSession>
  /** How many were asked to leave, or leave of themselves. */
  readonly leaving: number
}

export interface Standing {
  /** Places taken, by those that leave too. */
  readonly live: number
  /** Processes of the sessions that have a place; at least one each. */
  readonly processes: number
  /** Starts that wait, in the order in which they came. */
  readonly waiting: number
  readonly residents: () => Residents
}

export interface Move {
  /** So many of those that wait longest. */
  readonly admit: number
  /** The least recently used first. */
  readonly suspend: ReadonlyArray<SessionId>
  /** So many of those that came last. */
  readonly refuse: number
  /** What they are told. */
  readonly error: LimitReached | null
}

const admitAll = (admit: number): Move => ({ admit, suspend: [], refuse: 0, error: null })

export const isLimited = ({ maxLiveSessions, maxLiveProcesses }: AdmissionSpec): boolean =>
  maxLiveSessions !== null || maxLiveProcesses !== null

/** For one start there is one that leaves: nobody is suspended for nothing, nobody refused whom somebody makes room for. */
export const nextMove = (spec: AdmissionSpec, standing: Standing): Move => {
  const { live, processes, waiting } = standing
  const forSessions = (spec.maxLiveSessions ?? Infinity) - live
  const forProcesses = (spec.maxLiveProcesses ?? Infinity) - processes
  const admit = Math.min(waiting, Math.max(0, Math.min(forSessions, forProcesses)))
  if (admit === waiting) return admitAll(admit)
  const { idle, leaving } = standing.residents()
  const short = waiting - admit - leaving
  if (short <= 0) return admitAll(admit)
  const suspend = idle
    .toSorted((a, b) => a.since - b.since)
    .slice(0, short)
    .map(({ id }) => id)
  const refuse = spec.whenFull === "refuse" ? short - suspend.length : 0
  if (refuse === 0) return { admit, suspend, refuse, error: null }
  const limit = forSessions <= forProcesses ? "maxLiveSessions" : "maxLiveProcesses"
  return { admit, suspend, refuse, error: new LimitReached({ limit, value: spec[limit]! }) }
}
