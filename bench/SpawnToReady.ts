/**
 * From the wish for a process to its first line: one after the other, and a hundred at once; in a process whose heap is
 * nearly empty, and in one that holds 80 MB, which plain Node has to copy the page tables of at every spawn.
 */
import type { SessionSpecInput } from "../src/domain/SessionSpec.ts"
import type { Measurement, Side } from "./Measurement.ts"
import { median } from "./Statistics.ts"
import { RawChild } from "./RawChild.ts"
import { readyArgs, readyCommand, readySpec } from "./ReadyChild.ts"

interface Started {
  readonly end: () => Promise<void>
}
type Start = () => Promise<Started>

/** The median of single starts; what is started is ended before the next. */
export const oneByOne = (start: Start, close: Side["close"]): Side => ({
  round: async (count) => {
    const took: Array<number> = []
    for (let i = 0; i < count; i++) {
      const begun = performance.now()
      const started = await start()
      took.push(performance.now() - begun)
      await started.end()
    }
    return median(took)
  },
  close,
})

/** Until the last of `count` is ready. */
const atOnce = (start: Start, close: Side["close"]): Side => ({
  round: async (count) => {
    const begun = performance.now()
    const all = await Promise.all(Array.from({ length: count }, start))
    const took = performance.now() - begun
    await Promise.all(all.map((started) => started.end()))
    return took
  },
  close,
})

export const rawStart: Start = async () => {
  const child = new RawChild(readyCommand, readyArgs)
  const line = await Promise.race([child.line(), child.closed])
  if (line !== "ready") throw new Error(`the child said ${JSON.stringify(line)}`)
  return { end: () => child.kill() }
}

/** `over`: what the sessions want besides. */
export const sessions = async (shape: typeof oneByOne, over: Partial<SessionSpecInput> = {}): Promise<Side> => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  const runtime = await openRuntime()
  const spec = { ...readySpec(process.cwd()), ...over }
  return shape(
    async () => {
      const { id } = await runtime.start(spec)
      return {
        end: async () => {
          await runtime.stop(id, "kill")
          await runtime.remove(id)
        },
      }
    },
    async () => void (await runtime.close()),
  )
}

const variants = [
  { heap: "thin", ballastMb: 0, one: 0.8, hundred: 0.5 },
  { heap: "fat", ballastMb: 80, one: 0.35, hundred: 0.2 },
] as const

export const spawnToReady: ReadonlyArray<Measurement> = variants.flatMap(({ heap, ballastMb, one, hundred }) => [
  {
    kind: "comparison",
    name: `spawn/${heap}`,
    title: `spawn to ready, ${heap} process`,
    unit: "ms",
    target: one,
    ballastMb,
    full: { rounds: 15, warmups: 3, count: 10 },
    quick: { rounds: 3, warmups: 1, count: 5 },
    subject: () => sessions(oneByOne),
    baseline: async () => oneByOne(rawStart, async () => {}),
  },
  {
    kind: "comparison",
    name: `burst/${heap}`,
    title: `100 starts at once, ${heap} process`,
    unit: "ms",
    target: hundred,
    ballastMb,
    full: { rounds: 9, warmups: 2, count: 100 },
    quick: { rounds: 3, warmups: 1, count: 100 },
    subject: () => sessions(atOnce),
    baseline: async () => atOnce(rawStart, async () => {}),
  },
])
