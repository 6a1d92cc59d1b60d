/**
 * What a turn leaves on the disk after a clean close, its words in the search index among it: the slope between some
 * turns and many. Turns are apart here, each in a transaction of its own, as they are where somebody types them; turns
 * that follow each other at once share rows, and take less.
 */
import { statSync } from "node:fs"
import { join } from "node:path"
import { newDataDirectory, settleIndex, settleRows } from "./DurableTurns.ts"
import type { Measurement } from "./Measurement.ts"
import { databaseName } from "./StoredSessions.ts"

const prompt = (i: number): string => `what is the answer to question ${i}?`

const suffixes = { database: "", wal: "-wal", log: "-commits" } as const
type Sizes = { readonly [K in keyof typeof suffixes | "all"]: number }

const sizesOf = (dataDirectory: string): Sizes => {
  const size = (suffix: string) =>
    statSync(join(dataDirectory, databaseName) + suffix, { throwIfNoEntry: false })?.size ?? 0
  const [database, wal, log] = [size(suffixes.database), size(suffixes.wal), size(suffixes.log)]
  return { database, wal, log, all: database + wal + log }
}

/** Of a store in which one session was asked so often. */
const sizesAfter = async (turns: number, apart: boolean): Promise<Sizes> => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  const dataDirectory = newDataDirectory()
  const runtime = await openRuntime({ dataDirectory })
  try {
    await runtime.start({ name: "echo", command: "cat", protocol: "lines" })
    for (let i = 0; i < turns; i++) {
      const { text } = await runtime.ask("echo", prompt(i))
      if (text !== prompt(i)) throw new Error(`answered ${JSON.stringify(text)}`)
      if (apart) await settleRows(runtime)
    }
    await settleIndex(runtime)
  } finally {
    await runtime.close()
  }
  const sizes = sizesOf(dataDirectory)
  if (sizes.database === 0) throw new Error(`there is no ${databaseName}`)
  return sizes
}

export const durableBytes: ReadonlyArray<Measurement> = [
  {
    kind: "limit",
    name: "durable/bytes",
    title: "database, WAL and log after a clean close, each turn",
    unit: "B",
    target: null,
    full: { rounds: 3, warmups: 0, count: 4000 },
    quick: { rounds: 1, warmups: 0, count: 1000 },
    measure: async ({ count }) => {
      const few = Math.ceil(count / 2)
      const slope = async (apart: boolean) => {
        const before = await sizesAfter(few, apart)
        const after = await sizesAfter(few + count, apart)
        return (part: keyof Sizes) => (after[part] - before[part]) / count
      }
      const apart = await slope(true)
      const atOnce = await slope(false)
      return {
        value: apart("all"),
        databaseBytes: apart("database"),
        walBytes: apart("wal"),
        logBytes: apart("log"),
        textBytes: 2 * Buffer.byteLength(prompt(count)),
        atOnceBytes: atOnce("all"),
      }
    },
  },
]
