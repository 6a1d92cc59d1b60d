/**
 * What a client is made of: one way to a runtime, that answers requests, streams turns and feeds subscriptions. Types alone.
 * `StreamLink` is one over a connection, `ReconnectingLink` one that outlives them; `Client` puts its short forms on top.
 */
import type { Params } from "../transport/Contract.ts"
import type { MissedRange, WireEntry, WireTurn } from "../transport/Wire.ts"
import type { Request, RequestOptions } from "./Pages.ts"

/** An entry, or word of entries that were dropped before they could be read. */
export type SubscriptionEvent = { readonly entry: WireEntry } | { readonly missed: MissedRange }

/** Why a subscription gives no more: its session was removed, its caller closed it, the connection is over. */
export type Ending = "removed" | "closed" | "lost"

/** Iterate it once. Leaving the loop ends the subscription. */
export interface ClientSubscription extends AsyncIterable<SubscriptionEvent> {
  readonly id: string
  /** undefined while events may come. */
  readonly ending: () => Ending | undefined
  readonly close: () => Promise<void>
}

export type AskOptions = RequestOptions & {
  /**
   * Called with each transcript entry of the turn as it comes, before the answer; the next one waits for the promise
   * that this one gave. Meanwhile nothing more is read, unless another request waits for its answer.
   */
  readonly onEntry?: (entry: WireEntry) => unknown
  /** Called at once where entries were dropped before they could be read; those that came before may still wait for `onEntry`. */
  readonly onMissed?: (missed: MissedRange) => void
}

export interface Link {
  readonly request: Request
  /** The turn once it ended; a turn that did not complete is a result too. */
  readonly ask: (params: Params<"session/ask">, options?: AskOptions) => Promise<WireTurn>
  readonly subscribe: (params: Params<"session/subscribe">, options?: RequestOptions) => Promise<ClientSubscription>
  readonly close: () => Promise<void>
  /** Resolves once it is over, for whatever reason. */
  readonly closed: Promise<void>
}
