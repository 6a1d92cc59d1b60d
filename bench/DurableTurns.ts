/**
 * What durability costs a turn: the same asks of sessions over `cat` with the SQLite store and with the memory store, and
 * against the least that SQLite itself could do. What a round leaves for later (rows, search index) is done before its
 * neighbour begins; the rows, which every turn has to pay for, within the measured time.
 */
import { mkdtempSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { EmbeddedRuntime } from "../src/EmbeddedRuntime.ts"
import { askSession } from "./AskRoundTrip.ts"
import type { Comparison, Measurement, Side } from "./Measurement.ts"
import { askSessions } from "./ParallelSessions.ts"

const width = 64

export const newDataDirectory = (): string => mkdtempSync(join(process.cwd(), "data-"))

/** The rows of what was acknowledged: whatever only they can answer brings them up to date. */
export const settleRows = (runtime: EmbeddedRuntime): Promise<unknown> => runtime.list({ limit: 1 })
/** The search index likewise, by a word that nothing has. */
export const settleIndex = (runtime: EmbeddedRuntime): Promise<unknown> => runtime.search("zzzz")

/** `asks`: how many one `count` of a round comes to. */
export const settled = (runtime: EmbeddedRuntime, side: Side, asks: number): Side => ({
  ...side,
  round: async (count) => {
    const each = await side.round(count)
    const begun = performance.now()
    await settleRows(runtime)
    const rest = performance.now() - begun
    await settleIndex(runtime)
    return each + (rest * 1000) / (count * asks)
  },
})

const open = async (store: "sqlite" | "memory"): Promise<EmbeddedRuntime> => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  return openRuntime({ dataDirectory: newDataDirectory(), store })
}

const durableAsk: Comparison["subject"] = async () => {
  const runtime = await open("sqlite")
  return settled(runtime, await askSession(runtime), 1)
}

/** What a program would keep of a turn, as long as ours is. */
const turnText = (i: number): string =>
  JSON.stringify({
    id: `turn_0123456789ab1T${i}`,
    session: "ses_0123456789ab1",
    status: "completed",
    prompt: `what is the answer to question ${i}?`,
    text: `what is the answer to question ${i}?`,
    stopReason: "end_turn",
    usage: null,
    error: null,
    idempotencyKey: null,
    queuedAt: Date.now(),
    startedAt: Date.now(),
    endedAt: Date.now(),
    firstSeq: 4 * i,
    lastSeq: 4 * i + 3,
  })

/** Synchronous as the store's: a commit survives the death of the process, and takes no fsync of its own. */
const bareInsert: Comparison["baseline"] = async () => {
  const database = new DatabaseSync(join(newDataDirectory(), "bare.db"))
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE turns (turn TEXT NOT NULL)")
  const insert = database.prepare("INSERT INTO turns VALUES (?)")
  return {
    round: async (count) => {
      const begun = performance.now()
      for (let i = 0; i < count; i++) insert.run(turnText(i))
      return ((performance.now() - begun) * 1000) / count
    },
    close: async () => database.close(),
  }
}

const common = { kind: "comparison", unit: "µs" } as const

export const durableTurns: ReadonlyArray<Measurement> = [
  {
    ...common,
    name: "durable/ask",
    title: "ask, SQLite store against memory store",
    target: 3,
    full: { rounds: 15, warmups: 5, count: 4000 },
    quick: { rounds: 3, warmups: 2, count: 1000 },
    subject: durableAsk,
    baseline: async () => askSession(await open("memory")),
  },
  {
    ...common,
    name: "durable/parallel",
    title: `${width} sessions in parallel, SQLite store against memory store`,
    target: 1.5,
    full: { rounds: 15, warmups: 4, count: 120 },
    quick: { rounds: 3, warmups: 2, count: 30 },
    subject: async () => {
      const runtime = await open("sqlite")
      return settled(runtime, await askSessions(runtime, width), width)
    },
    baseline: async () => askSessions(await open("memory"), width),
  },
  {
    ...common,
    name: "durable/insert",
    title: "ask, SQLite store, against a bare insert a turn",
    target: null,
    full: { rounds: 15, warmups: 5, count: 4000 },
    quick: { rounds: 3, warmups: 2, count: 1000 },
    subject: durableAsk,
    baseline: bareInsert,
  },
]
