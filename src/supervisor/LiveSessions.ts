/**
 * The gate that every start passes: keeps who has a place among the live sessions and who waits for one, first come, first
 * served. What is to be done is `AdmissionPolicy`'s to say; what sessions do is their actors'. Without limits it keeps
 * nothing. Called by `SessionSupervisor`; costs of a step do not grow with the number of sessions that have no place.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SessionActor } from "../actors/SessionActor.ts"
import { isIdle, processOf, type SessionState } from "../actors/SessionState.ts"
import type { LimitReached } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import { believedMs } from "../process/ProcessCount.ts"
import { type IdleSession, isLimited, nextMove, type Residents } from "./AdmissionPolicy.ts"
import type { AdmissionSpec } from "./RuntimeConfig.ts"

export type Occupancy =
  | { readonly _tag: "Busy" }
  /** Nothing to do, last of use at `since` (epoch ms). */
  | { readonly _tag: "Idle"; readonly since: number }
  /** Its process is being ended and no other follows. */
  | { readonly _tag: "Leaving" }

/** A session as the gate sees it. */
export interface Resident {
  readonly id: SessionId
  readonly occupancy: Occupancy
  /** The pid of its command; null while it has none. */
  readonly leader: number | null
  /** Suspends it if it is idle still; `passedOver` is called when it is not, or not any more. */
  makeRoom(passedOver: () => void): void
}

/** Least recently used goes by its last turn, or by when it became ready where no turn has come since. */
const occupancyOf = (state: SessionState): Occupancy => {
  const { phase, lastActiveAt, skewMs } = state
  if (phase._tag === "Ready" && isIdle(state)) {
    return { _tag: "Idle", since: Math.max(lastActiveAt, phase.since + skewMs) }
  }
  const leaves = phase._tag === "Ending" && (phase.aim === "stop" || phase.aim === "remove" || phase.aim === "suspend")
  return leaves ? { _tag: "Leaving" } : { _tag: "Busy" }
}

export class SessionResident implements Resident {
  readonly #actor: SessionActor

  constructor(actor: SessionActor) {
    this.#actor = actor
  }

  get id(): SessionId {
    return this.#actor.id
  }

  get occupancy(): Occupancy {
    return occupancyOf(this.#actor.state)
  }

  get leader(): number | null {
    return processOf(this.#actor.state.phase)?.pid ?? null
  }

  makeRoom(passedOver: () => void): void {
    this.#actor.post({ type: "makeRoom", reply: (exit) => (Exit.isFailure(exit) ? passedOver() : undefined) })
  }
}

export interface LiveSessionsOptions {
  readonly admission: AdmissionSpec
  /** Processes of the sessions whose commands have these pids; null counts as one. */
  readonly countProcesses: (leaders: Iterable<number | null>) => number
  /** True: nobody is let in any more, nobody made to leave. */
  readonly isClosed: () => boolean
  /** Calls back once, after so long (ms). */
  readonly later: (delayMs: number, callback: () => void) => void
}

interface Place {
  readonly resident: Resident
  /** It was asked to leave, and that for somebody who waits. */
  asked: boolean
}

interface Waiter {
  readonly resident: Resident
  readonly resume: (effect: Effect.Effect<void, LimitReached>) => void
}

/** Nobody tells of a process that ended within a tree: while starts wait for processes they are counted anew (ms). */
const recountMs = 2 * believedMs

export class LiveSessions {
  readonly #options: LiveSessionsOptions
  readonly #limited: boolean
  readonly #places = new Map<SessionId, Place>()
  readonly #waiting = new Map<SessionId, Waiter>()
  #recounting = false

  constructor(options: LiveSessionsOptions) {
    this.#options = options
    this.#limited = isLimited(options.admission)
  }

  /** Sessions with a place, and starts that wait for one; 0 without limits. */
  get size(): { readonly live: number; readonly waiting: number } {
    return { live: this.#places.size, waiting: this.#waiting.size }
  }

  /**
   * Succeeds once the session has a place, which is its own until `release`. One that it has still it keeps, unless it was
   * asked to leave for somebody who waits. Interrupted while it waits, it leaves the queue.
   */
  acquire(resident: Resident): Effect.Effect<void, LimitReached> {
    if (!this.#limited) return Effect.void
    return Effect.callback<void, LimitReached>((resume) => {
      const { id } = resident
      const waiter: Waiter = { resident, resume }
      const place = this.#places.get(id)
      if (place !== undefined && (!place.asked || this.#waiting.size === 0)) {
        this.#places.set(id, { resident, asked: false })
        resume(Effect.void)
        // Somebody may have counted on its leaving.
        this.#decide()
        return undefined
      }
      this.#places.delete(id)
      this.#waiting.set(id, waiter)
      this.#decide()
      return Effect.sync(() => {
        if (this.#waiting.get(id) === waiter) this.#waiting.delete(id)
      })
    })
  }

  /** Nothing of its process is left, and no other follows at once. For a session without a place it changes nothing. */
  release(id: SessionId): void {
    if (this.#places.delete(id)) this.#decide()
  }

  /** A session has nothing to do, or is about to leave. */
  rested(): void {
    if (this.#waiting.size > 0) this.#decide()
  }

  #decide(): void {
    const { admission, isClosed } = this.#options
    if (this.#waiting.size === 0 || isClosed()) return
    const { admit, suspend, refuse, error } = nextMove(admission, {
      live: this.#places.size,
      processes: this.#processes(),
      waiting: this.#waiting.size,
      residents: () => this.#residents(),
    })
    // Everything is noted down before anybody hears of it: who is called may call back.
    const waiters = [...this.#waiting.values()]
    const admitted = waiters.slice(0, admit)
    const refused = refuse === 0 ? [] : waiters.slice(-refuse)
    const leaving = suspend.map((id) => this.#places.get(id)!)
    for (const { resident } of refused) this.#waiting.delete(resident.id)
    for (const { resident } of admitted) {
      this.#waiting.delete(resident.id)
      this.#places.set(resident.id, { resident, asked: false })
    }
    for (const place of leaving) place.asked = true
    for (const { resume } of admitted) resume(Effect.void)
    for (const { resume } of refused) resume(Effect.fail(error!))
    for (const place of leaving) place.resident.makeRoom(() => this.#passedOver(place))
    this.#recount()
  }

  /** It became busy before it could be suspended: another one, then. */
  #passedOver(place: Place): void {
    if (this.#places.get(place.resident.id) !== place) return
    place.asked = false
    this.#decide()
  }

  #processes(): number {
    if (this.#options.admission.maxLiveProcesses === null) return this.#places.size
    const leaders = Array.from(this.#places.values(), ({ resident }) => resident.leader)
    return this.#options.countProcesses(leaders)
  }

  #residents(): Residents {
    const idle: Array<IdleSession> = []
    let leaving = 0
    for (const { resident, asked } of this.#places.values()) {
      if (asked) {
        leaving++
        continue
      }
      const { occupancy } = resident
      if (occupancy._tag === "Leaving") leaving++
      else if (occupancy._tag === "Idle") idle.push({ id: resident.id, since: occupancy.since })
    }
    return { idle, leaving }
  }

  #recount(): void {
    if (this.#recounting || this.#waiting.size === 0 || this.#options.admission.maxLiveProcesses === null) return
    this.#recounting = true
    this.#options.later(recountMs, () => {
      this.#recounting = false
      this.#decide()
    })
  }
}
