/** The client's public face: `import { connect } from "creche/client"`. */
export { type Client, type ClientSubscription, type Ending, open, type SubscriptionEvent } from "./Client.ts"
export { connect, type ConnectOptions } from "./Connect.ts"
export { CrecheError } from "./CrecheError.ts"
export type { HistoryPages, Missed, RequestOptions, SessionPages, TranscriptPages } from "./Pages.ts"
export type { Method, Params, Result, WireHit } from "../transport/Contract.ts"
export type { SessionEvent, WireEntry, WireExit, WireSession, WireTurn } from "../transport/Wire.ts"
