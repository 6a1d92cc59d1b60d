/** How a client comes back to its runtime: the pauses between attempts, pure. Used by `ReconnectingLink`. */

export interface Reconnect {
  /** Before the first attempt. Default 50. */
  readonly initialMs: number
  /** Each pause is so many times the one before. Default 2. */
  readonly factor: number
  /** Default 2000. */
  readonly maxMs: number
  /** A fraction of each pause, up or down, so that many clients do not come at once. Default 0.2. */
  readonly jitter: number
  /** How long a runtime may be away; then the client is over, with `ConnectionLost`. null: as long as it takes. Default 60000. */
  readonly withinMs: number | null
}

export const defaultReconnect: Reconnect = { initialMs: 50, factor: 2, maxMs: 2000, jitter: 0.2, withinMs: 60_000 }

/** Milliseconds before attempt 0, 1, 2 …; `random` is at least 0 and below 1. */
export const pauseMs = ({ initialMs, factor, maxMs, jitter }: Reconnect, attempt: number, random: number): number =>
  Math.min(maxMs, initialMs * factor ** attempt) * (1 + jitter * (2 * random - 1))
