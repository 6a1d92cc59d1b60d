/**
 * The client: promises and iterations over a link to a runtime, typed by the contract. Decides nothing and keeps nothing:
 * each of its short forms is one request or a row of them. Used by the CLI and by programs.
 */
import type { Duplex } from "node:stream"
import type { Params, WireHit } from "../transport/Contract.ts"
import type { WireEntry, WireSession, WireTurn } from "../transport/Wire.ts"
import type { Link } from "./Link.ts"
import {
  each,
  entriesOf,
  type HistoryPages,
  historyPages,
  type Missed,
  type RequestOptions,
  type SessionPages,
  sessionPages,
  type TranscriptPages,
} from "./Pages.ts"
import { SessionHandle } from "./SessionHandle.ts"
import { streamLink } from "./StreamLink.ts"

export interface Client extends Link, AsyncDisposable {
  readonly start: (spec: Params<"session/start">, options?: RequestOptions) => Promise<WireSession>
  readonly tell: (params: Params<"session/tell">, options?: RequestOptions) => Promise<WireTurn>
  /** Every session that matches, in order of creation. */
  readonly sessions: (query?: SessionPages, options?: RequestOptions) => AsyncGenerator<WireSession, void>
  /**
   * Every entry that is there, in order, and then the end; `subscribe` goes on with what comes. With `all`, also what is
   * over the session's limits and still archived. Of what is no longer kept, `onMissed` is told before the entries after it.
   */
  readonly transcript: (
    query: TranscriptPages,
    options?: RequestOptions & { readonly onMissed?: (missed: Missed) => void },
  ) => AsyncGenerator<WireEntry, void>
  /** Every turn of the session, newest first, open ones among them. */
  readonly history: (query: HistoryPages, options?: RequestOptions) => AsyncGenerator<WireTurn, void>
  /** One session by name, task or id, whether it is there yet or not: what can be done with it, without naming it each time. */
  readonly session: (session: string) => SessionHandle
  /** Turns whose prompt or answer holds the words, newest first. */
  readonly search: (params: Params<"session/search">, options?: RequestOptions) => Promise<ReadonlyArray<WireHit>>
}

/** A client over a link. */
export const clientOf = (link: Link): Client => {
  const { request } = link
  return {
    ...link,
    start: (spec, options) => request("session/start", spec, options),
    tell: (params, options) => request("session/tell", params, options),
    sessions: (query, options) => each(sessionPages(request, query, options)),
    transcript: (query, options) => entriesOf(request, query, options),
    history: (query, options) => each(historyPages(request, query, options)),
    search: async (params, options) => (await request("session/search", params, options)).hits,
    session: (session) => new SessionHandle(link, session),
    [Symbol.asyncDispose]: link.close,
  }
}

/** A client over a connection that is open already. */
export const open = (stream: Duplex): Client => clientOf(streamLink(stream))
