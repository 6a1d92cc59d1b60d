/** The client's public face: `import { connect } from "creche/client"`. */
export {
  type Client,
  type ClientSubscription,
  connect,
  type ConnectOptions,
  open,
  type RequestOptions,
  type SubscriptionEvent,
} from "./Client.ts"
export { CrecheError } from "./CrecheError.ts"
export type { Method, Params, Result } from "../transport/Contract.ts"
export type { SessionEvent, WireEntry, WireExit, WireSession, WireTurn } from "../transport/Wire.ts"
