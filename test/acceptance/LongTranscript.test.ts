import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { Client, WireEntry, WireSession } from "../../src/client/index.ts"
import { eventually } from "./Processes.ts"
import { ServedRuntime } from "./ServedRuntime.ts"
import { storeSessions } from "./StoredSessions.ts"

const isLong = process.env["CHAOS"] === "long"
/** CRECHE_SESSIONS chooses another. */
const records = Number(process.env["CRECHE_SESSIONS"] ?? (isLong ? 100_000 : 20_000))

let directory = ""
let runtime: ServedRuntime
let client: Client

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-long-"))
})
afterEach(async () => {
  await client.close()
  await runtime.kill()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const up = async (): Promise<void> => {
  runtime = new ServedRuntime(directory)
  client = await runtime.connect(120_000)
}

/** Dies and comes back. */
const again = async (): Promise<void> => {
  await client.close()
  await runtime.kill()
  await up()
}

const upTo = (count: number) => Array.from({ length: count }, (_, at) => at + 1)

describe(`a list of ${records} sessions`, () => {
  interface Listed {
    readonly names: ReadonlyArray<string>
    readonly pages: number
    readonly longestMs: number
  }

  const listed = async (
    query: Parameters<Client["sessions"]>[0],
    limit: number,
    watch = (_page: number) => {},
  ): Promise<Listed> => {
    const names: Array<string> = []
    let pages = 0
    let longestMs = 0
    for (let cursor: string | null | undefined; cursor !== null;) {
      const begun = performance.now()
      const page: { readonly sessions: ReadonlyArray<WireSession>; readonly nextCursor: string | null } =
        await client.request("session/list", { ...query, limit, ...(cursor === undefined ? {} : { cursor }) })
      longestMs = Math.max(longestMs, performance.now() - begun)
      names.push(...page.sessions.map(({ name }) => name))
      cursor = page.nextCursor
      watch(++pages)
    }
    return { names, pages, longestMs }
  }

  it("is complete by every filter, in order and without duplicates, while sessions are started, asked, stopped and removed", async () => {
    const statusOf = (i: number) => (i % 10 === 3 ? "stopped" : i % 1000 === 4 ? "failed" : "suspended")
    const supervisorOf = (i: number) => (i % 2 === 0 ? "root" : "root/odd")
    await storeSessions(directory, records, (i) => ({
      name: `s${i}`,
      status: statusOf(i),
      bare: true,
      spec: {
        supervisor: supervisorOf(i),
        tags: { all: "1", third: String(i % 3), ...(i % 5_000 === 7 ? { rare: "yes" } : {}) },
        ...(i % 100 === 5 ? { task: `t${i}` } : {}),
      },
    }))
    const begun = performance.now()
    await up()
    const startMs = performance.now() - begun
    // Untouched by what goes on meanwhile; the others may or may not be in it.
    const stays = (i: number) => i % 50 !== 1
    let running = true
    let removed = 0
    let started = 0
    const meddle = async (lane: number) => {
      for (let n = lane; running; n += 2) {
        const name = `new${n}`
        await client.start({ name, command: "cat", tags: { all: "1", third: "0" } })
        started++
        // Near and far from where the list is.
        const victim = `s${(((n * 7919) % (records / 50)) | 0) * 50 + 1}`
        await client.request("session/remove", { session: victim }).then(
          () => removed++,
          (error: { readonly tag: string }) => expect(error.tag).toBe("SessionNotFound"),
        )
        await client.request("session/remove", { session: name })
      }
    }
    const meddling = Promise.all([meddle(0), meddle(1)])
    const all = Array.from({ length: records }, (_, i) => i)
    const check = async (
      what: string,
      query: Parameters<Client["sessions"]>[0],
      limit: number,
      matches: (i: number) => boolean,
    ) => {
      const { names, pages, longestMs } = await listed(query, limit)
      expect(new Set(names).size, `${what}: duplicates`).toBe(names.length)
      const old = names.filter((name) => /^s\d+$/.test(name)).map((name) => Number(name.slice(1)))
      expect(old, `${what}: order`).toEqual(old.toSorted((a, b) => a - b))
      expect(old.filter(stays), what).toEqual(all.filter((i) => stays(i) && matches(i)))
      expect(
        old.filter((i) => !matches(i)),
        `${what}: strangers`,
      ).toEqual([])
      return `${what} ${names.length} in ${pages}, ${longestMs.toFixed(0)} ms at most`
    }
    try {
      const figures = [
        await check("all", {}, 1000, () => true),
        await check("suspended", { status: "suspended" }, 1000, (i) => statusOf(i) === "suspended"),
        await check("stopped or failed", { status: ["stopped", "failed"] }, 500, (i) => statusOf(i) !== "suspended"),
        await check("failed", { status: ["failed"] }, 7, (i) => statusOf(i) === "failed"),
        await check("rare", { tags: { rare: "yes" } }, 1, (i) => i % 5_000 === 7),
        await check("odd", { supervisor: "root/odd" }, 1000, (i) => i % 2 === 1),
        await check(
          "tags",
          { tags: { third: "1", all: "1" }, supervisor: "root" },
          1000,
          (i) => i % 3 === 1 && i % 2 === 0,
        ),
        await check("a task", { task: "t105" }, 10, (i) => i === 105),
        await check("nothing", { tags: { rare: "no" } }, 10, () => false),
      ]
      console.log(
        `start ${startMs.toFixed(0)} ms; ${started} started, ${removed} removed meanwhile; ${figures.join("; ")}`,
      )
    } finally {
      running = false
      await meddling
    }
    expect(removed).toBeGreaterThan(10)
    const { sessions } = await client.request("runtime/stats", {})
    expect(Object.values(sessions).reduce((sum, count) => sum + count, 0)).toBe(records - removed)
    // A cursor outlives the runtime that gave it.
    const first = await client.request("session/list", { limit: 10 })
    await again()
    const next = await client.request("session/list", { limit: 10, cursor: first.nextCursor! })
    expect([...first.sessions, ...next.sessions].map(({ name }) => name)).toEqual(
      (await client.request("session/list", { limit: 20 })).sessions.map(({ name }) => name),
    )
    await expect(client.request("session/list", { cursor: "no such" })).rejects.toMatchObject({ tag: "InvalidParams" })
  }, 300_000)
})

describe("a long transcript", () => {
  const read = async (query: Parameters<Client["transcript"]>[0]) => {
    const seqs: Array<number> = []
    const missed: Array<unknown> = []
    for await (const { seq } of client.transcript(query, { onMissed: (range) => missed.push(range) })) seqs.push(seq)
    return { seqs, missed }
  }

  it("gives the newest entries by itself, and every one with `all`; what is in between is told, also after the runtime's death", async () => {
    await up()
    await client.start({ name: "a", command: "cat", limits: { transcriptEntries: 50 } })
    for (let i = 0; i < 10; i++)
      await Promise.all(Array.from({ length: 20 }, (_, j) => client.ask({ session: "a", prompt: `${i}.${j}` })))
    for (let life = 0; life < 3; life++) {
      const { seq } = await client.request("session/get", { session: "a" })
      expect(seq).toBeGreaterThanOrEqual(803)
      const newest = await client.request("session/transcript", { session: "a" })
      expect([newest.trimmed, newest.nextAfter]).toEqual([seq - 50, seq])
      expect(newest.entries.map((entry) => entry.seq)).toEqual(upTo(seq).slice(-50))
      const whole = await client.request("session/transcript", { session: "a", all: true })
      expect([whole.trimmed, whole.nextAfter]).toEqual([0, seq])
      expect(whole.entries.map((entry) => entry.seq)).toEqual(upTo(seq))
      // In pages, by type, by turn.
      const paged: Array<WireEntry> = []
      for (let after = 0; ;) {
        const page = await client.request("session/transcript", {
          session: "a",
          all: true,
          after,
          limit: 7,
          types: ["turn/ended"],
        })
        if (page.entries.length === 0 && page.nextAfter === after) break
        paged.push(...page.entries)
        after = page.nextAfter
      }
      expect(paged.map((entry) => entry.seq)).toEqual(
        whole.entries.filter(({ type }) => type === "turn/ended").map((entry) => entry.seq),
      )
      expect(paged.length).toBe(200 + life)
      const turn = paged[3]!.turn!
      const ofTurn = await client.request("session/transcript", { session: "a", all: true, turn })
      expect(ofTurn.entries.map(({ type }) => type)).toEqual([
        "turn/queued",
        "turn/started",
        "turn/delta",
        "turn/ended",
      ])
      const subscription = await client.subscribe({ session: "a", after: 10 })
      const events: Array<unknown> = []
      for await (const event of subscription) {
        events.push("missed" in event ? [event.missed.after, event.missed.through] : event.entry.seq)
        if (events.length === 51) break
      }
      expect(events).toEqual([[10, seq - 50], ...upTo(seq).slice(-50)])
      await again()
      await client.ask({ session: "a", prompt: `life ${life}` })
    }
  })

  it(`of ${isLong ? 400_000 : 80_000} entries is read, followed and searched whole, while it grows`, async () => {
    const turns = isLong ? 100_000 : 20_000
    await storeSessions(directory, 3, (i) => ({
      name: `s${i}`,
      turns: i === 1 ? turns : 1,
      spec: { limits: { transcriptEntries: 1000 } },
    }))
    await up()
    const { seq } = await client.request("session/get", { session: "s1" })
    expect(seq).toBe(4 * turns + 5)
    const growing = (async () => {
      for (let i = 0; i < 50; i++) await client.ask({ session: "s1", prompt: `grows ${i}` })
    })()
    const begun = performance.now()
    const { seqs, missed } = await read({ session: "s1", all: true })
    const readMs = performance.now() - begun
    expect(missed).toEqual([])
    expect(seqs.length).toBeGreaterThanOrEqual(seq)
    expect(seqs.findIndex((value, at) => value !== at + 1)).toBe(-1)
    await growing
    const after = await client.request("session/get", { session: "s1" })
    expect(after.turns.completed).toBe(turns + 50)
    const ring = await client.request("session/transcript", { session: "s1", limit: 10_000 })
    expect(ring.entries.map((entry) => entry.seq)).toEqual(upTo(after.seq).slice(-1000))
    const asked = performance.now()
    const history = new Set<string>()
    let last = Infinity
    for await (const { id, firstSeq } of client.history({ session: "s1" })) {
      expect(firstSeq).toBeLessThan(last)
      last = firstSeq
      history.add(id)
    }
    expect(history.size).toBe(turns + 50)
    const historyMs = performance.now() - asked
    await eventually("the search knows all", async () => {
      const hits = await client.search({ query: `remembers ${turns - 1}`, session: "s1" })
      return hits.length === 1 && hits[0]!.turn.text === `s1 remembers ${turns - 1}`
    })
    // The first of all is as near as the last.
    const first = await client.request("session/transcript", { session: "s1", all: true, limit: 3 })
    expect(first.entries.map((entry) => entry.seq)).toEqual([1, 2, 3])
    console.log(
      `${seqs.length} entries read in ${readMs.toFixed(0)} ms, ${history.size} turns in ${historyMs.toFixed(0)} ms`,
    )
    await again()
    expect((await read({ session: "s1", all: true })).seqs.length).toBeGreaterThanOrEqual(after.seq)
  }, 300_000)
})
