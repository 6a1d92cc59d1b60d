/**
 * What comes page by page, as one iteration: a transcript, a history, a list of sessions. The next page is asked for once the
 * one before was taken, so that a reader holds one page however much there is. Called by `Client` and by the CLI.
 */
import type { Method, Params, Result, WireHistory, WireList, WirePage } from "../transport/Contract.ts"
import type { WireEntry, WireSession, WireTurn } from "../transport/Wire.ts"
import { CrecheError } from "./CrecheError.ts"

export interface RequestOptions {
  /** Aborting cancels the request; it then fails with the tag `RequestCancelled`. */
  readonly signal?: AbortSignal
}

export type Request = <M extends Method>(method: M, params: Params<M>, options?: RequestOptions) => Promise<Result<M>>

/** Entries with after < seq ≤ through, which are no longer kept. */
export interface Missed {
  readonly after: number
  readonly through: number
}

export type TranscriptPages = Omit<Params<"session/transcript">, "limit"> & {
  /** The last `seq` that is wanted. Default: what is there when the end is reached. */
  readonly through?: number
  /** How many entries are asked for at a time; default 500. */
  readonly pageSize?: number
}

export type HistoryPages = Omit<Params<"session/history">, "limit"> & {
  /** How many turns are asked for at a time; default 100. */
  readonly pageSize?: number
}

export type SessionPages = Omit<Params<"session/list">, "limit" | "cursor"> & {
  /** How many sessions are asked for at a time; default 500. */
  readonly pageSize?: number
}

/** A page that was under way may be answered before the runtime hears that it is not wanted: the next is not asked for. */
const goOn = ({ signal }: RequestOptions): void => {
  if (signal?.aborted === true) throw new CrecheError(-32800, "the caller gave it up", { tag: "RequestCancelled" })
}

export interface TranscriptPage {
  /** In order; none where all that was looked at was filtered out, or is gone. */
  readonly entries: ReadonlyArray<WireEntry>
  /** What is gone before them. */
  readonly missed: Missed | undefined
  /** Looked at so far. */
  readonly nextAfter: number
}

export async function* transcriptPages(
  request: Request,
  { pageSize = 500, through = Number.MAX_SAFE_INTEGER, ...query }: TranscriptPages,
  options: RequestOptions = {},
): AsyncGenerator<TranscriptPage, void> {
  let after = query.after ?? 0
  while (after < through) {
    goOn(options)
    const page: WirePage = await request("session/transcript", { ...query, after, limit: pageSize }, options)
    const entries = page.nextAfter <= through ? page.entries : page.entries.filter(({ seq }) => seq <= through)
    const missed = page.trimmed > after ? { after, through: Math.min(page.trimmed, through) } : undefined
    if (page.nextAfter <= after) return
    after = Math.min(page.nextAfter, through)
    yield { entries, missed, nextAfter: after }
    if (page.entries.length === 0) return
  }
}

/** Newest first. */
export async function* historyPages(
  request: Request,
  { pageSize = 100, ...query }: HistoryPages,
  options: RequestOptions = {},
): AsyncGenerator<ReadonlyArray<WireTurn>, void> {
  let before: number | null = query.before ?? null
  do {
    goOn(options)
    const page: WireHistory = await request(
      "session/history",
      { session: query.session, limit: pageSize, ...(before === null ? {} : { before }) },
      options,
    )
    if (page.turns.length > 0) yield page.turns
    before = page.nextBefore
  } while (before !== null)
}

/** In order of creation. */
export async function* sessionPages(
  request: Request,
  { pageSize = 500, ...query }: SessionPages = {},
  options: RequestOptions = {},
): AsyncGenerator<ReadonlyArray<WireSession>, void> {
  let cursor: string | null = null
  do {
    goOn(options)
    const page: WireList = await request(
      "session/list",
      { ...query, limit: pageSize, ...(cursor === null ? {} : { cursor }) },
      options,
    )
    if (page.sessions.length > 0) yield page.sessions
    cursor = page.nextCursor
  } while (cursor !== null)
}

/** The items of pages, one by one. */
export async function* each<A>(pages: AsyncIterable<ReadonlyArray<A>>): AsyncGenerator<A, void> {
  for await (const page of pages) yield* page
}

/** The entries of pages, one by one; of what is gone `onMissed` is told in between. */
export async function* entriesOf(
  request: Request,
  query: TranscriptPages,
  { onMissed, ...options }: RequestOptions & { readonly onMissed?: (missed: Missed) => void } = {},
): AsyncGenerator<WireEntry, void> {
  for await (const { entries, missed } of transcriptPages(request, query, options)) {
    if (missed !== undefined) onMissed?.(missed)
    yield* entries
  }
}
