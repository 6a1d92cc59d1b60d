/**
 * Old entries of a transcript, with the turns that ended among them, as one text. Objects that live long are what a
 * garbage collector works hardest for; a text is one thing to it. What is frozen is thawed as it was.
 */
import { leadsTo, type SessionId, type TurnId } from "../domain/Ids.ts"
import type { TranscriptBody, TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"

export interface FrozenPage {
  /** The `seq` of its first entry; they follow without gaps. */
  readonly first: number
  readonly count: number
  /** When its oldest entry was made. */
  readonly since: number
  /** What its entries weighed. */
  readonly bytes: number
  /** Turns that ended here and of which something is kept besides: a key, or a record that no id leads to. */
  readonly remembered: ReadonlyArray<TurnId>
  /** A JSON array: times count from `since`, turns are places in its list of ids, long texts places in `long`. */
  readonly text: string
  /** Left as they are: to write them anew would cost more than to keep them. */
  readonly long: ReadonlyArray<string>
}

/** Longer texts are not copied. */
const longText = 1024

const other = 0
const queued = 1
const started = 2
const delta = 3
const ended = 4
const output = 5

/** What no known form holds: the record itself. Else what the entries of the page do not say of a turn. */
type FlatTurn =
  | Turn
  | readonly [
      id: number,
      promptOrEntry: number | Turn["prompt"],
      key: string | null,
      queuedAt: number,
      startedAt: number | null,
      endedAt: number,
      firstSeq: number,
      lastSeq: number,
      endEntry: number,
    ]

type Flat = readonly [ids: Array<TurnId>, entries: Array<unknown>, turns: Array<FlatTurn>]

const kindOf = (entry: TranscriptEntry): number => {
  switch (entry.type) {
    case "turn/queued":
      return typeof entry.prompt === "string" ? queued : other
    case "turn/started":
      return started
    case "turn/delta":
      return delta
    case "turn/ended":
      return entry.error === undefined && entry.usage === undefined ? ended : other
    case "output":
      return output
    default:
      return other
  }
}

/** Entries in order and without gaps; `turnOf` knows the turns that are kept. */
export const freeze = (
  session: SessionId,
  entries: ReadonlyArray<TranscriptEntry>,
  bytes: number,
  turnOf: (id: TurnId) => Turn | undefined,
): FrozenPage => {
  const { seq: first, at: since } = entries[0]!
  const ids: Array<TurnId> = []
  const flat: Array<unknown> = []
  const turns: Array<FlatTurn> = []
  const long: Array<string> = []
  const remembered: Array<TurnId> = []
  /** By the turn's place: the entry that tells its prompt. */
  const begins: Array<number | undefined> = []
  const placeOf = (id: TurnId): number => {
    const known = ids.lastIndexOf(id)
    return known >= 0 ? known : ids.push(id) - 1
  }
  const textOf = (text: string): string | number => (text.length > longText ? long.push(text) - 1 : text)

  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!
    const { turn: id } = entry
    const kind = kindOf(entry)
    const place = id === undefined ? -1 : placeOf(id)
    flat.push(kind, entry.at - since, entry.incarnation, place)
    switch (kind) {
      case queued:
        flat.push(textOf((entry as { prompt: string }).prompt))
        if (place >= 0) begins[place] = i
        break
      case started:
        flat.push((entry as { attempt: number }).attempt)
        break
      case delta:
        flat.push(textOf((entry as { text: string }).text))
        break
      case ended: {
        const { status, text, stopReason, durationMs } = entry as Extract<TranscriptEntry, { type: "turn/ended" }>
        flat.push(status, textOf(text), stopReason, durationMs)
        break
      }
      case output: {
        const { stream, data } = entry as Extract<TranscriptEntry, { type: "output" }>
        flat.push(stream, textOf(data))
        break
      }
      default: {
        const { session: _, seq: __, at: ___, incarnation: ____, turn: _____, ...body } = entry
        flat.push(body)
      }
    }
    if (entry.type !== "turn/ended" || id === undefined) continue
    const turn = turnOf(id)
    if (turn === undefined || !isTerminal(turn)) continue
    const reachable = leadsTo(id, session)
    if (!reachable || turn.idempotencyKey !== null) remembered.push(id)
    if (reachable) turns.push(flatTurn(turn, place, entries, begins[place], i, since))
  }
  return {
    first,
    count: entries.length,
    since,
    bytes,
    remembered,
    text: JSON.stringify([ids, flat, turns] satisfies Flat),
    long,
  }
}

const flatTurn = (
  turn: Turn,
  place: number,
  entries: ReadonlyArray<TranscriptEntry>,
  begin: number | undefined,
  end: number,
  since: number,
): FlatTurn => {
  const { status, text, stopReason, usage, error, endedAt } = turn
  const told = entries[end] as Extract<TranscriptEntry, { type: "turn/ended" }>
  if (status !== told.status || text !== told.text || stopReason !== told.stopReason) return turn
  if (usage !== null || error !== null || endedAt === null || turn.session !== told.session) return turn
  const first = begin === undefined ? undefined : entries[begin]
  return [
    place,
    begin !== undefined && first?.type === "turn/queued" && first.prompt === turn.prompt ? begin : turn.prompt,
    turn.idempotencyKey,
    turn.queuedAt - since,
    turn.startedAt === null ? null : turn.startedAt - since,
    endedAt - since,
    turn.firstSeq,
    turn.lastSeq,
    end,
  ]
}

export interface Thawed {
  readonly entries: Array<TranscriptEntry>
  readonly turns: Array<Turn>
}

export const thaw = (session: SessionId, { first, count, since, text, long }: FrozenPage): Thawed => {
  const [ids, flat, flatTurns] = JSON.parse(text) as Flat
  const entries: Array<TranscriptEntry> = []
  let at = 0
  const next = <A>(): A => flat[at++] as A
  const nextText = (): string => {
    const given = next<string | number>()
    return typeof given === "number" ? long[given]! : given
  }
  const body = (kind: number): TranscriptBody => {
    switch (kind) {
      case queued:
        return { type: "turn/queued", prompt: nextText() }
      case started:
        return { type: "turn/started", attempt: next() }
      case delta:
        return { type: "turn/delta", text: nextText() }
      case ended:
        return { type: "turn/ended", status: next(), text: nextText(), stopReason: next(), durationMs: next() }
      case output:
        return { type: "output", stream: next(), data: nextText() }
      default:
        return next()
    }
  }
  for (let i = 0; i < count; i++) {
    const kind = next<number>()
    const head = { session, seq: first + i, at: since + next<number>(), incarnation: next<number>() }
    const place = next<number>()
    entries.push(place < 0 ? { ...head, ...body(kind) } : { ...head, turn: ids[place]!, ...body(kind) })
  }
  const turns = flatTurns.map((turn): Turn => {
    if (!("length" in turn)) return turn
    const [place, prompt, idempotencyKey, queuedAt, startedAt, endedAt, firstSeq, lastSeq, endEntry] = turn
    const { status, text: answer, stopReason } = entries[endEntry] as Extract<TranscriptEntry, { type: "turn/ended" }>
    return {
      id: ids[place]!,
      session,
      status,
      prompt: typeof prompt === "number" ? (entries[prompt] as { prompt: Turn["prompt"] }).prompt : prompt,
      text: answer,
      stopReason,
      usage: null,
      error: null,
      idempotencyKey,
      queuedAt: since + queuedAt,
      startedAt: startedAt === null ? null : since + startedAt,
      endedAt: since + endedAt,
      firstSeq,
      lastSeq,
    }
  })
  return { entries, turns }
}

/** The turn that ended in this page, if it did. */
export const turnIn = (session: SessionId, page: FrozenPage, id: TurnId): Turn | undefined =>
  page.text.includes(`"${id}"`) ? thaw(session, page).turns.find((turn) => turn.id === id) : undefined
