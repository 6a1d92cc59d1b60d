import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Session } from "../../src/domain/Session.ts"
import type { SessionQuery } from "../../src/domain/SessionStore.ts"
import * as Migrations from "../../src/store/Migrations.ts"
import * as SqliteClient from "../../src/store/SqliteClient.ts"
import * as SqlSessionStore from "../../src/store/SqlSessionStore.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"

let directory = ""
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-store-"))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const count = 100_000

const base = sessionOf("x")
const sessionAt = (i: number): Session => ({
  ...base,
  id: `ses_${i}` as Session["id"],
  name: `s${i}`,
  status: i % 10_000 === 7 ? "busy" : "suspended",
  supervisor: i % 2 === 0 ? "root" : "root/odd",
  expiresAt: i % 10_000 === 7 ? 100 : null,
  spec: {
    ...base.spec,
    name: `s${i}`,
    template: i % 2 === 0 ? "t" : null,
    retention: i % 1_000 === 0 ? { maxAgeMs: 5 } : null,
    tags: i % 20_000 === 7 ? { rare: "yes", all: "1" } : { all: "1" },
    task: i === 5 ? "t5" : null,
  },
})

describe("a list of 100,000 sessions", () => {
  it("comes page by page, by filters that few or nearly all match, and no page sorts or walks a table", () =>
    Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const client = yield* SqliteClient.open({ file: join(directory, "many.db") })
          yield* Migrations.migrate(client)
          const asked = new Set<string>()
          const prepare = (sql: string) => {
            asked.add(sql)
            return client.prepare(sql)
          }
          const store = yield* SqlSessionStore.fromClient({ ...client, prepare })
          for (let i = 0; i < count; i += 2_000) {
            yield* Effect.forEach(
              Array.from({ length: 2_000 }, (_, j) => sessionAt(i + j)),
              (session) => store.commit({ session, entries: [], turns: [] }),
              { concurrency: "unbounded", discard: true },
            )
          }
          asked.clear()
          let seen = 0
          for (let after: string | undefined; ;) {
            const page = yield* store.list({ limit: 5_000, ...(after === undefined ? {} : { after }) })
            for (const { name } of page.sessions) expect(name).toBe(`s${seen++}`)
            if (page.next === null) break
            after = page.next
          }
          expect(seen).toBe(count)
          const found = (query: Omit<SessionQuery, "limit">, limit = 50) =>
            Effect.map(store.list({ limit, ...query }), ({ sessions }) => sessions.map(({ name }) => name))
          const busy = Array.from({ length: 10 }, (_, i) => `s${i * 10_000 + 7}`)
          expect(yield* found({ status: ["busy"] })).toEqual(busy)
          expect(yield* found({ status: ["busy"], supervisor: "root" })).toEqual([])
          expect(yield* found({ status: ["busy"], supervisor: "root/odd" })).toEqual(busy)
          expect(yield* found({ supervisor: "root/odd", after: "99998" })).toEqual(["s99999"])
          expect(yield* found({ tags: { rare: "yes", all: "1" } })).toEqual(busy.filter((_, i) => i % 2 === 0))
          expect(yield* found({ tags: { all: "1" }, after: "99998" })).toEqual(["s99998", "s99999"])
          expect(yield* found({ tags: { all: "1" }, status: ["busy"] }, 2)).toEqual(busy.slice(0, 2))
          expect(yield* found({ task: "t5" })).toEqual(["s5"])
          expect(yield* found({ name: "s77", supervisor: "root/odd", status: ["suspended"] })).toEqual(["s77"])
          expect(yield* found({ status: ["suspended", "busy"], after: "50006" }, 3)).toEqual([
            "s50006",
            "s50007",
            "s50008",
          ])
          const counts = yield* store.counts(100)
          expect(counts).toMatchObject({ templates: { t: count / 2 }, expired: 10, created: count })
          expect([counts.sessions.busy, counts.sessions.suspended]).toEqual([10, count - 10])
          expect((yield* store.find("s77"))?.name).toBe("s77")
          expect((yield* store.find("t5"))?.name).toBe("s5")
          expect(yield* store.find("nobody")).toBe(undefined)
          expect((yield* store.recover("ses_99" as Session["id"]))?.session.name).toBe("s99")
          expect(yield* store.turns("ses_99" as Session["id"], {})).toEqual({ turns: [], nextBefore: null })
          expect((yield* store.ids).length).toBe(count)
          yield* store.retain({ now: 1e9 })
          expect(asked.size).toBeGreaterThanOrEqual(16)
          // Of one session's turns a page in the order in which they ended: that order is no index's.
          const unsorted = [...asked].filter((text) => text.startsWith("SELECT") && !text.includes("INDEXED BY"))
          for (const sql of unsorted) {
            const plan = client.database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all()
            for (const { detail } of plan) {
              // Counting what an index holds is the one thing that looks at all of it.
              expect(detail, sql).not.toMatch(
                /^SCAN (?!json_each|sqlite_sequence|search_progress|.*COVERING INDEX)|TEMP B-TREE|AUTOMATIC/,
              )
            }
          }
        }),
      ),
    ))
})
