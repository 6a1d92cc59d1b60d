/** What every implementation of the SessionStore port must do. Call it with the layer that makes a fresh store. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, it } from "vitest"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { Session } from "../../src/domain/Session.ts"
import { resolveSpec, type SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import type { TranscriptBody, TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { allOf } from "../store/StoreWriter.ts"

export const sessionOf = (name: string, limits: SessionSpecInput["limits"] = {}): Session => ({
  id: `ses_${name}` as SessionId,
  name,
  supervisor: "root",
  status: "ready",
  spec: resolveSpec({ name, command: "x", limits }),
  pid: null,
  incarnation: 1,
  restarts: 0,
  turns: { queued: 0, running: 0, completed: 0, failed: 0 },
  containment: null,
  agentSessionId: null,
  forkedFrom: null,
  suspendedBy: null,
  pendingRequests: [],
  createdAt: 1,
  lastActiveAt: 1,
  expiresAt: null,
  exit: null,
  deaths: [],
  survivors: [],
  usage: null,
  seq: 0,
})

const turnOf = (session: Session, id: string, idempotencyKey: string | null = null): Turn => ({
  id: `turn_${id}` as TurnId,
  session: session.id,
  status: "completed",
  prompt: "p",
  text: "t",
  stopReason: null,
  usage: null,
  error: null,
  idempotencyKey,
  queuedAt: 1,
  startedAt: 1,
  endedAt: 1,
  firstSeq: 1,
  lastSeq: 1,
})

export interface SuiteOptions {
  /** What is over a session's limits is kept until retention takes it; default false: it is dropped. */
  readonly archives?: boolean
}

export const suite = (
  name: string,
  layer: Layer.Layer<SessionStore>,
  { archives = false }: SuiteOptions = {},
): void => {
  const within = (body: (store: SessionStore["Service"]) => Effect.Effect<void, unknown>) => () =>
    Effect.runPromise(Effect.flatMap(SessionStore, body).pipe(Effect.provide(layer), Effect.orDie))

  /** Writes entries as a session's actor does. */
  const writer = (store: SessionStore["Service"], session: Session) => {
    let seq = 0
    const entry = (body: TranscriptBody, turn?: Turn): TranscriptEntry => ({
      session: session.id,
      seq: ++seq,
      at: seq,
      incarnation: 1,
      ...(turn === undefined ? {} : { turn: turn.id }),
      ...body,
    })
    const note = (text: string) => entry({ type: "note", text })
    return {
      entry,
      note,
      commit: (entries: ReadonlyArray<TranscriptEntry>, turns: ReadonlyArray<Turn> = []) =>
        store.commit({ session: { ...session, seq }, entries, turns }),
      notes: (count: number, text = "n") =>
        Effect.suspend(() =>
          store.commit({
            session: { ...session, seq: seq + count },
            entries: Array.from({ length: count }, () => note(text)),
            turns: [],
          }),
        ),
    }
  }
  const ended: TranscriptBody = { type: "turn/ended", status: "completed", text: "t", stopReason: null, durationMs: 1 }

  describe(`session store ${name}`, () => {
    it(
      "gives a transcript back in order of seq, page by page, each entry once",
      within((store) =>
        Effect.gen(function* () {
          const session = sessionOf("a")
          const { notes } = writer(store, session)
          for (let i = 0; i < 10; i++) yield* notes(i)
          const seen: Array<number> = []
          for (let after = 0; ;) {
            const page = yield* store.transcript(session.id, { after, limit: 7 })
            if (page.entries.length === 0) {
              expect(page.nextAfter).toBe(after)
              break
            }
            seen.push(...page.entries.map(({ seq }) => seq))
            expect(page.entries.length).toBeLessThanOrEqual(7)
            expect(page.nextAfter).toBe(seen.at(-1))
            expect(page.trimmed).toBe(0)
            after = page.nextAfter
          }
          expect(seen).toEqual(Array.from({ length: 45 }, (_, i) => i + 1))
        }),
      ),
    )

    it(
      "filters by type and turn, and passes over what it filtered out",
      within((store) =>
        Effect.gen(function* () {
          const session = sessionOf("a")
          const { entry, note, commit } = writer(store, session)
          const turn = turnOf(session, "1")
          yield* commit(
            [note("a"), entry({ type: "turn/queued", prompt: "p" }, turn), note("b"), entry(ended, turn), note("c")],
            [turn],
          )
          const byType = yield* store.transcript(session.id, { types: ["turn/ended"] })
          expect([byType.entries.map(({ seq }) => seq), byType.nextAfter]).toEqual([[4], 5])
          const byTurn = yield* store.transcript(session.id, { turn: turn.id })
          expect(byTurn.entries.map(({ seq }) => seq)).toEqual([2, 4])
          const limited = yield* store.transcript(session.id, { turn: turn.id, limit: 1 })
          expect([limited.entries.map(({ seq }) => seq), limited.nextAfter]).toEqual([[2], 2])
          const both = yield* store.transcript(session.id, { turn: turn.id, types: ["note"] })
          expect(both.entries).toEqual([])
        }),
      ),
    )

    it(
      "answers for a session that it does not know as for one without entries",
      within((store) =>
        Effect.gen(function* () {
          const id = "ses_nobody" as SessionId
          expect(yield* store.transcript(id, { after: 3 })).toEqual({ entries: [], nextAfter: 3, trimmed: 0 })
          expect(yield* store.session(id)).toBe(undefined)
          expect(yield* store.turnByKey(id, "k")).toBe(undefined)
          expect(yield* store.turn("turn_x" as TurnId)).toBe(undefined)
          yield* store.remove(id)
        }),
      ),
    )

    it(
      "keeps at most transcriptEntries, the newest, and says what it dropped",
      within((store) =>
        Effect.gen(function* () {
          const session = sessionOf("a", { transcriptEntries: 5 })
          const { notes } = writer(store, session)
          for (const [count, trimmed] of [
            [5, 0],
            [1, 1],
            [3, 4],
            [100, 104],
            [1_000, 1_104],
          ] as const) {
            yield* notes(count)
            const page = yield* store.transcript(session.id, {})
            expect(page.trimmed).toBe(trimmed)
            expect(page.entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5].map((n) => trimmed + n))
            const late = yield* store.transcript(session.id, { after: trimmed + 3 })
            expect(late.entries.map(({ seq }) => seq)).toEqual([trimmed + 4, trimmed + 5])
          }
        }),
      ),
    )

    it(
      "keeps about transcriptBytes at most, and always the newest entry",
      within((store) =>
        Effect.gen(function* () {
          const session = sessionOf("a", { transcriptBytes: 10_000 })
          const { notes, entry, commit } = writer(store, session)
          yield* notes(50, "x".repeat(1_000))
          const kept = (yield* store.transcript(session.id, {})).entries.length
          expect(kept).toBeGreaterThan(0)
          expect(kept).toBeLessThanOrEqual(10)
          yield* commit([
            entry({ type: "turn/tool", toolId: "1", name: "read", output: "x".repeat(50_000), status: "done" }),
          ])
          const page = yield* store.transcript(session.id, {})
          expect([page.entries.length, page.trimmed]).toEqual([1, 50])
        }),
      ),
    )

    // A store with an archive keeps what this one forgets.
    if (!archives)
      it(
        "forgets a turn, and its key, with its last entry and not before",
        within((store) =>
          Effect.gen(function* () {
            const session = sessionOf("a", { transcriptEntries: 4 })
            const { entry, notes, commit } = writer(store, session)
            const turn = turnOf(session, "1", "k")
            yield* commit([entry({ type: "turn/queued", prompt: "p" }, turn), entry(ended, turn)], [turn])
            yield* notes(3)
            expect(yield* store.turn(turn.id)).toEqual(turn)
            expect((yield* store.turnByKey(session.id, "k"))?.id).toBe(turn.id)
            // A store may drop in strides, but not keep turns for ever.
            yield* notes(2_000)
            expect(yield* store.turn(turn.id)).toBe(undefined)
            expect(yield* store.turnByKey(session.id, "k")).toBe(undefined)
          }),
        ),
      )

    it(
      "gives the newest state of a turn, and finds it by its key in its own session alone",
      within((store) =>
        Effect.gen(function* () {
          const [a, b] = [sessionOf("a"), sessionOf("b")]
          const turn = turnOf(a, "1", "k")
          const { entry, commit } = writer(store, a)
          yield* commit(
            [entry({ type: "turn/queued", prompt: "p" }, turn)],
            [
              { ...turn, status: "queued" },
              { ...turn, status: "running" },
            ],
          )
          expect((yield* store.turn(turn.id))?.status).toBe("running")
          yield* commit([entry(ended, turn)], [turn])
          expect((yield* store.turnByKey(a.id, "k"))?.status).toBe("completed")
          expect(yield* store.turnByKey(b.id, "k")).toBe(undefined)
        }),
      ),
    )

    it(
      "lists sessions as they were committed last, in order of creation",
      within((store) =>
        Effect.gen(function* () {
          for (const session of ["c", "a", "b"]) yield* writer(store, sessionOf(session)).notes(1)
          yield* store.commit({ session: { ...sessionOf("c"), status: "busy", seq: 1 }, entries: [], turns: [] })
          expect((yield* allOf(store)).map(({ name: it, status }) => [it, status])).toEqual([
            ["c", "busy"],
            ["a", "ready"],
            ["b", "ready"],
          ])
          expect((yield* store.session("ses_c" as SessionId))?.status).toBe("busy")
        }),
      ),
    )

    it(
      "forgets everything of a session that is removed, open turns too, and nothing of another",
      within((store) =>
        Effect.gen(function* () {
          const [a, b] = [sessionOf("a"), sessionOf("b")]
          for (const session of [a, b]) {
            const { entry, commit } = writer(store, session)
            const open: Turn = { ...turnOf(session, `open-${session.name}`, "open"), status: "running" }
            const done = turnOf(session, `done-${session.name}`, "done")
            yield* commit(
              [
                entry({ type: "turn/queued", prompt: "p" }, done),
                entry(ended, done),
                entry({ type: "turn/queued", prompt: "p" }, open),
              ],
              [done, open],
            )
          }
          yield* store.remove(a.id)
          expect(yield* store.session(a.id)).toBe(undefined)
          expect((yield* allOf(store)).map(({ id }) => id)).toEqual([b.id])
          expect((yield* store.transcript(a.id, {})).entries).toEqual([])
          for (const id of ["open", "done"]) {
            expect(yield* store.turn(`turn_${id}-a` as TurnId)).toBe(undefined)
            expect(yield* store.turnByKey(a.id, id)).toBe(undefined)
            expect((yield* store.turnByKey(b.id, id))?.id).toBe(`turn_${id}-b`)
          }
        }),
      ),
    )
  })
}
