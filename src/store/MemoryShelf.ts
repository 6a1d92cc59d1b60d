/**
 * What the memory store keeps of one session: the newest entries as objects, older ones as frozen pages, open turns and
 * those that ended among the newest. Bounded by the session's limits; what is over them goes in strides.
 */
import { leadsTo, type SessionId, type TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { LimitsSpec } from "../domain/SessionSpec.ts"
import type { Commit, TranscriptPage, TranscriptQuery } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import { weigh } from "./EntryWeight.ts"
import { freeze, thaw, turnIn, type FrozenPage } from "./FrozenPage.ts"

/** Where a spec names no `transcriptBytes`: memory must have some bound. */
export const defaultTranscriptBytes = 16 * 1024 * 1024
const defaultLimit = 1000

/** So many entries become one page, once there are twice as many. */
export const pageEntries = 64

export class MemoryShelf {
  readonly ordinal: number
  readonly id: SessionId
  history: unknown
  bytes = 0
  #latest: Commit
  #limits: LimitsSpec
  #pages: Array<FrozenPage> | undefined
  /** In order and without gaps; the oldest may be over the limit already. */
  #entries: Array<TranscriptEntry> = []
  /** Open ones, those that ended among `#entries`, and those that no id leads to. */
  #turns: Map<TurnId, Turn> | undefined
  #keys: Map<string, TurnId> | undefined

  constructor(ordinal: number, id: SessionId, first: Commit) {
    this.ordinal = ordinal
    this.id = id
    this.#latest = first
    this.#limits = first.session.spec.limits
  }

  get session(): Session {
    return this.#latest.session
  }

  // Writing

  add(commit: Commit): void {
    this.#latest = commit
    if (commit.history !== undefined) this.history = commit.history
    for (const turn of commit.turns) {
      ;(this.#turns ??= new Map()).set(turn.id, turn)
      if (turn.idempotencyKey !== null) (this.#keys ??= new Map()).set(turn.idempotencyKey, turn.id)
    }
    const last = this.#lastSeq()
    for (const entry of commit.entries) {
      if (entry.seq <= last) continue
      this.#entries.push(entry)
      this.bytes += weigh(entry)
    }
    const { transcriptEntries, transcriptBytes = defaultTranscriptBytes } = this.#limits
    if (this.#entries.length < 2 * pageEntries && this.bytes <= transcriptBytes) return
    this.#limits = this.session.spec.limits
    this.#trim()
    // Where so few are wanted, freezing them is not worth it.
    if (transcriptEntries > 2 * pageEntries) this.#freeze()
  }

  #lastSeq(): number {
    return this.#entries.at(-1)?.seq ?? endOf(this.#pages?.at(-1))
  }

  #freeze(): void {
    if (this.#entries.length < 2 * pageEntries) return
    const frozen = new Set<TurnId>()
    while (this.#entries.length >= 2 * pageEntries) {
      // In place: a copy of what stays, and its growth, would be most of what a turn allocates.
      const old = this.#entries.splice(0, pageEntries)
      const bytes = old.reduce((sum, entry) => sum + weigh(entry), 0)
      ;(this.#pages ??= []).push(freeze(this.id, old, bytes, (id) => this.#turns?.get(id)))
      for (const { type, turn } of old) {
        if (type === "turn/ended" && turn !== undefined && leadsTo(turn, this.id)) frozen.add(turn)
      }
    }
    // A map that is emptied and filled for ever makes old tables that hold on to new ones: better a new map each time.
    const kept = new Map<TurnId, Turn>()
    for (const turn of this.#turns?.values() ?? []) {
      if (!frozen.has(turn.id) || !isTerminal(turn)) kept.set(turn.id, turn)
    }
    this.#turns = kept
  }

  /** How many entries at the front are over the limit of entries. */
  #surplus(): number {
    return Math.max(0, this.#count() - this.#limits.transcriptEntries)
  }

  #count(): number {
    const { length } = this.#entries
    return this.#pages === undefined || this.#pages.length === 0 ? length : this.#lastSeq() - this.#firstSeq() + 1
  }

  /** The `seq` of the oldest entry, or of the next one while there is none. */
  #firstSeq(): number {
    return this.#pages?.[0]?.first ?? this.#entries[0]?.seq ?? this.session.seq + 1
  }

  #trim(): void {
    const { transcriptBytes = defaultTranscriptBytes } = this.#limits
    let surplus = this.#surplus()
    const pages = this.#pages ?? []
    let gone = 0
    for (const page of pages) {
      // A page that is over in part stays whole: a reader is not shown it.
      if (surplus < page.count && this.bytes <= transcriptBytes) break
      gone++
      surplus -= page.count
      this.bytes -= page.bytes
      for (const id of page.remembered) this.#forgetTurn(id, () => turnIn(this.id, page, id))
    }
    pages.splice(0, gone)
    if (pages.length > 0) return
    let dropped = Math.max(0, Math.min(surplus, this.#entries.length))
    for (let i = 0; i < dropped; i++) this.bytes -= weigh(this.#entries[i]!)
    while (this.bytes > transcriptBytes && dropped < this.#entries.length - 1) {
      this.bytes -= weigh(this.#entries[dropped++]!)
    }
    for (let i = 0; i < dropped; i++) {
      const { type, turn } = this.#entries[i]!
      if (type === "turn/ended" && turn !== undefined) this.#forgetTurn(turn)
    }
    this.#entries.splice(0, dropped)
  }

  #forgetTurn(id: TurnId, find = () => this.#turns?.get(id)): void {
    const key = (this.#turns?.get(id) ?? find())?.idempotencyKey
    this.#turns?.delete(id)
    if (key != null && this.#keys?.get(key) === id) this.#keys.delete(key)
  }

  // Reading

  transcript({ after = 0, limit = defaultLimit, types, turn, all = false }: TranscriptQuery): TranscriptPage {
    this.#limits = this.session.spec.limits
    const trimmed = this.#firstSeq() - 1 + (all ? 0 : this.#surplus())
    const found: Array<TranscriptEntry> = []
    let nextAfter = Math.max(after, trimmed)
    const from = nextAfter
    const read = (entries: ReadonlyArray<TranscriptEntry>) => {
      const first = entries[0]?.seq ?? Infinity
      for (let i = Math.max(0, from + 1 - first); i < entries.length && found.length < limit; i++) {
        const entry = entries[i]!
        nextAfter = entry.seq
        if (types !== undefined && !types.includes(entry.type)) continue
        if (turn !== undefined && entry.turn !== turn) continue
        found.push(entry)
      }
    }
    for (const page of this.#pages ?? []) {
      if (found.length >= limit) break
      if (endOf(page) > from) read(thaw(this.id, page).entries)
    }
    read(this.#entries)
    return { entries: found, nextAfter, trimmed }
  }

  turn(id: TurnId): Turn | undefined {
    const known = this.#turns?.get(id)
    if (known !== undefined || this.#pages === undefined) return known
    for (let i = this.#pages.length - 1; i >= 0; i--) {
      const turn = turnIn(this.id, this.#pages[i]!, id)
      if (turn !== undefined) return turn
    }
    return undefined
  }

  /** A turn whose id does not lead here; such a one is never frozen. */
  unled(id: TurnId): Turn | undefined {
    return this.#turns?.get(id)
  }

  turnByKey(key: string): Turn | undefined {
    const id = this.#keys?.get(key)
    return id === undefined ? undefined : this.turn(id)
  }

  openTurns(): ReadonlyArray<Turn> {
    return [...(this.#turns?.values() ?? [])].filter((turn) => !isTerminal(turn))
  }

  /** Open and ended, page by page. */
  *turns(): Generator<Turn> {
    for (const page of this.#pages ?? []) yield* thaw(this.id, page).turns
    if (this.#turns !== undefined) yield* this.#turns.values()
  }

  // Retention

  /** Nothing is older. */
  get since(): number {
    return this.#pages?.[0]?.since ?? this.#entries[0]?.at ?? Infinity
  }

  /** Everything as objects again, to be taken apart one by one; the next commits freeze it anew. */
  thaw(): void {
    const pages = this.#pages
    if (pages === undefined) return
    this.#pages = undefined
    const recent = this.#entries
    const turns = this.#turns
    this.#entries = []
    this.#turns = new Map()
    for (const page of pages) {
      const thawed = thaw(this.id, page)
      for (const entry of thawed.entries) this.#entries.push(entry)
      for (const turn of thawed.turns) this.#turns.set(turn.id, turn)
    }
    for (const entry of recent) this.#entries.push(entry)
    for (const turn of turns?.values() ?? []) this.#turns.set(turn.id, turn)
  }

  forget(turn: Turn): void {
    this.#forgetTurn(turn.id)
  }

  /** Drops entries from the front for as long as they may go and no turn that is kept began with them. Thawed only. */
  dropWhile(goes: (entry: TranscriptEntry) => boolean): number {
    let needed = Infinity
    for (const turn of this.#turns?.values() ?? []) needed = Math.min(needed, turn.firstSeq)
    let dropped = 0
    for (const entry of this.#entries) {
      if (entry.seq >= needed || !goes(entry)) break
      this.bytes -= weigh(entry)
      dropped++
    }
    this.#entries.splice(0, dropped)
    return dropped
  }

  /** After a retention: what is old is a text again. */
  refreeze(): void {
    this.#freeze()
  }
}

const endOf = (page: FrozenPage | undefined): number => (page === undefined ? 0 : page.first + page.count - 1)
