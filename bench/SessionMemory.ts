/**
 * What one more session costs: the slope between a few sessions and many, after collecting garbage, in a fresh process.
 * What counts is what is live in the heap, and all private memory outside of it. The room that the collector keeps for
 * itself grows in steps of many megabytes, with the work that was done and not with what is held: it is left out.
 */
import { readFileSync } from "node:fs"
import { getHeapStatistics } from "node:v8"
import type { SessionSpecInput } from "../src/domain/SessionSpec.ts"
import type { EmbeddedRuntime } from "../src/EmbeddedRuntime.ts"
import type { Limit, Measurement, Settings } from "./Measurement.ts"
import { median } from "./Statistics.ts"

const together = 25

/** Fields of smaps_rollup, in KB. */
export const rollup = (pid: number | "self"): { readonly pssKb: number; readonly privateKb: number } => {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1")
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0)
  return { pssKb: field("Pss"), privateKb: field("Private_Clean") + field("Private_Dirty") }
}

/** The command's parent: its session guard. */
export const parentOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1])
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const held = async () => {
  await settle()
  const { used_heap_size: used, total_physical_size: kept } = getHeapStatistics()
  const privateKb = rollup("self").privateKb
  return { heapKb: used / 1024, outsideKb: privateKb - kept / 1024, privateKb }
}

const spec: SessionSpecInput = { command: "cat", protocol: { type: "lines" }, idleTimeoutMs: null }

/** Starts sessions, each asked once, until there are `count` more; `then` is done with each. */
export const grow = async (
  runtime: EmbeddedRuntime,
  count: number,
  then: (session: string) => Promise<unknown>,
  over: Partial<SessionSpecInput> = {},
): Promise<Array<number>> => {
  const pids: Array<number> = []
  for (let left = count; left > 0; left -= together) {
    await Promise.all(
      Array.from({ length: Math.min(left, together) }, async () => {
        const { id, pid } = await runtime.start({ ...spec, cwd: process.cwd(), ...over })
        const { text } = await runtime.ask(id, "hello")
        if (text !== "hello" || pid === null) throw new Error(`answered ${JSON.stringify(text)}`)
        pids.push(pid)
        await then(id)
      }),
    )
  }
  return pids
}

export const withRuntime = async <A>(use: (runtime: EmbeddedRuntime) => Promise<A>): Promise<A> => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  const runtime = await openRuntime()
  try {
    return await use(runtime)
  } finally {
    // The many are stopped at once; one after the other is the runtime's own way.
    const { sessions } = await runtime.list({ limit: 10_000 })
    await Promise.all(sessions.map(({ id }) => runtime.stop(id, "kill")))
    await runtime.close()
  }
}

const slope =
  (then: (runtime: EmbeddedRuntime, session: string) => Promise<unknown>) =>
  ({ count }: Settings) =>
    withRuntime(async (runtime) => {
      // The first ones pay for code, pools and the room that the collector keeps.
      await grow(runtime, Math.ceil(count / 2), (session) => then(runtime, session))
      const before = await held()
      await grow(runtime, count, (session) => then(runtime, session))
      const after = await held()
      const heapKb = (after.heapKb - before.heapKb) / count
      const outsideKb = (after.outsideKb - before.outsideKb) / count
      // Pages that the first sessions left behind are used again: less than nothing is not what one holds.
      return {
        value: heapKb + Math.max(0, outsideKb),
        heapKb,
        outsideKb,
        privateKb: (after.privateKb - before.privateKb) / count,
      }
    })

const guards: Limit["measure"] = ({ count }) =>
  withRuntime(async (runtime) => {
    const { containment } = await runtime.info()
    if (containment.level !== "guard") throw new Error(`no guard holds here: ${containment.detail}`)
    const pids = await grow(runtime, count, async () => {})
    const all = pids.map((pid) => rollup(parentOf(pid)))
    return { value: median(all.map(({ pssKb }) => pssKb)), privateKb: median(all.map(({ privateKb }) => privateKb)) }
  })

const common = { kind: "limit", unit: "KB", smallYoungGeneration: true } as const

export const sessionMemory: ReadonlyArray<Measurement> = [
  {
    ...common,
    name: "memory/live",
    title: "runtime memory, each live session",
    target: 60,
    full: { rounds: 5, warmups: 0, count: 200 },
    quick: { rounds: 1, warmups: 0, count: 100 },
    measure: slope(async () => {}),
  },
  {
    ...common,
    name: "memory/guard",
    title: "guard memory, each live session (Pss)",
    target: 40,
    full: { rounds: 5, warmups: 0, count: 200 },
    quick: { rounds: 1, warmups: 0, count: 50 },
    measure: guards,
  },
  {
    ...common,
    name: "memory/suspended",
    title: "runtime memory, each suspended session",
    target: 8,
    full: { rounds: 5, warmups: 0, count: 1000 },
    quick: { rounds: 1, warmups: 0, count: 300 },
    measure: slope((runtime, session) => runtime.suspend(session)),
  },
]
