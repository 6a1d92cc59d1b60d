/** What every store must answer beyond single records: lists, recovery, search, archive, retention. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, it } from "vitest"
import { makeIds, type SessionId } from "../../src/domain/Ids.ts"
import { sessionStatuses, type Session } from "../../src/domain/Session.ts"
import { resolveSpec } from "../../src/domain/SessionSpec.ts"
import { SessionStore, type SessionQuery } from "../../src/domain/SessionStore.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { StoreWriter } from "../store/StoreWriter.ts"
import { sessionOf, type SuiteOptions } from "./SessionStoreSuite.ts"

const named = (name: string, change: Partial<Session> = {}, spec: Record<string, unknown> = {}): Session => ({
  ...sessionOf(name),
  ...change,
  spec: { ...resolveSpec({ name, command: "x", ...spec }), supervisor: change.supervisor ?? "root" },
})

export const suite = (
  name: string,
  layer: Layer.Layer<SessionStore>,
  { archives = false }: SuiteOptions = {},
): void => {
  const within = (body: (store: SessionStore["Service"]) => Effect.Effect<void, unknown>) => () =>
    Effect.runPromise(Effect.flatMap(SessionStore, body).pipe(Effect.provide(layer), Effect.orDie))

  const put = (store: SessionStore["Service"], ...sessions: ReadonlyArray<Session>) =>
    Effect.forEach(sessions, (session) => store.commit({ session, entries: [], turns: [] }), { discard: true })

  const answered = Effect.fnUntraced(function* (writer: StoreWriter, prompt: Turn["prompt"], text: string) {
    const turn = writer.turn(prompt)
    yield* writer.store.commit(writer.accepted(turn))
    const [done, commit] = writer.ended(turn, text)
    yield* writer.store.commit(commit)
    return done
  })

  const namesOf = (store: SessionStore["Service"], query: Omit<SessionQuery, "limit">) =>
    Effect.map(store.list({ limit: 100, ...query }), ({ sessions }) => sessions.map((session) => session.name))

  describe(`session store queries ${name}`, () => {
    it(
      "lists by status, tags, task, supervisor and name, in order of creation",
      within((store) =>
        Effect.gen(function* () {
          yield* put(
            store,
            named("c", { status: "ready" }, { tags: { team: "x", "it's": 'a "b"' } }),
            named("a", { status: "suspended" }, { tags: { team: "x" }, task: "t1" }),
            named("b", { status: "stopped", supervisor: "root/t" }, { tags: { team: "y" } }),
            named("d", { status: "busy", supervisor: "root/t" }),
          )
          expect(yield* namesOf(store, {})).toEqual(["c", "a", "b", "d"])
          expect(yield* namesOf(store, { status: ["ready"] })).toEqual(["c"])
          expect(yield* namesOf(store, { status: ["stopped", "busy", "suspended"] })).toEqual(["a", "b", "d"])
          expect(yield* namesOf(store, { status: [] })).toEqual([])
          expect(yield* namesOf(store, { status: [...sessionStatuses] })).toEqual(["c", "a", "b", "d"])
          expect(yield* namesOf(store, { tags: { team: "x" } })).toEqual(["c", "a"])
          expect(yield* namesOf(store, { tags: { team: "x", "it's": 'a "b"' } })).toEqual(["c"])
          expect(yield* namesOf(store, { tags: { team: "z" } })).toEqual([])
          expect(yield* namesOf(store, { task: "t1" })).toEqual(["a"])
          expect(yield* namesOf(store, { supervisor: "root/t" })).toEqual(["b", "d"])
          expect(yield* namesOf(store, { supervisor: "root/t", status: ["busy", "ready"] })).toEqual(["d"])
          expect(yield* namesOf(store, { name: "b" })).toEqual(["b"])
          expect(yield* namesOf(store, { name: "b", status: ["ready"] })).toEqual([])
          expect(yield* namesOf(store, { name: "a", tags: { team: "x" }, task: "t1", supervisor: "root" })).toEqual([
            "a",
          ])
          expect(yield* namesOf(store, { name: "' OR 1 = 1 --" })).toEqual([])
        }),
      ),
    )

    it(
      "lists what a session is now, not what it was",
      within((store) =>
        Effect.gen(function* () {
          const a = named("a", { status: "ready" }, { tags: { old: "1" }, task: "t" })
          yield* put(store, a, { ...a, status: "suspended" })
          expect(yield* namesOf(store, { status: ["ready"] })).toEqual([])
          expect(yield* namesOf(store, { status: ["suspended"] })).toEqual(["a"])
          yield* put(store, { ...a, spec: { ...a.spec, tags: { new: "1" }, task: null } })
          expect(yield* namesOf(store, { tags: { old: "1" } })).toEqual([])
          expect(yield* namesOf(store, { tags: { new: "1" } })).toEqual(["a"])
          expect(yield* namesOf(store, { task: "t" })).toEqual([])
          yield* store.remove(a.id)
          expect(yield* namesOf(store, {})).toEqual([])
        }),
      ),
    )

    it(
      "pages through a list that changes, each session once, also when the last one seen is gone",
      within((store) =>
        Effect.gen(function* () {
          yield* put(store, ...Array.from({ length: 10 }, (_, i) => named(`s${i}`)))
          const first = yield* store.list({ limit: 4 })
          expect(first.sessions.map((it) => it.name)).toEqual(["s0", "s1", "s2", "s3"])
          yield* store.remove("ses_s3" as SessionId)
          yield* store.remove("ses_s9" as SessionId)
          yield* put(store, named("s10"))
          const second = yield* store.list({ limit: 4, after: first.next! })
          expect(second.sessions.map((it) => it.name)).toEqual(["s4", "s5", "s6", "s7"])
          const third = yield* store.list({ limit: 4, after: second.next! })
          expect([third.sessions.map((it) => it.name), third.next]).toEqual([["s8", "s10"], null])
          const whole = yield* store.list({ limit: 9 })
          expect([whole.sessions.length, whole.next]).toEqual([9, null])
        }),
      ),
    )

    it(
      "recovers what should live or has open turns, with its restart history",
      within((store) =>
        Effect.gen(function* () {
          const writer = (session: Session) => new StoreWriter(store, session)
          const busy = writer(named("busy", { status: "busy" }))
          const [one, two] = [busy.turn("1"), { ...busy.turn("2"), firstSeq: 2 }]
          yield* busy.write(
            [
              [{ type: "turn/queued", prompt: "1" }, one],
              [{ type: "turn/queued", prompt: "2" }, two],
            ],
            [two, { ...one, status: "running" }],
          )
          const asleep = named("asleep", { status: "suspended" })
          yield* store.commit({ session: asleep, entries: [], turns: [], history: { charges: [1, 2], step: null } })
          // A commit without a history leaves it.
          yield* put(store, { ...asleep, lastActiveAt: 7 })
          yield* put(store, named("over", { status: "stopped" }), named("broken", { status: "failed" }))
          const stuck = writer(named("stuck", { status: "failed" }))
          yield* store.commit(stuck.accepted(stuck.turn("x")))
          yield* put(store, named("passing", { status: "stopped", expiresAt: 5 }))
          const idle = writer(named("idle"))
          yield* answered(idle, "p", "t")
          const found = yield* store.recoverable
          expect(
            found.map(({ session, openTurns, history }) => [session.name, openTurns.map((it) => it.status), history]),
          ).toEqual([
            ["busy", ["running", "queued"], undefined],
            ["asleep", [], { charges: [1, 2], step: null }],
            ["stuck", ["queued"], undefined],
            ["passing", [], undefined],
            ["idle", [], undefined],
          ])
          expect(found[0]!.session).toEqual(busy.session)
          expect(found[0]!.openTurns[1]).toEqual(two)
        }),
      ),
    )

    it(
      "finds turns by the words of prompt and answer, newest first, in one session or all",
      within((store) =>
        Effect.gen(function* () {
          const [a, b] = [new StoreWriter(store, named("a")), new StoreWriter(store, named("b"), 2_000)]
          const first = yield* answered(a, "How do I cross the Straße?", "Look left, then right; CAFÉ is over there.")
          const second = yield* answered(b, [{ type: "text", text: "left turn ahead" }], "drive on_the left")
          const open = a.turn("a left question")
          yield* store.commit(a.accepted(open))
          const found = (query: string, session?: SessionId) =>
            Effect.map(store.search(session === undefined ? { query } : { query, session }), (hits) =>
              hits.map(({ turn }) => turn.id),
            )
          expect(yield* found("left")).toEqual([open.id, second.id, first.id])
          expect(yield* found("LEFT", a.session.id)).toEqual([open.id, first.id])
          expect(yield* found("left", "ses_none" as SessionId)).toEqual([])
          expect(yield* found("cafe straße")).toEqual([first.id])
          expect(yield* found("café STRASSE")).toEqual([])
          expect(yield* found("straß*")).toEqual([first.id])
          expect(yield* found("lef")).toEqual([])
          expect(yield* found("the on")).toEqual([second.id])
          expect(yield* found("left nowhere")).toEqual([])
          expect((yield* store.search({ query: "left", limit: 1 })).map(({ turn }) => turn)).toEqual([open])
          expect((yield* store.search({ query: "cafe" }))[0]).toEqual({
            turn: first,
            snippet: "Look left, then right; CAFÉ is over there.",
          })
          yield* store.remove(a.session.id)
          expect(yield* found("left")).toEqual([second.id])
        }),
      ),
    )

    it(
      "finds attachments by their names and by their text, and not by the base64 of what is no text",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"))
          const turn = yield* answered(
            a,
            [
              { type: "text", text: "look" },
              { type: "file", path: "/tmp/ledger.csv" },
              { type: "resource", name: "notes.md", mimeType: "text/markdown", data: "buy marmalade" },
              { type: "resource", name: "cat.png", mimeType: "image/png", data: "aGVsbG8/d29ybGQ" },
            ],
            "seen",
          )
          for (const query of ["look", "ledger", "notes", "marmalade", "cat"]) {
            expect((yield* store.search({ query })).map((hit) => hit.turn.id)).toEqual([turn.id])
          }
          for (const query of ["aGVsbG8", "d29ybGQ"]) expect(yield* store.search({ query })).toEqual([])
        }),
      ),
    )

    it(
      "takes no input of a search for syntax",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"))
          const turn = yield* answered(
            a,
            "session AND prompt OR text NOT near 1 हिन्दी 日本語 𞤀𞤁 e\u0301te\u0301",
            'NEAR("x")',
          )
          const hostile = [
            '"',
            '""',
            "'",
            "*",
            "**",
            "a*b",
            "AND",
            "OR NOT",
            "NEAR(a b)",
            "session : 1",
            "{prompt} : x",
            "-text",
            "^text",
            "(((",
            ")",
            "text)",
            "a AND",
            "NOT",
            "\0",
            "text\0prompt",
            "\uD800",
            "\uDC00 text",
            "%",
            "_",
            ";",
            "-- x",
            "💥",
            "text + prompt",
            "x:y",
            "\u0301",
            "．",
            "\u200D",
            "a".repeat(100_000),
            "a ".repeat(10_000),
            '"unterminated',
            "\\",
            "NEAR/2",
            "\n\t",
            "",
          ]
          for (const query of hostile) {
            const hits = yield* store.search({ query })
            expect(hits.length, JSON.stringify(query.slice(0, 40))).toBeLessThanOrEqual(1)
          }
          for (const query of [
            "text\0prompt",
            "AND",
            "or not",
            "NEAR",
            "-text",
            "text)",
            "हिन्दी",
            "日本語",
            "𞤀𞤁",
            "été",
            "日*",
            "ete",
          ]) {
            expect(
              (yield* store.search({ query })).map((hit) => hit.turn.id),
              query,
            ).toEqual([turn.id])
          }
          for (const query of ["*", "\u0301", "💥", ""]) expect(yield* store.search({ query })).toEqual([])
        }),
      ),
    )

    if (archives)
      it(
        "reads what is over the limits of the transcript with `all`, and turns and keys with it",
        within((store) =>
          Effect.gen(function* () {
            const session = { ...sessionOf("a", { transcriptEntries: 5 }) }
            const a = new StoreWriter(store, session)
            const turn = a.turn("p", "k")
            yield* store.commit(a.accepted(turn))
            const [done, commit] = a.ended(turn, "t")
            yield* store.commit(commit)
            for (let i = 0; i < 28; i++) yield* a.note(`n${i}`)
            expect((yield* store.transcript(session.id, {})).entries.map(({ seq }) => seq)).toEqual([
              26, 27, 28, 29, 30,
            ])
            const whole = yield* store.transcript(session.id, { all: true })
            expect([whole.entries.map(({ seq }) => seq), whole.trimmed]).toEqual([
              Array.from({ length: 30 }, (_, i) => i + 1),
              0,
            ])
            expect((yield* store.transcript(session.id, { all: true, turn: turn.id })).entries.length).toBe(2)
            expect(yield* store.turn(turn.id)).toEqual(done)
            expect(yield* store.turnByKey(session.id, "k")).toEqual(done)
          }),
        ),
      )

    it(
      "forgets by age from the front, and keeps open turns, the newest turn and everything since",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"), 1_000)
          const turns: Array<Turn> = []
          for (let i = 0; i < 10; i++) turns.push(yield* answered(a, `p${i}`, "t"))
          const b = new StoreWriter(store, named("b"), 1_000)
          const open = b.turn("still open", "k")
          yield* store.commit(b.accepted(open))
          yield* b.note()
          // The turns of a ended at 1001, 1003, … 1019.
          const removed = yield* store.retain({ maxAgeMs: 1_000, now: 2_009 })
          expect(removed).toEqual({ removedTurns: 4, removedEntries: 8 })
          expect((yield* store.transcript(a.session.id, {})).entries.map(({ seq }) => seq)).toEqual(
            Array.from({ length: 12 }, (_, i) => i + 9),
          )
          expect((yield* store.transcript(a.session.id, { after: 2 })).trimmed).toBe(8)
          expect(yield* store.turn(turns[3]!.id)).toBe(undefined)
          expect(yield* store.turn(turns[4]!.id)).toEqual(turns[4])
          expect((yield* store.search({ query: "p3" })).length).toBe(0)
          yield* store.retain({ maxAgeMs: 0, now: 1e9 })
          expect(yield* store.turn(turns[9]!.id)).toEqual(turns[9])
          expect((yield* store.transcript(a.session.id, {})).entries.map(({ seq }) => seq)).toEqual([19, 20])
          expect(yield* store.turnByKey(b.session.id, "k")).toEqual(open)
          expect((yield* store.transcript(b.session.id, {})).entries.length).toBe(2)
          // And the session goes on where it was.
          yield* a.note()
          expect((yield* store.transcript(a.session.id, { after: 20 })).entries.map(({ seq }) => seq)).toEqual([21])
          expect(yield* store.retain({ maxAgeMs: 1_000, now: 2_009 })).toEqual({ removedTurns: 0, removedEntries: 0 })
        }),
      ),
    )

    it(
      "forgets by size, the oldest first, of all sessions or of one",
      within((store) =>
        Effect.gen(function* () {
          const [a, b] = [new StoreWriter(store, named("a"), 1_000), new StoreWriter(store, named("b"), 5_000)]
          const text = "word ".repeat(2_000)
          const turns: Array<Turn> = []
          for (let i = 0; i < 50; i++) turns.push(yield* answered(a, `p${i}`, text))
          const last = yield* answered(b, "p", text)
          const before = yield* store.sizeBytes
          const { removedTurns } = yield* store.retain({ maxBytes: before / 2, now: 1e6 })
          expect(removedTurns).toBeGreaterThan(10)
          expect(removedTurns).toBeLessThan(45)
          expect(yield* store.sizeBytes).toBeLessThanOrEqual(before / 2)
          expect((yield* Effect.forEach(turns, ({ id }) => store.turn(id))).map((it) => it !== undefined)).toEqual(
            turns.map((_, i) => i >= removedTurns),
          )
          const kept = (yield* store.transcript(a.session.id, {})).entries.map(({ seq }) => seq)
          expect(kept[0]).toBe(turns[removedTurns]!.firstSeq)
          expect(kept.at(-1)).toBe(100)
          const one = yield* store.retain({ maxBytes: 0, session: a.session.id, now: 1e6 })
          expect(one.removedTurns).toBe(49 - removedTurns)
          expect(yield* store.turn(turns[49]!.id)).toEqual(turns[49])
          expect(yield* store.turn(last.id)).toEqual(last)
          expect(yield* store.retain({ maxBytes: 0, session: "ses_none" as SessionId, now: 1 })).toEqual({
            removedTurns: 0,
            removedEntries: 0,
          })
        }),
      ),
    )

    it(
      "counts a commit that is made twice once",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"))
          const commit = a.accepted(a.turn("p", "k"))
          yield* store.commit(commit)
          yield* store.commit(commit)
          expect((yield* store.transcript(a.session.id, {})).entries).toEqual(commit.entries)
          expect((yield* store.recoverable)[0]!.openTurns).toEqual(commit.turns)
        }),
      ),
    )

    it(
      "counts a commit that is made twice once, also where a turn is taken in and ends within it",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a"))
          // As the runtime makes it: it leads to its session.
          const turn = { ...a.turn("p", "k"), id: makeIds().turn(a.session.id) }
          const taken = a.accepted(turn)
          const [done, over] = a.ended(turn, "t")
          const commit = {
            ...over,
            entries: [...taken.entries, ...over.entries],
            turns: [...taken.turns, ...over.turns],
          }
          yield* store.commit(commit)
          yield* store.commit(commit)
          expect((yield* store.transcript(a.session.id, {})).entries).toEqual(commit.entries)
          expect(yield* store.turn(done.id)).toEqual(done)
          expect((yield* store.recover(a.session.id))!.openTurns).toEqual([])
        }),
      ),
    )

    it(
      "gives back whatever text a child prints as it was",
      within((store) =>
        Effect.gen(function* () {
          const a = new StoreWriter(store, named("a", { status: "failed" }, { metadata: { "\0": "\uD800" } }))
          const texts = [
            "",
            "\0",
            "a\0b",
            "\uD800",
            "\uDC00\uD800",
            "💥".repeat(3),
            "\u2028\r\n\\\"'",
            "\uFEFF",
            "x".repeat(1_000_000),
          ]
          const turns: Array<Turn> = []
          for (const text of texts) {
            yield* a.write([[{ type: "output", stream: "stdout", data: text }]])
            turns.push(yield* answered(a, text, text))
          }
          expect(yield* Effect.forEach(turns, ({ id }) => store.turn(id))).toEqual(turns)
          const { entries } = yield* store.transcript(a.session.id, { types: ["output"] })
          expect(entries.map((entry) => entry.type === "output" && entry.data)).toEqual(texts)
          expect(yield* store.session(a.session.id)).toEqual(a.session)
        }),
      ),
    )
  })
}
