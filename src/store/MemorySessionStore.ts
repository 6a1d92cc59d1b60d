/**
 * The store in memory: as fast as it gets, and gone with the runtime. Bounded: each session keeps at most
 * `limits.transcriptEntries` entries and `limits.transcriptBytes` (default 16 MiB) of text; a turn can be read
 * as long as its last entry is kept.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { sessionOfTurn, type SessionId, type TurnId } from "../domain/Ids.ts"
import {
  SessionStore,
  type Commit,
  type Retained,
  type Retention,
  type TranscriptPage,
} from "../domain/SessionStore.ts"
import type { Session } from "../domain/Session.ts"
import type { RetentionSpec } from "../domain/SessionSpec.ts"
import type { Turn } from "../domain/Turn.ts"
import { countsOf, listOf, recoverableOf, recoveredOf, searchIn, turnsOf } from "./MemoryQueries.ts"
import { retained } from "./MemoryRetention.ts"
import { MemoryShelf } from "./MemoryShelf.ts"

export const make = (): SessionStore["Service"] => {
  const shelves = new Map<SessionId, MemoryShelf>()
  let created = 0

  const commit = (given: Commit) =>
    Effect.sync(() => {
      // What the session looks like is only worked out when somebody asks.
      const id = given.entries[0]?.session ?? given.turns[0]?.session ?? given.session.id
      let shelf = shelves.get(id)
      if (shelf === undefined) shelves.set(id, (shelf = new MemoryShelf(++created, id, given)))
      shelf.add(given)
    })

  const turn = (id: TurnId): Turn | undefined => {
    const shelf = shelves.get(sessionOfTurn(id) ?? ("" as SessionId))
    if (shelf !== undefined) return shelf.turn(id)
    for (const each of shelves.values()) {
      const found = each.stray(id)
      if (found !== undefined) return found
    }
    return undefined
  }

  function* turns(): Generator<Turn> {
    for (const shelf of shelves.values()) yield* shelf.turns()
  }

  /** The newest first. */
  const newest = (fits: (session: Session) => boolean): Session | undefined =>
    [...shelves.values()].findLast((shelf) => fits(shelf.session))?.session

  /** Holds these sessions together to the bounds. */
  const hold = (chosen: ReadonlyArray<MemoryShelf>, bounds: RetentionSpec, now: number): Retained => {
    const { maxAgeMs = Infinity, maxBytes = Infinity } = bounds
    const oldest = now - maxAgeMs
    const bytes = chosen.reduce((sum, shelf) => sum + shelf.bytes, 0)
    const touched = bytes > maxBytes ? chosen : chosen.filter((shelf) => shelf.since < oldest)
    const { kept, removedTurns, removedEntries } = retained(
      touched.map((shelf) => shelf.loose()),
      { oldest, excess: bytes - maxBytes },
    )
    touched.forEach((shelf, i) => shelf.replace(kept[i]!))
    return { removedTurns, removedEntries }
  }

  const retain = ({ session, now, ...bounds }: Retention): Retained => {
    const chosen = [...shelves.values()].filter((shelf) => session === undefined || shelf.id === session)
    const own = session === undefined ? chosen.filter((shelf) => shelf.session.spec.retention !== null) : []
    const done = [
      ...own.map((shelf) => hold([shelf], shelf.session.spec.retention!, now)),
      hold(chosen, bounds as RetentionSpec, now),
    ]
    return {
      removedTurns: done.reduce((sum, { removedTurns }) => sum + removedTurns, 0),
      removedEntries: done.reduce((sum, { removedEntries }) => sum + removedEntries, 0),
    }
  }

  return {
    commit,
    transcript: (id, query) =>
      Effect.sync(
        (): TranscriptPage =>
          shelves.get(id)?.transcript(query) ?? { entries: [], nextAfter: query.after ?? 0, trimmed: 0 },
      ),
    turn: (id) => Effect.sync(() => turn(id)),
    turnByKey: (session, key) => Effect.sync(() => shelves.get(session)?.turnByKey(key)),
    session: (id) => Effect.sync(() => shelves.get(id)?.session),
    ids: Effect.sync(() => [...shelves.keys()]),
    find: (ref) =>
      Effect.sync(() => newest((session) => session.name === ref) ?? newest((session) => session.spec.task === ref)),
    turns: (session, query) => Effect.sync(() => turnsOf(shelves.get(session)?.turns() ?? [], query)),
    counts: (now) => Effect.sync(() => countsOf(shelves.values(), created, now)),
    recover: (session) =>
      Effect.sync(() => {
        const shelf = shelves.get(session)
        return shelf === undefined ? undefined : recoveredOf(shelf)
      }),
    remove: (id) => Effect.sync(() => void shelves.delete(id)),
    list: (query) => Effect.sync(() => listOf(shelves.values(), query)),
    recoverable: Effect.sync(() => recoverableOf(shelves.values())),
    search: (query) => Effect.sync(() => searchIn(turns(), query)),
    retain: (retention) => Effect.sync(() => retain(retention)),
    sizeBytes: Effect.sync(() => [...shelves.values()].reduce((bytes, shelf) => bytes + shelf.bytes, 0)),
  }
}

export const layer: Layer.Layer<SessionStore> = Layer.sync(SessionStore, make)
