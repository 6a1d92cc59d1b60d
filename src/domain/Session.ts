/** A session as clients see it and as the store keeps it. Times are epoch milliseconds here, RFC 3339 on the wire. */
import type { ExitReason } from "./ExitReason.ts"
import type { SessionId } from "./Ids.ts"
import type { PendingRequest } from "./Permission.ts"
import type { SessionSpec } from "./SessionSpec.ts"
import type { Usage } from "./Turn.ts"

export const sessionStatuses = [
  "starting",
  "authenticating",
  "ready",
  "busy",
  "backoff",
  "suspended",
  "stopping",
  "stopped",
  "failed",
] as const
export type SessionStatus = (typeof sessionStatuses)[number]

/**
 * How a process tree is held, from weak to strong: `group`: the process group alone. `guard`: the whole tree, also setsid
 * and daemons, also when the runtime dies. `namespace` and `cgroup`: the same, and the kernel itself ends the tree.
 */
export const containments = ["group", "guard", "namespace", "cgroup"] as const
export type Containment = (typeof containments)[number]

/** Whether a level is to be had here; if not, `detail` says why, and what would have to change. */
export interface LevelReport {
  readonly level: Containment
  readonly available: boolean
  readonly detail: string
}

/** The level that `auto` gives here, and every level there is. */
export interface ContainmentReport {
  readonly level: Containment
  readonly detail: string
  readonly levels: ReadonlyArray<LevelReport>
}

export interface TurnCounts {
  readonly queued: number
  readonly running: number
  readonly completed: number
  /** Ended in any other way: failed, cancelled, timed_out, lost. */
  readonly failed: number
}

/** One past end of a process of this session, newest last. */
export interface Death {
  readonly incarnation: number
  readonly exit: ExitReason
  /** The last bytes that it wrote to stderr, at most 2 KiB. */
  readonly stderrTail: string
}

/** Who ended the process of a suspended session: `runtime` when it ended itself, `room` to make room for another session, `budget` when a budget was used up. */
export type SuspendedBy = "client" | "idle" | "room" | "runtime" | "budget"

export interface Session {
  readonly id: SessionId
  readonly name: string
  readonly supervisor: string
  readonly status: SessionStatus
  readonly spec: SessionSpec
  /** The command's own process; null when there is none. */
  readonly pid: number | null
  /** Counts processes of this session: 1 is the first. */
  readonly incarnation: number
  /** Restarts that supervision made; those that a client asked for are not counted. */
  readonly restarts: number
  readonly turns: TurnCounts
  readonly containment: Containment | null
  readonly agentSessionId: string | null
  /** The agent's conversation that it was forked from, until its own has an id. */
  readonly forkedFrom: string | null
  /** null while it is neither suspended nor on its way there. */
  readonly suspendedBy: SuspendedBy | null
  /** Permission requests of the agent that wait for an answer. */
  readonly pendingRequests: ReadonlyArray<PendingRequest>
  readonly createdAt: number
  readonly lastActiveAt: number
  readonly expiresAt: number | null
  readonly exit: ExitReason | null
  readonly deaths: ReadonlyArray<Death>
  /** Pids that could not be killed when a process tree of the session was ended; normally none. */
  readonly survivors: ReadonlyArray<number>
  readonly usage: Usage | null
  /** `seq` of the newest transcript entry; 0 before the first. */
  readonly seq: number
}

/** Whether the session has, or is about to have, a process. */
export const isLive = (status: SessionStatus): boolean =>
  status !== "suspended" && status !== "stopped" && status !== "failed"
