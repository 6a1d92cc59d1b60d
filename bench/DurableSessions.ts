/**
 * Sessions that sleep in the store: what they cost one that is asked, and how long a runtime takes until it serves when
 * it comes back to many of them.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { askSession, pinnable } from "./AskRoundTrip.ts"
import { newDataDirectory, settled } from "./DurableTurns.ts"
import type { Comparison, Limit, Measurement, Side } from "./Measurement.ts"
import { storedName, storeSessions } from "./StoredSessions.ts"

/** What the others are held against. */
const few = 10

const askBeside = async (stored: number): Promise<Side> => {
  const dataDirectory = newDataDirectory()
  await storeSessions(dataDirectory, stored, false)
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  const runtime = await openRuntime({ dataDirectory })
  return settled(runtime, await askSession(runtime), 1)
}

const beside = (stored: number, quickly: number, target: number): Comparison => ({
  kind: "comparison",
  name: `durable/stored-${stored}`,
  title: `ask with suspended sessions on record, against ${few}`,
  unit: "µs",
  target,
  // What could grow is work; where the scheduler puts a child is not.
  ...pinnable,
  full: { rounds: 31, warmups: 6, count: 1000, stored },
  quick: { rounds: 3, warmups: 2, count: 1000, stored: quickly },
  subject: ({ stored = 0 }) => askBeside(stored),
  baseline: () => askBeside(few),
})

/** The directory is made by the first round; a runtime that was closed leaves it as it was. */
const recover: Limit["measure"] = async ({ stored = 0 }) => {
  const dataDirectory = join(process.cwd(), "data")
  if (!existsSync(dataDirectory)) await storeSessions(dataDirectory, stored, true)
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  globalThis.gc?.()
  const rss = process.memoryUsage().rss
  const begun = performance.now()
  const runtime = await openRuntime({ dataDirectory })
  const value = performance.now() - begun
  try {
    const peak = process.resourceUsage().maxRSS
    const asked = performance.now()
    const { status, text } = await runtime.ask(storedName(Math.floor(stored / 2)), "hello")
    const firstAnswerMs = performance.now() - asked
    if (text !== "hello") throw new Error(`the first turn ended as ${status}: ${JSON.stringify(text)}`)
    const { sessions } = await runtime.stats()
    if (sessions.suspended + sessions.ready !== stored) throw new Error(`came back: ${JSON.stringify(sessions)}`)
    return {
      value,
      perSessionUs: (value * 1000) / stored,
      firstAnswerMs,
      peakMb: peak / 1024,
      beforeMb: rss / 1024 / 1024,
    }
  } finally {
    await runtime.close()
  }
}

export const durableSessions: ReadonlyArray<Measurement> = [
  beside(10, 10, 1.15),
  beside(1000, 100, 1.15),
  beside(50_000, 5000, 1.15),
  {
    kind: "limit",
    name: "durable/recovery",
    title: "from opening to serving, with suspended sessions on record",
    unit: "ms",
    target: null,
    full: { rounds: 7, warmups: 0, count: 1, stored: 10_000 },
    quick: { rounds: 2, warmups: 0, count: 1, stored: 1000 },
    measure: recover,
  },
]
