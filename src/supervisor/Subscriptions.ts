/**
 * Subscriptions as cursors: a subscriber has a place in the transcript and a flag that there is more, never a buffer. One
 * that falls behind is served from the store, and told which range the session's limits had dropped meanwhile.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { SessionStore } from "../domain/SessionStore.ts"
import type { TranscriptEntry, TranscriptType } from "../domain/Transcript.ts"
import type { Subscription, SubscriptionBatch } from "./Runtime.ts"

const defaultBatch = 256

interface Filter {
  readonly types?: ReadonlyArray<TranscriptType> | undefined
  readonly turn?: TurnId | undefined
}

/** A flag to wait for: raised any number of times, seen once. */
class Signal {
  #raised = false
  #wake: (() => void) | undefined

  raise(): void {
    this.#raised = true
    this.#wake?.()
  }

  readonly wait: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const seen = () => {
      this.#raised = false
      this.#wake = undefined
      resume(Effect.void)
    }
    if (this.#raised) return seen()
    this.#wake = seen
    return Effect.sync(() => {
      this.#wake = undefined
    })
  })
}

const whatFits = (filter: Filter, after: number, limit: number) => ({
  after,
  limit,
  ...(filter.types === undefined ? undefined : { types: filter.types }),
  ...(filter.turn === undefined ? undefined : { turn: filter.turn }),
})

/** What was left when the session was removed: `missed` comes before its entries, `later` after them. */
interface Rest extends Pick<SubscriptionBatch, "entries" | "missed"> {
  readonly later: SubscriptionBatch["missed"]
}

/** What a subscription to one session follows. */
export interface Source {
  readonly id: SessionId
  /** The newest `seq`. */
  seq(): number
  /** Calls back whenever entries were stored. */
  listen(listener: () => void): () => void
  /** Waited for when the session is removed, before its transcript is. */
  beforeRemoval(farewell: Effect.Effect<void>): () => void
}

/** One session's entries with `seq` > `after`, stored ones first, then as they come, until the session is removed. */
export const ofSession = Effect.fnUntraced(function* (
  store: SessionStore["Service"],
  source: Source,
  after: number,
  filter: Filter,
): Effect.fn.Return<Subscription, never, Scope.Scope> {
  const { id: session } = source
  const signal = new Signal()
  signal.raise()
  let cursor = after
  /** What was not pulled yet when the session was removed: at most a batch, and word of the rest. */
  let rest: Rest | undefined
  const farewell = Effect.exit(
    Effect.suspend(() => store.transcript(session, whatFits(filter, cursor, defaultBatch))),
  ).pipe(
    Effect.map((read) => {
      const seq = source.seq()
      const page = Exit.isSuccess(read) ? read.value : { entries: [], nextAfter: cursor, trimmed: 0 }
      const missed = page.trimmed > cursor ? [{ session, after: cursor, through: page.trimmed }] : []
      const left = page.entries.length >= defaultBatch || Exit.isFailure(read)
      const later = left && page.nextAfter < seq ? [{ session, after: page.nextAfter, through: seq }] : []
      rest = { entries: page.entries, missed, later }
      signal.raise()
    }),
  )
  const unlisten = source.listen(() => signal.raise())
  const stay = source.beforeRemoval(farewell)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      unlisten()
      stay()
    }),
  )
  const leave = ({ missed, later, ...left }: Rest, limit: number): SubscriptionBatch => {
    const unread = left.entries.filter(({ seq }) => seq > cursor)
    const entries = unread.slice(0, limit)
    cursor = Math.max(cursor, entries.at(-1)?.seq ?? 0)
    if (entries.length > 0) {
      rest = { ...left, missed: [], later }
      return { entries, missed }
    }
    rest = { entries: [], missed: [], later: [] }
    return { entries, missed: [...missed, ...later], ended: true }
  }
  const pull = (limit: number = defaultBatch): Effect.Effect<SubscriptionBatch, StoreUnavailable> =>
    Effect.suspend(() =>
      rest === undefined ? Effect.andThen(signal.wait, read(limit)) : Effect.succeed(leave(rest, limit)),
    )
  const read = (limit: number): Effect.Effect<SubscriptionBatch, StoreUnavailable> =>
    Effect.suspend(() => {
      if (rest !== undefined) return pull(limit)
      // Unread is unread: also when the store fails, or the one that pulls is interrupted.
      const asked = Effect.onError(store.transcript(session, whatFits(filter, cursor, limit)), () =>
        Effect.sync(() => signal.raise()),
      )
      return Effect.flatMap(asked, (page) => {
        // Removed during the read: what was there is in the rest.
        if (rest !== undefined) return pull(limit)
        const missed = page.trimmed > cursor ? [{ session, after: cursor, through: page.trimmed }] : []
        cursor = Math.max(cursor, page.nextAfter)
        // A full page may have more behind it.
        if (page.entries.length >= limit) signal.raise()
        const isNews = page.entries.length > 0 || missed.length > 0
        return isNews ? Effect.succeed({ entries: page.entries, missed }) : pull(limit)
      })
    })
  return { pull }
})

/** The same subscription, after single entries of before: those that fit, in order. */
export const afterEntries = (
  store: SessionStore["Service"],
  entries: ReadonlyArray<{ readonly session: SessionId; readonly seq: number }>,
  filter: Filter,
  followed: Subscription,
): Subscription => {
  if (entries.length === 0) return followed
  let isGiven = false
  const first = Effect.forEach(entries, ({ session, seq }) =>
    store.transcript(session, whatFits(filter, seq - 1, 1)),
  ).pipe(
    Effect.map((pages) => pages.flatMap((page, i) => page.entries.filter((entry) => entry.seq === entries[i]!.seq))),
  )
  return {
    pull: (limit) =>
      Effect.suspend(() =>
        isGiven
          ? followed.pull(limit)
          : Effect.flatMap(first, (given) => {
              isGiven = true
              return given.length > 0 ? Effect.succeed({ entries: given, missed: [] }) : followed.pull(limit)
            }),
      ),
  }
}

/** Where somebody stands who follows every session. */
class EverySession {
  readonly #store: SessionStore["Service"]
  readonly #filter: Filter
  readonly #signal = new Signal()
  readonly #cursors: Map<SessionId, number>
  readonly #dirty = new Set<SessionId>()
  /** Whose transcript is being read, and not gone meanwhile. */
  #reading: SessionId | undefined
  /** What was read, and not given out yet: a pull may be interrupted between two sessions. */
  #entries: Array<TranscriptEntry> = []
  #missed: Array<SubscriptionBatch["missed"][number]> = []

  constructor(store: SessionStore["Service"], filter: Filter, cursors: Map<SessionId, number>) {
    this.#store = store
    this.#filter = filter
    this.#cursors = cursors
  }

  /** Entries of the session were stored, or it is gone. */
  hear(session: SessionId, gone: boolean): void {
    if (gone) {
      this.#dirty.delete(session)
      this.#cursors.delete(session)
      if (this.#reading === session) this.#reading = undefined
      return
    }
    this.#dirty.add(session)
    this.#signal.raise()
  }

  pull(limit: number): Effect.Effect<SubscriptionBatch, StoreUnavailable> {
    return Effect.onInterrupt(
      Effect.gen(() => this.#pull(limit)),
      () => Effect.sync(() => this.#interrupted()),
    )
  }

  *#pull(limit: number): Effect.fn.Return<SubscriptionBatch, StoreUnavailable> {
    const dirty = this.#dirty
    const cursors = this.#cursors
    while (true) {
      yield* this.#signal.wait
      for (const session of [...dirty]) {
        const room = limit - this.#entries.length
        if (room <= 0) break
        const cursor = cursors.get(session) ?? 0
        // Taken off before the read: what is stored during it puts the session on again. Not on any more: it is gone.
        if (!dirty.delete(session)) continue
        this.#reading = session
        const read = yield* Effect.exit(this.#store.transcript(session, whatFits(this.#filter, cursor, room)))
        const isThere = this.#reading === session
        this.#reading = undefined
        if (Exit.isFailure(read)) {
          if (isThere) dirty.add(session)
          this.#signal.raise()
          // What other sessions gave is not thrown away for it; the next pull fails, if the store still does.
          if (this.#entries.length > 0) return this.#givenOut(limit)
          return yield* Effect.failCause(read.cause)
        }
        const page = read.value
        if (page.trimmed > cursor) this.#missed.push({ session, after: cursor, through: page.trimmed })
        if (isThere) {
          if (page.entries.length >= room) dirty.add(session)
          cursors.set(session, Math.max(cursor, page.nextAfter))
        }
        for (const entry of page.entries) this.#entries.push(entry)
      }
      if (dirty.size > 0) this.#signal.raise()
      if (this.#entries.length > 0 || this.#missed.length > 0) return this.#givenOut(limit)
    }
  }

  #givenOut(limit: number): SubscriptionBatch {
    const batch = { entries: this.#entries.slice(0, limit), missed: this.#missed }
    this.#entries = this.#entries.slice(limit)
    this.#missed = []
    if (this.#entries.length > 0) this.#signal.raise()
    return batch
  }

  #interrupted(): void {
    if (this.#reading !== undefined) this.#dirty.add(this.#reading)
    this.#reading = undefined
    this.#signal.raise()
  }
}

/** Every session's entries from now on. `known`: the newest `seq` of the sessions that are there. */
export const ofAll = (
  store: SessionStore["Service"],
  known: ReadonlyArray<{ readonly id: SessionId; readonly seq: number }>,
  listen: (listener: (session: SessionId, gone: boolean) => void) => () => void,
  filter: Filter,
): Effect.Effect<Subscription, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const every = new EverySession(store, filter, new Map(known.map(({ id, seq }) => [id, seq])))
      const unlisten = listen((session, gone) => every.hear(session, gone))
      return { unlisten, pull: (limit: number = defaultBatch) => every.pull(limit) }
    }),
    ({ unlisten }) => Effect.sync(unlisten),
  )
