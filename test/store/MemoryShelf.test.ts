import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { makeIds, type Ids } from "../../src/domain/Ids.ts"
import type { SessionStore } from "../../src/domain/SessionStore.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { pageEntries } from "../../src/store/MemoryShelf.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"
import { StoreWriter } from "./StoreWriter.ts"

const seed = Math.floor(Math.random() * 2 ** 31)
console.log(`seed ${seed}`)
const randomBy = (start: number) => {
  let state = start
  return (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** Turns as a runtime names them, some under a key, so many pages of them; each one as it ended. */
const converse = (store: SessionStore["Service"], ids: Ids, name: string, turns: number, limits = {}) =>
  Effect.gen(function* () {
    const random = randomBy(seed)
    const base = sessionOf(name, limits)
    const id = ids.session()
    const writer = new StoreWriter(store, { ...base, id }, 1_000)
    const done: Array<Turn> = []
    const entries: Array<TranscriptEntry> = []
    const commit = (given: Parameters<typeof store.commit>[0]) => {
      entries.push(...given.entries)
      return store.commit(given)
    }
    for (let i = 0; i < turns; i++) {
      const named = { ...writer.turn(`question ${i}`, random(4) === 0 ? `key-${i}` : null), id: ids.turn(id) }
      yield* commit(writer.accepted(named))
      for (let n = random(3); n > 0; n--)
        yield* commit(writer.commitOf([[{ type: "turn/delta", text: `d${n}` }, named]]))
      const [ended, last] = writer.ended(named, random(2) === 0 ? `answer ${i}` : "long ".repeat(400))
      yield* commit(last)
      done.push(ended)
    }
    return { id, done, entries, writer }
  })

const run = (body: (store: SessionStore["Service"]) => Effect.Effect<void, unknown>) =>
  Effect.runPromise(Effect.orDie(body(MemorySessionStore.make())))

describe("the memory store's old pages", () => {
  it("give every entry and turn back as they were, by page, by id and by key", () =>
    run((store) =>
      Effect.gen(function* () {
        const ids = makeIds()
        const { id, done, entries } = yield* converse(store, ids, "a", 8 * pageEntries)
        const whole = yield* store.transcript(id, { limit: 1e6 })
        expect(whole.entries).toEqual(entries)
        for (const after of [
          0,
          1,
          pageEntries - 1,
          pageEntries,
          3 * pageEntries + 5,
          entries.length - 1,
          entries.length,
        ]) {
          const page = yield* store.transcript(id, { after, limit: 70 })
          expect(page.entries).toEqual(entries.slice(after, after + 70))
          expect([page.nextAfter, page.trimmed]).toEqual([Math.min(after + 70, entries.length), 0])
        }
        for (const turn of done) {
          expect(yield* store.turn(turn.id)).toEqual(turn)
          if (turn.idempotencyKey !== null) expect(yield* store.turnByKey(id, turn.idempotencyKey)).toEqual(turn)
        }
        expect(yield* store.turn(ids.turn(id))).toBe(undefined)
        expect(yield* store.turn(ids.turn(ids.session()))).toBe(undefined)
        expect((yield* store.search({ query: "question 3" })).map(({ turn }) => turn)).toEqual([done[3]])
      }),
    ))

  it("go at the limit of entries, and with them their turns and keys, and no others", () =>
    run((store) =>
      Effect.gen(function* () {
        const kept = 5 * pageEntries + 7
        const { id, done, entries } = yield* converse(store, makeIds(), "a", 20 * pageEntries, {
          transcriptEntries: kept,
        })
        const page = yield* store.transcript(id, { limit: 1e6 })
        expect(page.entries).toEqual(entries.slice(-kept))
        expect(page.trimmed).toBe(entries.length - kept)
        const first = page.entries[0]!.seq
        for (const turn of done) {
          const found = yield* store.turn(turn.id)
          const byKey = turn.idempotencyKey === null ? found : yield* store.turnByKey(id, turn.idempotencyKey)
          expect(byKey).toEqual(found)
          if (turn.lastSeq >= first) expect(found).toEqual(turn)
          // A page goes once all of it is over, when the next one is made.
          else if (turn.lastSeq < first - 2 * pageEntries) expect(found).toBe(undefined)
        }
      }),
    ))

  it("go at the limit of bytes, a page or less too early", () =>
    run((store) =>
      Effect.gen(function* () {
        const limit = 300_000
        const { id, entries } = yield* converse(store, makeIds(), "a", 1_500, { transcriptBytes: limit })
        const bytes = yield* store.sizeBytes
        expect(bytes).toBeLessThanOrEqual(limit)
        expect(bytes).toBeGreaterThan(limit / 2)
        const page = yield* store.transcript(id, { limit: 1e6 })
        expect(page.entries).toEqual(entries.slice(page.trimmed))
      }),
    ))

  it("keep a turn that is open for long, and one whose id leads nowhere", () =>
    run((store) =>
      Effect.gen(function* () {
        const ids = makeIds()
        const { id, writer } = yield* converse(store, ids, "a", 1)
        const open = { ...writer.turn("open", "k"), id: ids.turn(id) }
        yield* store.commit(writer.accepted(open))
        const stray = writer.turn("stray")
        yield* store.commit(writer.accepted(stray))
        const [ended, last] = writer.ended(stray, "t")
        yield* store.commit(last)
        for (let i = 0; i < 5 * pageEntries; i++) yield* writer.note()
        expect(yield* store.turn(open.id)).toEqual(open)
        expect(yield* store.turnByKey(id, "k")).toEqual(open)
        expect(yield* store.turn(stray.id)).toEqual(ended)
        expect((yield* store.recoverable)[0]?.openTurns).toEqual([open])
        const [closed, end] = writer.ended(open, "late")
        yield* store.commit(end)
        for (let i = 0; i < 5 * pageEntries; i++) yield* writer.note()
        expect(yield* store.turn(open.id)).toEqual(closed)
        expect(yield* store.turnByKey(id, "k")).toEqual(closed)
        yield* store.remove(id)
        for (const turn of [open, stray]) expect(yield* store.turn(turn.id)).toBe(undefined)
      }),
    ))

  it("are taken apart by a retention, and whole again after it", () =>
    run((store) =>
      Effect.gen(function* () {
        const { id, done, entries, writer } = yield* converse(store, makeIds(), "a", 6 * pageEntries)
        const cut = done[2 * pageEntries]!
        const { removedTurns } = yield* store.retain({ maxAgeMs: 0, now: cut.endedAt! })
        expect(removedTurns).toBe(2 * pageEntries)
        const page = yield* store.transcript(id, { limit: 1e6 })
        expect(page.entries).toEqual(entries.slice(cut.firstSeq - 1))
        expect(page.trimmed).toBe(cut.firstSeq - 1)
        for (const turn of done) {
          const old = turn.endedAt! < cut.endedAt!
          expect(yield* store.turn(turn.id)).toEqual(old ? undefined : turn)
          if (turn.idempotencyKey !== null && old)
            expect(yield* store.turnByKey(id, turn.idempotencyKey)).toBe(undefined)
        }
        yield* writer.note("on")
        expect((yield* store.transcript(id, { after: entries.length })).entries.map(({ type }) => type)).toEqual([
          "note",
        ])
        const half = (yield* store.sizeBytes) / 2
        yield* store.retain({ maxBytes: half, now: 0 })
        expect(yield* store.sizeBytes).toBeLessThanOrEqual(half)
        expect(yield* store.turn(done.at(-1)!.id)).toEqual(done.at(-1))
      }),
    ))
})
