/**
 * The store in memory: as fast as it gets, and gone with the runtime. Bounded: each session keeps at most
 * `limits.transcriptEntries` entries and `limits.transcriptBytes` (default 16 MiB) of text; a turn can be read
 * as long as its last entry is kept.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import {
  SessionStore,
  type Commit,
  type Retained,
  type Retention,
  type TranscriptPage,
  type TranscriptQuery,
} from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import { listOf, recoverableOf, searchIn } from "./MemoryQueries.ts"

/** Where a spec names no `transcriptBytes`: memory must have some bound. */
export const defaultTranscriptBytes = 16 * 1024 * 1024
/** What an entry costs besides its text. */
const entryOverhead = 200
const defaultLimit = 1000

const jsonLength = (value: unknown): number => (value === undefined ? 0 : JSON.stringify(value).length)

const weigh = (entry: TranscriptEntry): number => {
  switch (entry.type) {
    case "output":
      return entryOverhead + entry.data.length
    case "turn/delta":
    case "turn/thought":
    case "turn/ended":
    case "note":
      return entryOverhead + entry.text.length
    case "turn/queued":
      return (
        entryOverhead + (typeof entry.prompt === "string" ? entry.prompt.length : JSON.stringify(entry.prompt).length)
      )
    case "native":
      return entryOverhead + jsonLength(entry.message)
    case "turn/tool":
      return entryOverhead + jsonLength(entry.input) + jsonLength(entry.output)
    case "permission/requested":
      return entryOverhead + jsonLength(entry.input)
    default:
      return entryOverhead
  }
}

/** So many entries over the limit are dropped together: one by one would cost more than all the rest of a commit. */
const slack = 256

interface Shelf {
  readonly ordinal: number
  session: Session
  history: unknown
  /** In order and without gaps; the oldest may be over the limit already. */
  entries: Array<TranscriptEntry>
  bytes: number
  keys: Map<string, TurnId> | undefined
}

/** How many entries at the front are over the limit of entries. */
const surplus = (shelf: Shelf): number =>
  Math.max(0, shelf.entries.length - shelf.session.spec.limits.transcriptEntries)

/** The greatest `seq` that is not there any more, beginning with the entry at `from`; 0 while the transcript is whole. */
const trimmedThrough = (shelf: Shelf, from: number): number => {
  const first = shelf.entries[from]
  return first === undefined ? shelf.session.seq : first.seq - 1
}

export const make = (): SessionStore["Service"] => {
  const shelves = new Map<SessionId, Shelf>()
  const turns = new Map<TurnId, Turn>()
  let created = 0

  const forgetTurn = (shelf: Shelf, id: TurnId) => {
    const key = turns.get(id)?.idempotencyKey
    turns.delete(id)
    if (key != null && shelf.keys?.get(key) === id) shelf.keys.delete(key)
  }

  const trim = (shelf: Shelf) => {
    const { entries } = shelf
    const { transcriptBytes = defaultTranscriptBytes } = shelf.session.spec.limits
    let dropped = surplus(shelf)
    for (let i = 0; i < dropped; i++) shelf.bytes -= weigh(entries[i]!)
    while (shelf.bytes > transcriptBytes && dropped < entries.length - 1) shelf.bytes -= weigh(entries[dropped++]!)
    for (let i = 0; i < dropped; i++) {
      const { type, turn } = entries[i]!
      if (type === "turn/ended" && turn !== undefined) forgetTurn(shelf, turn)
    }
    // In place: a copy of what stays, and its growth, would be most of what a turn allocates.
    entries.splice(0, dropped)
  }

  const commit = ({ session, entries, turns: changed, history }: Commit) =>
    Effect.sync(() => {
      let shelf = shelves.get(session.id)
      if (shelf === undefined) {
        shelf = { ordinal: ++created, session, history: undefined, entries: [], bytes: 0, keys: undefined }
        shelves.set(session.id, shelf)
      }
      shelf.session = session
      if (history !== undefined) shelf.history = history
      for (const turn of changed) {
        turns.set(turn.id, turn)
        if (turn.idempotencyKey !== null) (shelf.keys ??= new Map()).set(turn.idempotencyKey, turn.id)
      }
      const last = shelf.entries.at(-1)?.seq ?? 0
      for (const entry of entries) {
        if (entry.seq <= last) continue
        shelf.entries.push(entry)
        shelf.bytes += weigh(entry)
      }
      const { transcriptBytes = defaultTranscriptBytes } = session.spec.limits
      if (surplus(shelf) > slack || shelf.bytes > transcriptBytes) trim(shelf)
    })

  const transcript = (id: SessionId, query: TranscriptQuery) =>
    Effect.sync((): TranscriptPage => {
      const { after = 0, limit = defaultLimit, types, turn, all = false } = query
      const shelf = shelves.get(id)
      if (shelf === undefined) return { entries: [], nextAfter: after, trimmed: 0 }
      const over = all ? 0 : surplus(shelf)
      const trimmed = trimmedThrough(shelf, over)
      const found: Array<TranscriptEntry> = []
      let nextAfter = Math.max(after, trimmed)
      const from = over + Math.max(0, after - trimmed)
      for (let i = from; i < shelf.entries.length && found.length < limit; i++) {
        const entry = shelf.entries[i]!
        nextAfter = entry.seq
        if (types !== undefined && !types.includes(entry.type)) continue
        if (turn !== undefined && entry.turn !== turn) continue
        found.push(entry)
      }
      return { entries: found, nextAfter, trimmed }
    })

  const dropEntries = (shelf: Shelf, goes: (entry: TranscriptEntry) => boolean): number => {
    const { entries } = shelf
    let needed = Infinity
    for (const turn of turns.values()) {
      if (turn.session === shelf.session.id) needed = Math.min(needed, turn.firstSeq)
    }
    let dropped = 0
    while (dropped < entries.length && entries[dropped]!.seq < needed && goes(entries[dropped]!)) {
      shelf.bytes -= weigh(entries[dropped++]!)
    }
    entries.splice(0, dropped)
    return dropped
  }

  const retain = ({ maxAgeMs = Infinity, maxBytes = Infinity, session, now }: Retention): Retained => {
    const chosen = [...shelves.values()].filter((shelf) => session === undefined || shelf.session.id === session)
    const newest = new Map<SessionId, Turn>()
    for (const turn of turns.values()) {
      if (isTerminal(turn) && turn.firstSeq >= (newest.get(turn.session)?.firstSeq ?? 0)) newest.set(turn.session, turn)
    }
    const ended = [...turns.values()]
      .filter((turn) => isTerminal(turn) && newest.get(turn.session) !== turn)
      .filter((turn) => session === undefined || turn.session === session)
      .toSorted((a, b) => a.endedAt! - b.endedAt!)
    let removedTurns = 0
    let removedEntries = 0
    for (const turn of ended) {
      const tooMuch = chosen.reduce((bytes, shelf) => bytes + shelf.bytes, 0) > maxBytes
      if (!tooMuch && turn.endedAt! >= now - maxAgeMs) break
      const shelf = shelves.get(turn.session)!
      forgetTurn(shelf, turn.id)
      removedTurns++
      removedEntries += dropEntries(shelf, () => true)
    }
    for (const shelf of chosen) removedEntries += dropEntries(shelf, (entry) => entry.at < now - maxAgeMs)
    return { removedTurns, removedEntries }
  }

  return {
    commit,
    transcript,
    turn: (id) => Effect.sync(() => turns.get(id)),
    turnByKey: (session, key) =>
      Effect.sync(() => {
        const id = shelves.get(session)?.keys?.get(key)
        return id === undefined ? undefined : turns.get(id)
      }),
    session: (id) => Effect.sync(() => shelves.get(id)?.session),
    sessions: Effect.sync(() => [...shelves.values()].map((shelf) => shelf.session)),
    remove: (id) =>
      Effect.sync(() => {
        const shelf = shelves.get(id)
        shelves.delete(id)
        for (const { turn } of shelf?.entries ?? []) if (turn !== undefined) turns.delete(turn)
      }),
    list: (query) => Effect.sync(() => listOf(shelves.values(), query)),
    recoverable: Effect.sync(() => recoverableOf(shelves.values(), turns.values())),
    search: (query) => Effect.sync(() => searchIn(turns.values(), query)),
    retain: (retention) => Effect.sync(() => retain(retention)),
    sizeBytes: Effect.sync(() => [...shelves.values()].reduce((bytes, shelf) => bytes + shelf.bytes, 0)),
  }
}

export const layer: Layer.Layer<SessionStore> = Layer.sync(SessionStore, make)
