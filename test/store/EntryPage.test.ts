import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { TranscriptBody, TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { EntryPage } from "../../src/store/EntryPage.ts"
import { checked } from "../support/Property.ts"

const session = "ses_a1" as SessionId
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("", "\uD800", "0", "x".repeat(1025), "é".repeat(3000), '"turn_a1T1"'),
)
/** As a child's JSON comes: without a negative zero. */
const json = fc.json().map((given) => JSON.parse(given) as unknown)
const time = fc.integer({ min: 0, max: 2 ** 41 })
const status = fc.constantFrom("completed" as const, "failed" as const, "lost" as const)

const body: fc.Arbitrary<TranscriptBody> = fc.oneof(
  fc.record({ type: fc.constant("turn/queued" as const), prompt: text }),
  fc.record({
    type: fc.constant("turn/queued" as const),
    prompt: fc.array(fc.record({ type: fc.constant("text" as const), text })),
  }),
  fc.record({ type: fc.constant("turn/started" as const), attempt: fc.nat() }),
  fc.record({ type: fc.constant("turn/delta" as const), text }),
  fc.record({
    type: fc.constant("turn/ended" as const),
    status,
    text,
    stopReason: fc.option(text),
    durationMs: fc.nat(),
  }),
  fc.record({
    type: fc.constant("turn/ended" as const),
    status,
    text,
    stopReason: fc.constant(null),
    error: fc.record({
      tag: text,
      message: text,
      more: json,
    }),
    usage: fc.dictionary(fc.string({ minLength: 1 }), fc.nat()).map((usage) => ({ ...usage })),
    durationMs: fc.nat(),
  }),
  fc.record({
    type: fc.constant("output" as const),
    stream: fc.constantFrom("stdout" as const, "stderr" as const),
    data: text,
  }),
  fc.record({ type: fc.constant("native" as const), message: json }),
  fc.record({ type: fc.constant("note" as const), text }),
)

const entries = fc
  .array(fc.record({ body, at: time, incarnation: fc.nat(), turn: fc.option(fc.nat({ max: 3 })) }), { minLength: 1 })
  .chain((given) =>
    fc.integer({ min: 1, max: 1e9 }).map((first) =>
      given.map(({ body: what, at, incarnation, turn }, i): TranscriptEntry => {
        const head = { session, seq: first + i, at, incarnation }
        return turn === null ? { ...head, ...what } : { ...head, turn: `turn_a1T${turn}` as TurnId, ...what }
      }),
    ),
  )

/** What a store would hold of the turns that end in these entries; `change` makes some differ from their entries. */
const turnsOf = (given: ReadonlyArray<TranscriptEntry>, change: number): Map<TurnId, Turn> => {
  const turns = new Map<TurnId, Turn>()
  for (const entry of given) {
    if (entry.type !== "turn/ended" || entry.turn === undefined) continue
    const begin = given.find((other) => other.turn === entry.turn && other.type === "turn/queued")
    turns.set(entry.turn, {
      id: entry.turn,
      session,
      status: entry.status,
      prompt: begin?.type === "turn/queued" && change !== 1 ? begin.prompt : "another",
      text: change === 2 ? "another" : entry.text,
      stopReason: entry.stopReason,
      usage: entry.usage ?? null,
      error: entry.error ?? null,
      idempotencyKey: change === 3 ? "key" : null,
      queuedAt: entry.at - 5,
      startedAt: change === 4 ? null : entry.at - 2,
      endedAt: entry.at,
      firstSeq: begin?.seq ?? 1,
      lastSeq: entry.seq,
    })
  }
  return turns
}

describe("a page of entries", () => {
  it("gives back the entries and turns that were put into it, whatever they hold, open and sealed", () => {
    checked(entries, fc.nat({ max: 4 }), (given, change) => {
      const turns = turnsOf(given, change)
      const page = new EntryPage(session, given[0]!)
      for (const entry of given) {
        page.add(entry, 7)
        if (entry.type !== "turn/ended" || entry.turn === undefined) continue
        const turn = turns.get(entry.turn)!
        if (turn.lastSeq === entry.seq) page.addTurn(turn, entry)
      }
      for (const sealed of [false, true]) {
        if (sealed) page.seal()
        expect(page.entries()).toEqual(given)
        expect(page.entries(given.length - 1)).toEqual(given.slice(-1))
        expect(new Map(page.turns().map((turn) => [turn.id, turn]))).toEqual(turns)
        for (const [id, turn] of turns) expect(page.turn(id)).toEqual(turn)
        expect(page.turn("turn_a1T9" as TurnId)).toBe(undefined)
        expect([page.count, page.bytes, page.last]).toEqual([given.length, 7 * given.length, given.at(-1)!.seq])
      }
    })
  })
})
