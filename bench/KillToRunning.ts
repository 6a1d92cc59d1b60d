/**
 * From `kill -9` of a child until its replacement has printed its first line: a permanent session without backoff
 * against a program that spawns again in its `exit` handler.
 */
import { setTimeout as sleep } from "node:timers/promises"
import type { Measurement, Side } from "./Measurement.ts"
import { RawChild } from "./RawChild.ts"
import { readyArgs, readyCommand, readySpec } from "./ReadyChild.ts"
import { median } from "./Statistics.ts"

/** Untimed, before each kill, in ms: the runtime's bucket for restarts fills at 100 a second, and is not what is measured. */
const betweenKillsMs = 12

const timed =
  (pid: () => number, revived: () => Promise<void>): Side["round"] =>
  async (count) => {
    const took: Array<number> = []
    for (let i = 0; i < count; i++) {
      await sleep(betweenKillsMs)
      const again = revived()
      const begun = performance.now()
      process.kill(pid(), "SIGKILL")
      await again
      took.push(performance.now() - begun)
    }
    return median(took)
  }

const session = async (): Promise<Side> => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  const runtime = await openRuntime()
  let { pid } = await runtime.start({
    ...readySpec(process.cwd()),
    name: "mortal",
    restart: "permanent",
    backoff: { initialMs: 0 },
    intensity: { maxRestarts: 1_000_000, withinMs: 1000 },
  })
  const entries = runtime.subscribe({ session: "mortal", types: ["status", "process/spawned"] })[Symbol.asyncIterator]()
  return {
    round: timed(
      () => pid!,
      async () => {
        while (true) {
          const { value: entry } = await entries.next()
          if (entry === undefined) throw new Error("the subscription ended")
          if (entry.type === "process/spawned") pid = entry.pid
          if (entry.type !== "status") continue
          if (entry.status === "ready") return
          if (entry.status === "failed") throw new Error("the session failed")
        }
      },
    ),
    close: async () => void (await runtime.close()),
  }
}

const raw = async (): Promise<Side> => {
  let child!: RawChild
  let revived = () => {}
  let closing = false
  const start = () => {
    child = new RawChild(readyCommand, readyArgs)
    child.onLine = () => revived()
    child.process.once("exit", () => closing || start())
  }
  const again = () => new Promise<void>((resolve) => (revived = resolve))
  const first = again()
  start()
  await first
  return {
    round: timed(() => child.process.pid!, again),
    close: () => {
      closing = true
      return child.kill()
    },
  }
}

const variants = [
  { heap: "thin", ballastMb: 0, target: 0.8 },
  { heap: "fat", ballastMb: 80, target: 0.45 },
] as const

export const killToRunning: ReadonlyArray<Measurement> = variants.map(({ heap, ballastMb, target }) => ({
  kind: "comparison",
  name: `restart/${heap}`,
  title: `kill -9 to running again, ${heap} process`,
  unit: "ms",
  target,
  ballastMb,
  full: { rounds: 15, warmups: 3, count: 10 },
  quick: { rounds: 3, warmups: 1, count: 5 },
  subject: session,
  baseline: raw,
}))
