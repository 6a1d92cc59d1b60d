import * as fc from "fast-check"
import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { TranscriptPage, TranscriptQuery, TurnsPage, TurnsQuery } from "../../src/domain/SessionStore.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { boundedHistory, boundedTranscript, pageWeight } from "../../src/transport/BoundedPage.ts"
import { checked } from "../support/Property.ts"

const entry = (seq: number, length: number): TranscriptEntry => ({
  session: "ses_1" as SessionId,
  seq,
  at: 0,
  incarnation: 1,
  type: "note",
  text: "x".repeat(length),
})

/** A transcript of entries so long; `fits` as a query's types and turn would. */
const store = (lengths: ReadonlyArray<number>, fits: (seq: number) => boolean = () => true) => {
  const state = { trimmed: 0, held: 0, sessions: new Set<string>() }
  const read = (session: string, { after = 0, limit = 1000 }: TranscriptQuery): Effect.Effect<TranscriptPage> =>
    Effect.sync(() => {
      state.sessions.add(session)
      const entries: Array<TranscriptEntry> = []
      let nextAfter = Math.max(after, state.trimmed)
      for (let seq = nextAfter + 1; seq <= lengths.length && entries.length < limit; seq++) {
        if (fits(seq)) entries.push(entry(seq, lengths[seq - 1]!))
        nextAfter = seq
      }
      state.held = Math.max(
        state.held,
        entries.reduce((sum, each) => sum + (each.type === "note" ? each.text.length : 0), 0),
      )
      return { entries, nextAfter, trimmed: state.trimmed }
    })
  return { state, read }
}

const page = (read: ReturnType<typeof store>["read"], query: TranscriptQuery) =>
  Effect.runSync(boundedTranscript(read, "name", query))
const seqs = ({ entries }: TranscriptPage) => entries.map(({ seq }) => seq)
const oneTo = (count: number, from = 1) => Array.from({ length: count }, (_, n) => from + n)

describe("a page of a transcript", () => {
  it("is the one that the store gives, while entries are short", () => {
    const { read } = store(Array.from({ length: 3000 }, () => 10))
    for (const query of [
      {},
      { limit: 1 },
      { limit: 16 },
      { limit: 17 },
      { limit: 2999 },
      { after: 2990 },
      { after: 9999 },
    ])
      expect(page(read, query)).toEqual(Effect.runSync(read("name", query)))
  })

  it("ends where it is full, and goes on with the next, one entry at least in each", () => {
    const long = pageWeight / 4
    const { read, state } = store(Array.from({ length: 100 }, (_, n) => (n === 50 ? 2 * pageWeight : long)))
    const seen: Array<number> = []
    for (let after = 0; ;) {
      const got = page(read, { after, limit: 1000 })
      if (got.entries.length === 0) break
      expect(got.entries.length).toBeLessThanOrEqual(4)
      expect(got.nextAfter).toBe(got.entries.at(-1)!.seq)
      seen.push(...seqs(got))
      after = got.nextAfter
    }
    expect(seen).toEqual(oneTo(100))
    // Not what a page of a thousand would have held.
    expect(state.held).toBeLessThanOrEqual(16 * long + 2 * pageWeight)
  })

  it("tells of what was dropped while it was read, with the page that begins there", () => {
    const { read, state } = store(Array.from({ length: 200 }, () => 10))
    let reads = 0
    const racing: typeof read = (session, query) => {
      if (++reads === 2) state.trimmed = 40
      return read(session, query)
    }
    const first = page(racing, {})
    expect([seqs(first), first.nextAfter, first.trimmed]).toEqual([oneTo(16), 16, 0])
    const second = page(racing, { after: 16 })
    expect([seqs(second), second.nextAfter, second.trimmed]).toEqual([oneTo(160, 41), 200, 40])
  })

  it("stays with the session that its name meant first", () => {
    const { read, state } = store(Array.from({ length: 40 }, () => 10))
    page(read, {})
    expect([...state.sessions]).toEqual(["name", "ses_1"])
  })

  it("gives each entry that fits once, whatever the lengths, the limit and the filter", () => {
    const lengths = fc.array(fc.oneof(fc.nat({ max: 100 }), fc.constantFrom(pageWeight / 3, pageWeight)), {
      maxLength: 60,
    })
    checked(lengths, fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 7 }), (all, limit, every) => {
      const fits = (seq: number) => seq % every === 0
      const { read } = store(all, fits)
      const seen: Array<number> = []
      for (let after = 0; ;) {
        const got = page(read, { after, limit })
        expect(got.entries.length).toBeLessThanOrEqual(limit)
        seen.push(...seqs(got))
        if (got.entries.length === 0) break
        after = got.nextAfter
      }
      expect(seen).toEqual(oneTo(all.length).filter(fits))
    })
  })
})

describe("a page of a history", () => {
  const history = (lengths: ReadonlyArray<number>) => {
    const turn = (firstSeq: number) =>
      ({ id: `t${firstSeq}` as TurnId, session: "ses_1", firstSeq, text: "x".repeat(lengths[firstSeq - 1]!) }) as Turn
    return (_: string, { limit = 100, before = Infinity }: TurnsQuery): Effect.Effect<TurnsPage> =>
      Effect.sync(() => {
        const end = Math.min(lengths.length, before - 1)
        const turns = oneTo(Math.max(0, Math.min(limit, end))).map((n) => turn(end - n + 1))
        return { turns, nextBefore: end > limit ? turns.at(-1)!.firstSeq : null }
      })
  }

  it("gives each turn once, newest first, and is no longer than it may be", () => {
    const lengths = fc.array(fc.oneof(fc.nat({ max: 100 }), fc.constantFrom(pageWeight / 3, pageWeight)), {
      maxLength: 60,
    })
    checked(lengths, fc.integer({ min: 1, max: 40 }), (all, limit) => {
      const read = history(all)
      const seen: Array<number> = []
      let before: number | undefined
      do {
        const query: TurnsQuery = { limit, ...(before === undefined ? {} : { before }) }
        const got: TurnsPage = Effect.runSync(boundedHistory(read, "name", query))
        expect(got.turns.length).toBeLessThanOrEqual(limit)
        const weight = got.turns.slice(0, -1).reduce((sum, turn) => sum + turn.text.length, 0)
        expect(weight).toBeLessThan(pageWeight)
        seen.push(...got.turns.map(({ firstSeq }) => firstSeq))
        before = got.nextBefore ?? undefined
      } while (before !== undefined)
      expect(seen).toEqual(oneTo(all.length).toReversed())
    })
  })
})
