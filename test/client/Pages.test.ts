import { describe, expect, it } from "vitest"
import { historyPages, type Missed, type Request, sessionPages, transcriptPages } from "../../src/client/Pages.ts"

/** A runtime that holds `total` entries or turns, of which the first `gone` are no longer kept. */
const fake = (total: number, gone = 0, fits: (n: number) => boolean = () => true) => {
  const calls: Array<any> = []
  const request = (async (method: string, params: any) => {
    calls.push(params)
    switch (method) {
      case "session/transcript": {
        const from = Math.max(params.after, gone)
        const entries: Array<{ seq: number }> = []
        let nextAfter = from
        for (let seq = from + 1; seq <= total && entries.length < params.limit; seq++) {
          if (fits(seq)) entries.push({ seq })
          nextAfter = seq
        }
        return { entries, nextAfter, trimmed: gone }
      }
      case "session/history": {
        const end = Math.min(total, (params.before ?? Infinity) - 1)
        const turns = Array.from({ length: Math.max(0, Math.min(params.limit, end)) }, (_, n) => ({
          firstSeq: end - n,
        }))
        return { turns, nextBefore: end > params.limit ? turns.at(-1)!.firstSeq : null }
      }
      default: {
        const from = Number(params.cursor ?? 0)
        const sessions = Array.from({ length: Math.min(params.limit, total - from) }, (_, n) => ({ id: from + n }))
        return { sessions, nextCursor: from + params.limit < total ? String(from + params.limit) : null }
      }
    }
  }) as unknown as Request
  return { request, calls }
}

const collect = async <A>(all: AsyncIterable<A>): Promise<Array<A>> => {
  const found: Array<A> = []
  for await (const each of all) found.push(each)
  return found
}
const oneTo = (count: number, from = 1) => Array.from({ length: count }, (_, n) => n + from)

describe("transcript pages", () => {
  const seqs = async (request: Request, query: object) => {
    const pages = await collect(transcriptPages(request, { session: "a", ...query }))
    return pages.flatMap(({ entries }) => entries.map(({ seq }) => seq))
  }

  it.each([0, 1, 4, 5, 6, 10, 11])("give each of %i entries once, in order, five at a time", async (total) => {
    expect(await seqs(fake(total).request, { pageSize: 5 })).toEqual(oneTo(total))
    expect(await seqs(fake(total).request, { pageSize: 5, after: 3 })).toEqual(oneTo(Math.max(0, total - 3), 4))
  })

  it.each([0, 1, 5, 7, 10, 99])(
    "stop at seq %i where no more is wanted, and ask for no page beyond",
    async (through) => {
      const { request, calls } = fake(20)
      expect(await seqs(request, { pageSize: 5, through })).toEqual(oneTo(Math.min(through, 20)))
      expect(calls.length).toBeLessThanOrEqual(Math.ceil(Math.min(through, 20) / 5) + (through > 20 ? 1 : 0))
    },
  )

  it("go on over what is filtered out", async () => {
    const { request } = fake(1000, 0, (seq) => seq % 100 === 0)
    expect(await seqs(request, { pageSize: 3 })).toEqual(oneTo(10).map((n) => n * 100))
    expect(await seqs(fake(50, 0, () => false).request, { pageSize: 3 })).toEqual([])
  })

  it("tell of what is no longer kept, once, before what comes after it", async () => {
    const missed: Array<Missed | undefined> = []
    for await (const page of transcriptPages(fake(20, 7).request, { session: "a", after: 2, pageSize: 5 })) {
      missed.push(page.missed)
    }
    expect(missed[0]).toEqual({ after: 2, through: 7 })
    expect(missed.slice(1).every((each) => each === undefined)).toBe(true)
    const [only, ...more] = await collect(
      transcriptPages(fake(20, 20).request, { session: "a", through: 12, pageSize: 5 }),
    )
    expect([only, more]).toEqual([{ entries: [], missed: { after: 0, through: 12 }, nextAfter: 12 }, []])
  })

  it("ask for the next page only when the one before was taken", async () => {
    const { request, calls } = fake(1000)
    const pages = transcriptPages(request, { session: "a", pageSize: 10 })
    await pages.next()
    expect(calls).toHaveLength(1)
    await pages.return()
    expect(calls).toHaveLength(1)
  })

  it("pass on which entries are wanted", async () => {
    const { request, calls } = fake(1)
    await collect(transcriptPages(request, { session: "a", all: true, types: ["note"], turn: "t" }))
    expect(calls[0]).toEqual({ session: "a", all: true, types: ["note"], turn: "t", after: 0, limit: 500 })
  })
})

describe("pages of turns and sessions", () => {
  it.each([0, 1, 9, 10, 11, 25])("give each of %i once", async (total) => {
    const turns = (await collect(historyPages(fake(total).request, { session: "a", pageSize: 10 }))).flat()
    expect(turns.map((turn) => turn.firstSeq)).toEqual(oneTo(total).toReversed())
    const sessions = (await collect(sessionPages(fake(total).request, { pageSize: 10 }))).flat()
    expect(sessions.map((session) => Number(session.id) + 1)).toEqual(oneTo(total))
  })

  it("begin where they are told to", async () => {
    const turns = (await collect(historyPages(fake(25).request, { session: "a", before: 4 }))).flat()
    expect(turns.map((turn) => turn.firstSeq)).toEqual([3, 2, 1])
  })
})
