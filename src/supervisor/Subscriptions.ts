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

/** One session's entries with `seq` > `after`, stored ones first, then as they come. */
export const ofSession = Effect.fnUntraced(function* (
  store: SessionStore["Service"],
  session: SessionId,
  listen: (listener: () => void) => () => void,
  after: number,
  filter: Filter,
): Effect.fn.Return<Subscription, never, Scope.Scope> {
  const signal = new Signal()
  signal.raise()
  const unlisten = listen(() => signal.raise())
  yield* Effect.addFinalizer(() => Effect.sync(unlisten))
  let cursor = after
  const pull = Effect.fnUntraced(function* (
    limit: number = defaultBatch,
  ): Effect.fn.Return<SubscriptionBatch, StoreUnavailable> {
    while (true) {
      yield* signal.wait
      // Unread is unread: also when the store fails, or the one that pulls is interrupted.
      const page = yield* Effect.onError(store.transcript(session, whatFits(filter, cursor, limit)), () =>
        Effect.sync(() => signal.raise()),
      )
      const missed = page.trimmed > cursor ? [{ session, after: cursor, through: page.trimmed }] : []
      cursor = Math.max(cursor, page.nextAfter)
      // A full page may have more behind it.
      if (page.entries.length >= limit) signal.raise()
      if (page.entries.length > 0 || missed.length > 0) return { entries: page.entries, missed }
    }
  })
  return { pull }
})

/** Every session's entries from now on. `known`: the newest `seq` of the sessions that are there. */
export const ofAll = Effect.fnUntraced(function* (
  store: SessionStore["Service"],
  known: ReadonlyArray<{ readonly id: SessionId; readonly seq: number }>,
  listen: (listener: (session: SessionId, gone: boolean) => void) => () => void,
  filter: Filter,
): Effect.fn.Return<Subscription, never, Scope.Scope> {
  const signal = new Signal()
  const cursors = new Map(known.map(({ id, seq }) => [id, seq]))
  const dirty = new Set<SessionId>()
  const unlisten = listen((session, gone) => {
    if (gone) {
      dirty.delete(session)
      cursors.delete(session)
      return
    }
    dirty.add(session)
    signal.raise()
  })
  yield* Effect.addFinalizer(() => Effect.sync(unlisten))
  const pull = Effect.fnUntraced(function* (
    limit: number = defaultBatch,
  ): Effect.fn.Return<SubscriptionBatch, StoreUnavailable> {
    while (true) {
      yield* signal.wait
      const entries: Array<TranscriptEntry> = []
      const missed: Array<SubscriptionBatch["missed"][number]> = []
      for (const session of [...dirty]) {
        const room = limit - entries.length
        if (room <= 0) break
        const cursor = cursors.get(session) ?? 0
        // Taken off before the read: what is stored during it puts the session on again.
        dirty.delete(session)
        const read = yield* Effect.exit(store.transcript(session, whatFits(filter, cursor, room)))
        if (Exit.isFailure(read)) {
          dirty.add(session)
          signal.raise()
          // What other sessions gave is not thrown away for it; the next pull fails, if the store still does.
          if (entries.length > 0) return { entries, missed }
          return yield* Effect.failCause(read.cause)
        }
        const page = read.value
        if (page.trimmed > cursor) missed.push({ session, after: cursor, through: page.trimmed })
        if (page.entries.length >= room) dirty.add(session)
        cursors.set(session, Math.max(cursor, page.nextAfter))
        for (const entry of page.entries) entries.push(entry)
      }
      if (dirty.size > 0) signal.raise()
      if (entries.length > 0 || missed.length > 0) return { entries, missed }
    }
  })
  return { pull }
})
