/** What every store must answer about a session's past and about all of them together: turns, counts, recovery of one. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, it } from "vitest"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import { sessionStatuses, type Session } from "../../src/domain/Session.ts"
import { resolveSpec, type RetentionSpec, type SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { allOf, StoreWriter } from "../store/StoreWriter.ts"
import { sessionOf } from "./SessionStoreSuite.ts"

type Store = SessionStore["Service"]

const named = (name: string, change: Partial<Session> = {}, spec: SessionSpecInput = {}): Session => ({
  ...sessionOf(name),
  ...change,
  spec: resolveSpec({ command: "x", ...spec, name }),
})

export const suite = (name: string, layer: Layer.Layer<SessionStore>): void => {
  /** Each twice: as commits leave things, and again with every step taken into the tables at once. */
  const within = (body: (store: Store, step: Effect.Effect<unknown>) => Effect.Effect<void, unknown>) => () =>
    Effect.forEach(
      [() => Effect.void, (store: Store) => Effect.orDie(allOf(store))],
      (step) =>
        Effect.flatMap(SessionStore, (store) => body(store, step(store))).pipe(Effect.provide(layer), Effect.orDie),
      { discard: true },
    ).pipe(Effect.runPromise)

  const put = (store: Store, session: Session) => store.commit({ session, entries: [], turns: [] })

  const answered = Effect.fnUntraced(function* (writer: StoreWriter, prompt: string, text = "t") {
    const turn = writer.turn(prompt)
    yield* writer.store.commit(writer.accepted(turn))
    const [done, commit] = writer.ended(turn, text)
    yield* writer.store.commit(commit)
    return done
  })

  describe(`session store history ${name}`, () => {
    it(
      "knows the id of every session that was not removed, once",
      within((store, step) =>
        Effect.gen(function* () {
          expect(yield* store.ids).toEqual([])
          for (const each of ["c", "a", "b", "a"]) {
            yield* put(store, named(each))
            yield* step
          }
          yield* put(store, named("b", { status: "stopped" }))
          expect((yield* store.ids).toSorted()).toEqual(["ses_a", "ses_b", "ses_c"])
          yield* store.remove("ses_a" as SessionId)
          expect((yield* store.ids).toSorted()).toEqual(["ses_b", "ses_c"])
        }),
      ),
    )

    it(
      "finds the newest session of a name, else the newest with that task",
      within((store, step) =>
        Effect.gen(function* () {
          const is = (ref: string) => Effect.map(store.find(ref), (found) => found?.id)
          const at = (id: string, session: Session): Session => ({ ...session, id: `ses_${id}` as SessionId })
          expect(yield* is("a")).toBe(undefined)
          yield* put(store, at("1", named("a", { status: "stopped" }, { task: "t" })))
          yield* step
          yield* put(store, at("2", named("a", { status: "failed" })))
          yield* step
          yield* put(store, at("3", named("b", {}, { task: "t" })))
          yield* step
          expect([yield* is("a"), yield* is("t"), yield* is("b"), yield* is("")]).toEqual([
            "ses_2",
            "ses_3",
            "ses_3",
            undefined,
          ])
          // One that is written again is not newer for that.
          yield* put(store, at("1", named("a", { status: "stopped", lastActiveAt: 9 }, { task: "t" })))
          yield* step
          expect([yield* is("a"), yield* is("t")]).toEqual(["ses_2", "ses_3"])
          // A name goes before a task, however old.
          yield* put(store, at("4", named("c", {}, { task: "a" })))
          yield* step
          expect(yield* is("a")).toBe("ses_2")
          // What is not called so any more is not found, and its newest record is what is answered.
          yield* put(store, at("2", named("z", { lastActiveAt: 5 })))
          yield* step
          yield* put(store, at("3", named("b", { lastActiveAt: 6 })))
          yield* step
          expect([yield* is("a"), yield* is("t"), yield* is("z")]).toEqual(["ses_1", "ses_1", "ses_2"])
          expect((yield* store.find("b"))?.lastActiveAt).toBe(6)
          yield* store.remove("ses_1" as SessionId)
          expect([yield* is("a"), yield* is("t")]).toEqual(["ses_4", undefined])
          for (const odd of ["a' OR '1'='1", "%", "a\0", "ses_2", "\uD800"]) expect(yield* is(odd)).toBe(undefined)
        }),
      ),
    )

    it(
      "gives a session's turns newest first, page by page, open ones among them, each in its newest state",
      within((store, step) =>
        Effect.gen(function* () {
          const [a, b] = [new StoreWriter(store, named("a")), new StoreWriter(store, named("b"))]
          const turns: Array<Turn> = []
          for (let i = 0; i < 7; i++) {
            turns.unshift(yield* answered(a, `p${i}`))
            yield* answered(b, "other")
            yield* step
          }
          const queued = [a.turn("q1"), { ...a.turn("q2"), firstSeq: 16, lastSeq: 16 }]
          yield* a.write(
            [
              [{ type: "turn/queued", prompt: "q1" }, queued[0]!],
              [{ type: "turn/queued", prompt: "q2" }, queued[1]!],
            ],
            queued,
          )
          yield* step
          const running: Turn = { ...queued[0]!, status: "running", startedAt: 5 }
          yield* a.write([[{ type: "turn/started", attempt: 1 }, running]], [running])
          yield* step
          const all = [queued[1]!, running, ...turns]
          expect(yield* store.turns(a.session.id, {})).toEqual({ turns: all, nextBefore: null })
          for (const limit of [1, 2, 3, 4, 8, 9, 10]) {
            const seen: Array<Turn> = []
            for (let before: number | undefined; ;) {
              const page = yield* store.turns(a.session.id, before === undefined ? { limit } : { limit, before })
              seen.push(...page.turns)
              expect(page.turns.length).toBe(Math.min(limit, all.length - seen.length + page.turns.length))
              if (page.nextBefore === null) break
              expect(page.nextBefore).toBe(page.turns.at(-1)!.firstSeq)
              before = page.nextBefore
            }
            expect(seen).toEqual(all)
          }
          for (const query of [{ limit: 0 }, { limit: -1 }, { before: 1 }, { before: 0 }, { before: -5 }]) {
            expect(yield* store.turns(a.session.id, query)).toEqual({ turns: [], nextBefore: null })
          }
          expect((yield* store.turns(a.session.id, { before: 1e9, limit: 1 })).turns).toEqual([queued[1]])
          // A turn that was accepted later ends first.
          const [done, commit] = a.ended(queued[1]!, "early")
          yield* store.commit(commit)
          yield* step
          expect((yield* store.turns(a.session.id, { limit: 2 })).turns).toEqual([done, running])
          expect(yield* store.turns("ses_none" as SessionId, {})).toEqual({ turns: [], nextBefore: null })
          yield* store.remove(a.session.id)
          expect((yield* store.turns(a.session.id, {})).turns).toEqual([])
          expect((yield* store.turns(b.session.id, {})).turns.length).toBe(7)
        }),
      ),
    )

    it(
      "gives 100 turns where no limit is asked for, and no turn that a retention took",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"))
          for (let i = 0; i < 120; i++) yield* answered(a, `p${i}`)
          const first = yield* store.turns(a.session.id, {})
          expect([first.turns.length, first.turns[0]!.prompt, first.nextBefore]).toEqual([100, "p119", 41])
          const rest = yield* store.turns(a.session.id, { before: first.nextBefore! })
          expect([rest.turns.length, rest.turns.at(-1)!.prompt, rest.nextBefore]).toEqual([20, "p0", null])
          yield* store.retain({ maxAgeMs: 0, now: 1e9 })
          expect((yield* store.turns(a.session.id, {})).turns.map(({ prompt }) => prompt)).toEqual(["p119"])
        }),
      ),
    )

    it(
      "keeps the time limit of a turn, and has none where none was given",
      within((store, step) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"))
          const limited: Turn = { ...a.turn("p"), timeoutMs: 1_234 }
          yield* store.commit(a.accepted(limited))
          yield* step
          expect(yield* store.turn(limited.id)).toEqual(limited)
          const [done, commit] = a.ended(limited, "t")
          yield* store.commit(commit)
          const plain = yield* answered(a, "q")
          yield* step
          const { turns } = yield* store.turns(a.session.id, {})
          expect(turns).toEqual([plain, done])
          expect(turns.map((turn) => ("timeoutMs" in turn ? turn.timeoutMs : "none"))).toEqual(["none", 1_234])
        }),
      ),
    )

    it(
      "counts sessions by status and template, those whose time is over, and all that were ever made",
      within((store, step) =>
        Effect.gen(function* () {
          const none = Object.fromEntries(sessionStatuses.map((status) => [status, 0]))
          expect(yield* store.counts(0)).toEqual({ sessions: none, templates: {}, expired: 0, created: 0 })
          for (const [i, status] of sessionStatuses.entries()) {
            yield* put(store, named(`s${i}`, { status, expiresAt: i === 0 ? null : i * 1_000 }, { template: "all" }))
            yield* step
          }
          yield* put(store, named("s9", { status: "busy" }))
          yield* put(store, named("s10", { status: "ready", expiresAt: 0 }, { template: "constructor" }))
          yield* step
          const each = Object.fromEntries(sessionStatuses.map((status) => [status, 1]))
          expect(yield* store.counts(3_000)).toEqual({
            sessions: { ...each, busy: 2, ready: 2 },
            templates: { all: 9, constructor: 1 },
            expired: 4,
            created: 11,
          })
          expect((yield* store.counts(3_001)).expired).toBe(4)
          expect((yield* store.counts(2_999)).expired).toBe(3)
          expect((yield* store.counts(-1)).expired).toBe(0)
          // What changes is counted as it is now; what goes has been made all the same.
          yield* put(store, named("s10", { status: "suspended", expiresAt: null }))
          yield* step
          yield* put(store, named("s1", { status: "stopped", expiresAt: 99_000 }, { template: "other" }))
          yield* step
          for (const gone of ["s0", "s9", "s0"]) yield* store.remove(`ses_${gone}` as SessionId)
          expect(yield* store.counts(3_000)).toEqual({
            sessions: { ...each, starting: 0, suspended: 2, authenticating: 0, stopped: 2 },
            templates: { all: 7, other: 1 },
            expired: 2,
            created: 11,
          })
          yield* put(store, named("s0"))
          yield* step
          expect((yield* store.counts(0)).created).toBe(12)
        }),
      ),
    )

    it(
      "recovers one session whatever its status, with its open turns in order and its newest history",
      within((store, step) =>
        Effect.gen(function* () {
          expect(yield* store.recover("ses_none" as SessionId)).toBe(undefined)
          for (const status of sessionStatuses) {
            const a = new StoreWriter(
              store,
              named(`of-${status}`, { status, forkedFrom: "conversation", suspendedBy: "room", survivors: [7, 8] }),
            )
            yield* put(store, a.session)
            expect(yield* store.recover(a.session.id)).toEqual({
              session: a.session,
              openTurns: [],
              history: undefined,
            })
            yield* step
            yield* answered(a, "over")
            const [one, two] = [a.turn("1"), { ...a.turn("2"), firstSeq: a.session.seq + 2 }]
            yield* store.commit({
              ...a.commitOf(
                [
                  [{ type: "turn/queued", prompt: "1" }, one],
                  [{ type: "turn/queued", prompt: "2" }, two],
                ],
                [two, one],
              ),
              history: { charges: [1] },
            })
            yield* step
            const running: Turn = { ...one, status: "running" }
            yield* a.write([[{ type: "turn/started", attempt: 1 }, one]], [running])
            yield* step
            expect(yield* store.recover(a.session.id)).toEqual({
              session: a.session,
              openTurns: [running, two],
              history: { charges: [1] },
            })
            const [, commit] = a.ended(running, "t")
            yield* store.commit({ ...commit, history: null })
            yield* step
            expect(yield* store.recover(a.session.id)).toEqual({
              session: a.session,
              openTurns: [two],
              history: null,
            })
          }
          yield* store.remove("ses_of-ready" as SessionId)
          expect(yield* store.recover("ses_of-ready" as SessionId)).toBe(undefined)
        }),
      ),
    )

    it(
      "gives a session back as it was, whatever of its spec differs from others of its template",
      within((store, step) =>
        Effect.gen(function* () {
          const specs: ReadonlyArray<SessionSpecInput> = [
            {},
            { template: "t", task: "k", tags: { a: "b", ["__proto__"]: "c" }, metadata: { x: [null] } },
            { template: "t", args: ["a", "\uD800"], env: { A: null, B: "" }, inheritEnv: "all", cwd: "/" },
            { shutdown: "brutal_kill", backoff: { jitter: 0 }, limits: { transcriptBytes: 5 }, stallTimeoutMs: 5 },
            { retention: { maxAgeMs: 5 }, protocol: { type: "claude", model: "m" }, idleTimeoutMs: null },
            { retention: {}, permissions: { rules: [{ tool: "*", decision: "deny" }] }, metadata: false },
            { tags: {}, metadata: "", mailbox: { overflow: "sliding" } },
          ]
          const sessions = specs.map((spec, i) => named(`s${i}`, {}, spec))
          for (const session of sessions) {
            yield* put(store, session)
            yield* step
          }
          expect(yield* allOf(store)).toEqual(sessions)
          expect((yield* store.recoverable).map(({ session }) => session)).toEqual(sessions)
          for (const session of sessions) expect(yield* store.find(session.name)).toEqual(session)
          // A record whose spec has another name than the session itself.
          const other = { ...sessions[1]!, name: "renamed" }
          yield* put(store, other)
          yield* step
          expect(yield* store.session(other.id)).toEqual(other)
        }),
      ),
    )

    it(
      "holds each session to its own retention besides the one for all, and one session only to what is asked",
      within((store, step) =>
        Effect.gen(function* () {
          const writer = (id: string, retention: RetentionSpec | null) =>
            new StoreWriter(store, named(id, {}, { retention }), 1_000)
          const [young, old, free, small] = [
            writer("young", { maxAgeMs: 1_000 }),
            writer("old", { maxAgeMs: 1_000_000 }),
            writer("free", null),
            writer("small", { maxBytes: 1 }),
          ]
          const prompts = (of: StoreWriter) =>
            Effect.map(store.turns(of.session.id, {}), ({ turns }) => turns.map(({ prompt }) => prompt))
          // Turns end at 1001, 1003, … 1009.
          for (let i = 0; i < 5; i++) for (const of of [young, old, free, small]) yield* answered(of, `p${i}`)
          const open = small.turn("open")
          yield* store.commit(small.accepted(open))
          yield* step
          // Asked for one alone, its own does not count.
          expect(yield* store.retain({ session: young.session.id, now: 2_005 })).toEqual({
            removedTurns: 0,
            removedEntries: 0,
          })
          expect(yield* store.retain({ now: 2_005 })).toEqual({ removedTurns: 6, removedEntries: 12 })
          expect(yield* prompts(young)).toEqual(["p4", "p3", "p2"])
          expect(yield* prompts(old)).toEqual(["p4", "p3", "p2", "p1", "p0"])
          expect(yield* prompts(free)).toEqual(["p4", "p3", "p2", "p1", "p0"])
          expect(yield* prompts(small)).toEqual(["open", "p4"])
          expect((yield* store.transcript(young.session.id, {})).entries.map(({ seq }) => seq)).toEqual([
            5, 6, 7, 8, 9, 10,
          ])
          expect(yield* store.retain({ now: 2_005 })).toEqual({ removedTurns: 0, removedEntries: 0 })
          // Both count, the stricter first.
          expect(yield* store.retain({ maxAgeMs: 2_000, now: 3_008 })).toEqual({ removedTurns: 10, removedEntries: 20 })
          expect(yield* prompts(young)).toEqual(["p4"])
          expect(yield* prompts(old)).toEqual(["p4"])
          expect(yield* prompts(free)).toEqual(["p4"])
          // One that has none any more is left alone.
          yield* answered(young, "p5")
          yield* put(store, { ...young.session, spec: { ...young.session.spec, retention: null } })
          yield* step
          expect((yield* store.retain({ now: 1e9 })).removedTurns).toBe(0)
          expect(yield* store.turn("turn_young-6" as TurnId)).toBeDefined()
        }),
      ),
    )

    it(
      "cuts a session down to its own share of bytes, oldest first, and no other",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a", {}, { retention: { maxBytes: 50_000 } }))
          const b = new StoreWriter(store, named("b"))
          const text = "x".repeat(1_000)
          for (let i = 0; i < 200; i++) {
            yield* answered(a, `p${i}`, text)
            if (i < 100) yield* answered(b, `p${i}`, text)
          }
          const { removedTurns } = yield* store.retain({ now: 1e6 })
          expect(removedTurns).toBeGreaterThan(100)
          expect(removedTurns).toBeLessThan(190)
          const { turns } = yield* store.turns(a.session.id, { limit: 1_000 })
          expect(turns.map(({ prompt }) => prompt)).toEqual(
            Array.from({ length: 200 - removedTurns }, (_, i) => `p${199 - i}`),
          )
          expect((yield* store.turns(b.session.id, { limit: 1_000 })).turns.length).toBe(100)
          expect((yield* store.retain({ now: 1e6 })).removedTurns).toBe(0)
          yield* store.retain({ session: a.session.id, maxBytes: 10_000, now: 1e6 })
          const left = (yield* store.turns(a.session.id, { limit: 1_000 })).turns.length
          expect(left).toBeGreaterThan(1)
          expect(left).toBeLessThan(10)
        }),
      ),
    )
  })
}
