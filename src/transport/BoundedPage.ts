/**
 * A page that ends where it has got too large, also before `limit`: it becomes one message, and entries may be as long as
 * the lines of a child. Reads in slices, few first, so that no more is held than goes out. Called by the handlers.
 */
import * as Effect from "effect/Effect"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { TranscriptPage, TranscriptQuery, TurnsPage, TurnsQuery } from "../domain/SessionStore.ts"

/** Once a page has this much (characters, about) it is full; it has at least one item. */
export const pageWeight = 8 * 1024 * 1024
const firstSlice = 16
const growth = 4

/** About as long as it is on the wire. */
const weightOf = (value: object): number => {
  let weight = 200
  for (const each of Object.values(value)) {
    if (typeof each === "string") weight += each.length
    else if (typeof each === "object" && each !== null) weight += JSON.stringify(each).length
  }
  return weight
}

/** How many of these fit on top of what is there already; all of them, or so many that it is full. */
const fitting = (items: ReadonlyArray<object>, before: number): { readonly count: number; readonly weight: number } => {
  let weight = before
  for (const [at, item] of items.entries()) {
    weight += weightOf(item)
    if (weight >= pageWeight) return { count: at + 1, weight }
  }
  return { count: items.length, weight }
}

/** The size of the next slice, by what those before weighed. */
const nextSlice = (slice: number, rest: number, count: number, weight: number): number =>
  Math.max(1, Math.min(slice * growth, rest, Math.ceil((pageWeight - weight) / (weight / Math.max(1, count)))))

export const boundedTranscript = Effect.fnUntraced(function* <E>(
  read: (session: string, query: TranscriptQuery) => Effect.Effect<TranscriptPage, E>,
  session: string,
  query: TranscriptQuery,
): Effect.fn.Return<TranscriptPage, E> {
  const { limit = 1000 } = query
  const entries: Array<TranscriptEntry> = []
  let [slice, weight, from, trimmed] = [Math.min(limit, firstSlice), 0, query.after ?? 0, 0]
  while (true) {
    // By its id from the second slice on: the name may be another's by then.
    const page = yield* read(entries[0]?.session ?? session, { ...query, after: from, limit: slice })
    if (entries.length === 0) trimmed = page.trimmed
    // What was dropped between two slices is told with the next page, which begins there.
    else if (page.trimmed > from) return { entries, nextAfter: from, trimmed }
    const fits = fitting(page.entries, weight)
    for (let at = 0; at < fits.count; at++) entries.push(page.entries[at]!)
    if (fits.count < page.entries.length) return { entries, nextAfter: entries.at(-1)!.seq, trimmed }
    from = page.nextAfter
    weight = fits.weight
    if (page.entries.length < slice || entries.length >= limit || weight >= pageWeight)
      return { entries, nextAfter: from, trimmed }
    slice = nextSlice(slice, limit - entries.length, entries.length, weight)
  }
})

export const boundedHistory = Effect.fnUntraced(function* <E>(
  read: (session: string, query: TurnsQuery) => Effect.Effect<TurnsPage, E>,
  session: string,
  query: TurnsQuery,
): Effect.fn.Return<TurnsPage, E> {
  const { limit = 100 } = query
  const turns: Array<TurnsPage["turns"][number]> = []
  let [slice, weight] = [Math.min(limit, firstSlice), 0]
  let before = query.before
  while (true) {
    const page = yield* read(turns[0]?.session ?? session, {
      limit: slice,
      ...(before === undefined ? undefined : { before }),
    })
    const fits = fitting(page.turns, weight)
    for (let at = 0; at < fits.count; at++) turns.push(page.turns[at]!)
    if (fits.count < page.turns.length) return { turns, nextBefore: turns.at(-1)!.firstSeq }
    weight = fits.weight
    if (page.nextBefore === null || turns.length >= limit || weight >= pageWeight)
      return { turns, nextBefore: page.nextBefore }
    before = page.nextBefore
    slice = nextSlice(slice, limit - turns.length, turns.length, weight)
  }
})
