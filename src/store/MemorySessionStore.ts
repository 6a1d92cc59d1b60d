/**
 * The store in memory: as fast as it gets, and gone with the runtime. Bounded: each session keeps at most
 * `limits.transcriptEntries` entries and `limits.transcriptBytes` (default 16 MiB) of text; a turn can be read
 * as long as its last entry is kept.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import { SessionStore, type Commit, type TranscriptPage, type TranscriptQuery } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"

/** Where a spec names no `transcriptBytes`: memory must have some bound. */
export const defaultTranscriptBytes = 16 * 1024 * 1024
/** What an entry costs besides its text. */
const entryOverhead = 200
const defaultLimit = 1000

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
      return entryOverhead + JSON.stringify(entry.message).length
    default:
      return entryOverhead
  }
}

interface Shelf {
  session: Session
  /** Entries from `seq` = `trimmed` + 1 on, the first `offset` places of the array being empty. */
  entries: Array<TranscriptEntry | undefined>
  offset: number
  trimmed: number
  bytes: number
  keys: Map<string, TurnId> | undefined
  turns: Set<TurnId>
}

export const make = (): SessionStore["Service"] => {
  const shelves = new Map<SessionId, Shelf>()
  const turns = new Map<TurnId, Turn>()

  const forgetTurn = (shelf: Shelf, id: TurnId) => {
    const turn = turns.get(id)
    turns.delete(id)
    shelf.turns.delete(id)
    if (turn?.idempotencyKey != null) shelf.keys?.delete(turn.idempotencyKey)
  }

  const trim = (shelf: Shelf) => {
    const { transcriptEntries, transcriptBytes = defaultTranscriptBytes } = shelf.session.spec.limits
    while (
      shelf.entries.length - shelf.offset > transcriptEntries ||
      (shelf.bytes > transcriptBytes && shelf.entries.length - shelf.offset > 1)
    ) {
      const oldest = shelf.entries[shelf.offset]!
      shelf.entries[shelf.offset++] = undefined
      shelf.trimmed = oldest.seq
      shelf.bytes -= weigh(oldest)
      if (oldest.type === "turn/ended" && oldest.turn !== undefined) forgetTurn(shelf, oldest.turn)
    }
    // Moving the rest down once half is empty makes it O(1) an entry on average.
    if (shelf.offset > 64 && shelf.offset * 2 > shelf.entries.length) {
      shelf.entries = shelf.entries.slice(shelf.offset)
      shelf.offset = 0
    }
  }

  const commit = ({ session, entries, turns: changed }: Commit) =>
    Effect.sync(() => {
      let shelf = shelves.get(session.id)
      if (shelf === undefined) {
        shelf = { session, entries: [], offset: 0, trimmed: 0, bytes: 0, keys: undefined, turns: new Set() }
        shelves.set(session.id, shelf)
      }
      shelf.session = session
      for (const turn of changed) {
        turns.set(turn.id, turn)
        shelf.turns.add(turn.id)
        if (turn.idempotencyKey !== null) (shelf.keys ??= new Map()).set(turn.idempotencyKey, turn.id)
      }
      for (const entry of entries) {
        shelf.entries.push(entry)
        shelf.bytes += weigh(entry)
      }
      trim(shelf)
    })

  const transcript = (id: SessionId, query: TranscriptQuery) =>
    Effect.sync((): TranscriptPage => {
      const { after = 0, limit = defaultLimit, types, turn } = query
      const shelf = shelves.get(id)
      if (shelf === undefined) return { entries: [], nextAfter: after, trimmed: 0 }
      const found: Array<TranscriptEntry> = []
      let nextAfter = Math.max(after, shelf.trimmed)
      const start = shelf.offset + Math.max(0, after - shelf.trimmed)
      for (let i = start; i < shelf.entries.length && found.length < limit; i++) {
        const entry = shelf.entries[i]!
        nextAfter = entry.seq
        if (types !== undefined && !types.includes(entry.type)) continue
        if (turn !== undefined && entry.turn !== turn) continue
        found.push(entry)
      }
      return { entries: found, nextAfter, trimmed: shelf.trimmed }
    })

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
        shelf?.turns.forEach((turn) => turns.delete(turn))
      }),
  }
}

export const layer: Layer.Layer<SessionStore> = Layer.sync(SessionStore, make)
