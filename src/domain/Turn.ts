/** A prompt on its way to one terminal outcome. Times are epoch milliseconds here, RFC 3339 on the wire. */
import type { SessionId, TurnId } from "./Ids.ts"
import type { Prompt } from "./Prompt.ts"

export const terminalTurnStatuses = ["completed", "failed", "cancelled", "timed_out", "lost"] as const
export type TerminalTurnStatus = (typeof terminalTurnStatuses)[number]
export type TurnStatus = "queued" | "running" | TerminalTurnStatus

/** What ended a turn badly: the tag of an error in `Errors`, or one of the protocol's own. */
export interface TurnError {
  readonly tag: string
  readonly message: string
  readonly [field: string]: unknown
}

export type Usage = Readonly<Record<string, number>>

export interface Turn {
  readonly id: TurnId
  readonly session: SessionId
  readonly status: TurnStatus
  readonly prompt: Prompt
  readonly text: string
  readonly stopReason: string | null
  readonly usage: Usage | null
  readonly error: TurnError | null
  readonly idempotencyKey: string | null
  /** It ends as `timed_out` so long after it was accepted; left out where only the session's own limit counts. */
  readonly timeoutMs?: number
  /** How often it was given to a process, for one that was put back after that. */
  readonly attempts?: number
  readonly queuedAt: number
  readonly startedAt: number | null
  readonly endedAt: number | null
  readonly firstSeq: number
  readonly lastSeq: number
}

export const isTerminal = (turn: Turn): boolean => turn.status !== "queued" && turn.status !== "running"
