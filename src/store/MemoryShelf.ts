/**
 * What the memory store keeps of one session: its entries in pages, its open turns, and the way to those that ended.
 * Bounded by the session's limits; what is over them goes a page at a time.
 */
import { leadsTo, type SessionId, type TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { LimitsSpec } from "../domain/SessionSpec.ts"
import type { Commit, TranscriptPage, TranscriptQuery } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import { EntryPage } from "./EntryPage.ts"
import { weigh } from "./EntryWeight.ts"

/** Where a spec names no `transcriptBytes`: memory must have some bound. */
export const defaultTranscriptBytes = 16 * 1024 * 1024
const defaultLimit = 1000

/** So many entries make a page, or so many bytes; one session's share of its bytes is divided among several. */
export const pageEntries = 64
const pageBytes = 64 * 1024
const pagesAtLeast = 8

type TurnEnd = Extract<TranscriptEntry, { readonly type: "turn/ended" }>

/** Everything of a session, taken apart for a retention. */
export interface Loose {
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly turns: ReadonlyArray<Turn>
}

export class MemoryShelf {
  readonly ordinal: number
  readonly id: SessionId
  history: unknown
  bytes = 0
  #latest: Commit
  #limits: LimitsSpec
  /** In order and without gaps; the newest one is not sealed, the oldest may be over the limit in part. */
  #pages: Array<EntryPage> = []
  /** The newest open one, which in most sessions is the only one; and all others, and those that no id leads to. */
  #turn: Turn | undefined
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
    const last = this.#pages.at(-1)?.last ?? 0
    // Made a second time, a commit changes nothing.
    if (commit.entries.length > 0 && commit.entries.at(-1)!.seq <= last) return
    for (const turn of commit.turns) {
      if (turn.idempotencyKey !== null) (this.#keys ??= new Map()).set(turn.idempotencyKey, turn.id)
      if (turn.lastSeq > last || !isTerminal(turn) || this.#lookUp(turn.id) === undefined) this.#hold(turn)
    }
    for (const entry of commit.entries) if (entry.seq > last) this.#append(entry)
    const { transcriptBytes = defaultTranscriptBytes } = this.#limits
    if (this.bytes > transcriptBytes) this.#trim()
  }

  #append(entry: TranscriptEntry): void {
    const weight = weigh(entry)
    let page = this.#pages.at(-1)
    if (page === undefined || page.count >= pageEntries || page.bytes + weight > this.#pageBytes()) {
      page?.seal()
      if (page !== undefined) this.#trim()
      this.#pages.push((page = new EntryPage(this.id, entry)))
    }
    page.add(entry, weight)
    this.bytes += weight
    if (entry.type !== "turn/ended" || entry.turn === undefined) return
    const turn = this.#held(entry.turn)
    if (turn !== undefined && isTerminal(turn)) this.#file(page, turn, entry)
  }

  #pageBytes(): number {
    return Math.min(pageBytes, (this.#limits.transcriptBytes ?? defaultTranscriptBytes) / pagesAtLeast)
  }

  /** A turn that ended rests with its last entry. */
  #file(page: EntryPage, turn: Turn, end: TurnEnd): void {
    const reachable = leadsTo(turn.id, this.id)
    if (!reachable || turn.idempotencyKey !== null) (page.remembered ??= []).push(turn.id)
    if (!reachable) return
    page.addTurn(turn, end)
    this.#drop(turn.id)
  }

  #held(id: TurnId): Turn | undefined {
    return this.#turn?.id === id ? this.#turn : this.#turns?.get(id)
  }

  #hold(turn: Turn): void {
    if (this.#turn?.id === turn.id || (this.#turn === undefined && this.#turns?.has(turn.id) !== true))
      this.#turn = turn
    else (this.#turns ??= new Map()).set(turn.id, turn)
  }

  #drop(id: TurnId): void {
    if (this.#turn?.id === id) this.#turn = undefined
    else if (this.#turns?.delete(id) === true && this.#turns.size === 0) this.#turns = undefined
  }

  /** The `seq` of the oldest entry, or of the next one while there is none. */
  #firstSeq(): number {
    return this.#pages[0]?.first ?? this.session.seq + 1
  }

  /** How many entries at the front are over the limit of entries. */
  #surplus(): number {
    const [first] = this.#pages
    if (first === undefined) return 0
    return Math.max(0, this.#pages.at(-1)!.last - first.first + 1 - this.#limits.transcriptEntries)
  }

  /** Drops pages of which all is over a limit; the newest stays. */
  #trim(): void {
    this.#limits = this.session.spec.limits
    const { transcriptBytes = defaultTranscriptBytes } = this.#limits
    let surplus = this.#surplus()
    let gone = 0
    for (const page of this.#pages) {
      if (gone === this.#pages.length - 1 || (surplus < page.count && this.bytes <= transcriptBytes)) break
      gone++
      surplus -= page.count
      this.bytes -= page.bytes
      for (const id of page.remembered ?? []) this.#forget(id, this.#held(id) ?? page.turn(id))
    }
    if (gone > 0) this.#pages.splice(0, gone)
  }

  #forget(id: TurnId, turn: Turn | undefined): void {
    const key = turn?.idempotencyKey
    if (key != null && this.#keys?.get(key) === id) this.#keys.delete(key)
    this.#drop(id)
  }

  // Reading

  transcript({ after = 0, limit = defaultLimit, types, turn, all = false }: TranscriptQuery): TranscriptPage {
    this.#limits = this.session.spec.limits
    const trimmed = this.#firstSeq() - 1 + (all ? 0 : this.#surplus())
    const found: Array<TranscriptEntry> = []
    let nextAfter = Math.max(after, trimmed)
    const from = nextAfter
    // From the end: a reader that keeps up wants the last page alone.
    let index = this.#pages.length
    while (index > 0 && this.#pages[index - 1]!.last > from) index--
    for (; index < this.#pages.length && found.length < limit; index++) {
      const page = this.#pages[index]!
      for (const entry of page.entries(from + 1 - page.first)) {
        if (found.length >= limit) break
        nextAfter = entry.seq
        if (types !== undefined && !types.includes(entry.type)) continue
        if (turn !== undefined && entry.turn !== turn) continue
        found.push(entry)
      }
    }
    return { entries: found, nextAfter, trimmed }
  }

  turn(id: TurnId): Turn | undefined {
    return this.#held(id) ?? this.#lookUp(id)
  }

  /** Among the turns that ended. */
  #lookUp(id: TurnId): Turn | undefined {
    if (!leadsTo(id, this.id)) return undefined
    for (let i = this.#pages.length - 1; i >= 0; i--) {
      const turn = this.#pages[i]!.turn(id)
      if (turn !== undefined) return turn
    }
    return undefined
  }

  /** A turn whose id does not lead here. */
  stray(id: TurnId): Turn | undefined {
    return this.#held(id)
  }

  turnByKey(key: string): Turn | undefined {
    const id = this.#keys?.get(key)
    return id === undefined ? undefined : this.turn(id)
  }

  #allHeld(): ReadonlyArray<Turn> {
    const others = [...(this.#turns?.values() ?? [])]
    return this.#turn === undefined ? others : [this.#turn, ...others]
  }

  openTurns(): ReadonlyArray<Turn> {
    return this.#allHeld().filter((turn) => !isTerminal(turn))
  }

  /** Open and ended, page by page. */
  *turns(): Generator<Turn> {
    for (const page of this.#pages) yield* page.turns()
    yield* this.#allHeld()
  }

  // Retention

  /** When the oldest entry was made. */
  get since(): number {
    return this.#pages[0]?.since ?? Infinity
  }

  loose(): Loose {
    return { entries: this.#pages.flatMap((page) => page.entries()), turns: [...this.turns()] }
  }

  /** Keeps these in place of what was there; both in order. */
  replace({ entries, turns }: Loose): void {
    this.bytes = 0
    this.#pages = []
    this.#turn = undefined
    this.#turns = undefined
    this.#keys = undefined
    for (const turn of turns) {
      this.#hold(turn)
      if (turn.idempotencyKey !== null) (this.#keys ??= new Map()).set(turn.idempotencyKey, turn.id)
    }
    for (const entry of entries) this.#append(entry)
  }
}
