/**
 * Some entries of a transcript in a row, with the turns that ended among them, as a list of plain values while they come
 * and as one text afterwards: objects that live long are what a garbage collector works hardest for. Taken apart when
 * they come, while they are in the processor's cache, and put together again for each reader.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { TranscriptBody, TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"

/** Longer texts are kept as they are: to write them anew would cost more. */
const longText = 1024

const other = 0
const queued = 1
const started = 2
const delta = 3
const ended = 4
const output = 5

/** What the entries do not say of a turn; or the record itself, where it says otherwise than its end. */
type FlatTurn =
  | Turn
  | readonly [
      end: number,
      promptOrEntry: number | Turn["prompt"],
      key: string | null,
      queuedAt: number,
      startedAt: number | null,
      endedAt: number,
      firstSeq: number,
      lastSeq: number,
    ]

/** Times count from `since`; turns are places in `ids`, texts that are numbers places in `long`. */
interface Values {
  readonly ids: Array<TurnId>
  readonly flat: Array<unknown>
  /** Where in `flat` each entry begins. */
  readonly starts: Array<number>
  readonly turns: Array<FlatTurn>
}

export class EntryPage {
  readonly #session: SessionId
  /** The `seq` of its first entry; they follow without gaps. */
  readonly first: number
  /** When its first entry was made. */
  readonly since: number
  count = 0
  /** What its entries weigh. */
  bytes = 0
  /** Turns that ended here and of which something is kept elsewhere. */
  remembered: Array<TurnId> | undefined
  #open: Values | undefined = { ids: [], flat: [], starts: [], turns: [] }
  #text = ""
  #long: Array<string> | undefined

  constructor(session: SessionId, { seq, at }: TranscriptEntry) {
    this.#session = session
    this.first = seq
    this.since = at
  }

  /** The `seq` of its last entry. */
  get last(): number {
    return this.first + this.count - 1
  }

  // Writing, until it is sealed

  add(entry: TranscriptEntry, weight: number): void {
    const { flat, starts, ids } = this.#open!
    const { turn } = entry
    starts.push(flat.length)
    this.count++
    this.bytes += weight
    const place = turn === undefined ? -1 : placeOf(ids, turn)
    const at = entry.at - this.since
    switch (entry.type) {
      case "turn/queued":
        if (typeof entry.prompt !== "string") break
        flat.push(queued, at, entry.incarnation, place, this.#textOf(entry.prompt))
        return
      case "turn/started":
        flat.push(started, at, entry.incarnation, place, entry.attempt)
        return
      case "turn/delta":
        flat.push(delta, at, entry.incarnation, place, this.#textOf(entry.text))
        return
      case "turn/ended": {
        if (entry.error !== undefined || entry.usage !== undefined) break
        const { status, stopReason, durationMs } = entry
        flat.push(ended, at, entry.incarnation, place, status, this.#textOf(entry.text), stopReason, durationMs)
        return
      }
      case "output":
        flat.push(output, at, entry.incarnation, place, entry.stream, this.#textOf(entry.data))
        return
      default:
    }
    const { session: _, seq: __, at: ___, incarnation: ____, turn: _____, ...body } = entry
    flat.push(other, at, entry.incarnation, place, body)
  }

  /** The turn whose end was added last. */
  addTurn(turn: Turn, end: Extract<TranscriptEntry, { readonly type: "turn/ended" }>): void {
    const { turns } = this.#open!
    const { since } = this
    const { status, text, stopReason, usage, error, endedAt } = turn
    const told =
      status === end.status &&
      text === end.text &&
      stopReason === end.stopReason &&
      turn.timeoutMs === undefined &&
      turn.attempts === undefined
    if (!told || usage !== null || error !== null || endedAt === null || turn.session !== this.#session) {
      turns.push(turn)
      return
    }
    turns.push([
      this.count - 1,
      this.#beginOf(turn) ?? turn.prompt,
      turn.idempotencyKey,
      turn.queuedAt - since,
      turn.startedAt === null ? null : turn.startedAt - since,
      endedAt - since,
      turn.firstSeq,
      turn.lastSeq,
    ])
  }

  /** The entry here that says the turn's prompt. */
  #beginOf({ firstSeq, id, prompt }: Turn): number | undefined {
    const index = firstSeq - this.first
    const { starts, flat, ids } = this.#open!
    if (index < 0 || index >= this.count) return undefined
    const at = starts[index]!
    const text = flat[at + 4]
    const same = flat[at] === queued && ids[flat[at + 3] as number] === id
    return same && (typeof text === "number" ? this.#long![text] : text) === prompt ? index : undefined
  }

  #textOf(text: string): string | number {
    return text.length > longText ? (this.#long ??= []).push(text) - 1 : text
  }

  /** Nothing is added from here on. */
  seal(): void {
    const { ids, flat, starts, turns } = this.#open!
    this.#text = JSON.stringify([ids, flat, starts, turns])
    this.#open = undefined
  }

  // Reading

  #values(): Values {
    if (this.#open !== undefined) return this.#open
    const [ids, flat, starts, turns] = JSON.parse(this.#text) as [
      Values["ids"],
      Array<unknown>,
      Array<number>,
      Array<FlatTurn>,
    ]
    return { ids, flat, starts, turns }
  }

  /** From the entry at a place on. */
  entries(from = 0): Array<TranscriptEntry> {
    const values = this.#values()
    const entries: Array<TranscriptEntry> = []
    for (let i = Math.max(0, from); i < this.count; i++) entries.push(this.#entry(values, i))
    return entries
  }

  #entry({ ids, flat, starts }: Values, index: number): TranscriptEntry {
    const start = starts[index]!
    const place = flat[start + 3] as number
    const head = {
      session: this.#session,
      seq: this.first + index,
      at: this.since + (flat[start + 1] as number),
      incarnation: flat[start + 2] as number,
    }
    return Object.assign(place < 0 ? head : { ...head, turn: ids[place]! }, this.#body(flat, start))
  }

  #body(flat: ReadonlyArray<unknown>, start: number): TranscriptBody {
    const value = <A>(at: number): A => flat[start + 4 + at] as A
    const text = (at: number): string => {
      const given = value<string | number>(at)
      return typeof given === "number" ? this.#long![given]! : given
    }
    switch (flat[start]) {
      case queued:
        return { type: "turn/queued", prompt: text(0) }
      case started:
        return { type: "turn/started", attempt: value(0) }
      case delta:
        return { type: "turn/delta", text: text(0) }
      case ended:
        return { type: "turn/ended", status: value(0), text: text(1), stopReason: value(2), durationMs: value(3) }
      case output:
        return { type: "output", stream: value(0), data: text(1) }
      default:
        return value(0)
    }
  }

  /** The turns that ended here and whose ids lead here. */
  turns(): Array<Turn> {
    const values = this.#values()
    return values.turns.map((turn) => this.#turn(values, turn))
  }

  #turn(values: Values, turn: FlatTurn): Turn {
    if (!("length" in turn)) return turn
    const [end, prompt, idempotencyKey, queuedAt, startedAt, endedAt, firstSeq, lastSeq] = turn
    const { since } = this
    const told = this.#entry(values, end) as Extract<TranscriptEntry, { type: "turn/ended" }>
    return {
      id: told.turn!,
      session: this.#session,
      status: told.status,
      prompt: typeof prompt === "number" ? (this.#entry(values, prompt) as { prompt: Turn["prompt"] }).prompt : prompt,
      text: told.text,
      stopReason: told.stopReason,
      usage: null,
      error: null,
      idempotencyKey,
      queuedAt: since + queuedAt,
      startedAt: startedAt === null ? null : since + startedAt,
      endedAt: since + endedAt,
      firstSeq,
      lastSeq,
    }
  }

  /** The turn, if it ended here. */
  turn(id: TurnId): Turn | undefined {
    const here = this.#open === undefined ? this.#text.includes(`"${id}"`) : this.#open.ids.includes(id)
    return here ? this.turns().findLast((turn) => turn.id === id) : undefined
  }
}

/** A turn's entries mostly follow each other. */
const placeOf = (ids: Array<TurnId>, id: TurnId): number => {
  const newest = ids.length - 1
  if (newest >= 0 && ids[newest] === id) return newest
  const known = ids.lastIndexOf(id)
  return known >= 0 ? known : ids.push(id) - 1
}
