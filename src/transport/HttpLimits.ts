/** How large, how long, how many: what the HTTP server holds its peers to, with the defaults. */
import { defaultLimitBytes } from "./MessageDecoder.ts"

export interface HttpLimits {
  /** A body, and a WebSocket's message. Default 16 MiB. */
  readonly maxMessageBytes: number
  /** Requests under way at once by one caller. Default 1000. */
  readonly maxPending: number
  /** Event streams open at once. Default 10000. */
  readonly maxStreams: number
  /** Of bodies that come in and answers that go out, together. Default 512 MiB. */
  readonly maxHeldBytes: number
  /** TCP connections. Default 20000. */
  readonly maxConnections: number
  /** A request's headers, and the whole of a request, have to be there within. Defaults 10 s and 60 s; then 408. */
  readonly headersMs: number
  readonly requestMs: number
  /** Something is sent on a stream at least that often. Default 15 s. */
  readonly heartbeatMs: number
  /** A peer that takes nothing of what is there for it is cut off after that; it may come back. Default 60 s. */
  readonly stalledMs: number
  /** How long the answers that are due may take once the scope closes. Default 1 s. */
  readonly closeMs: number
}

export const defaultLimits: HttpLimits = {
  maxMessageBytes: defaultLimitBytes,
  maxPending: 1000,
  maxStreams: 10_000,
  maxHeldBytes: 512 * 1024 * 1024,
  maxConnections: 20_000,
  headersMs: 10_000,
  requestMs: 60_000,
  heartbeatMs: 15_000,
  stalledMs: 60_000,
  closeMs: 1000,
}

/** Of a request's line and headers together. */
export const maxHeaderBytes = 16_384
