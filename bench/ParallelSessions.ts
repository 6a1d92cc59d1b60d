/** Many conversations at once, each asking its own `cat` one prompt after the other; the time is one ask of all. */
import type { EmbeddedRuntime } from "../src/EmbeddedRuntime.ts"
import type { Measurement, Side } from "./Measurement.ts"
import { RawChild } from "./RawChild.ts"

const width = 16

const timed = async (
  width: number,
  count: number,
  ask: (session: number, prompt: string) => Promise<string>,
): Promise<number> => {
  const begun = performance.now()
  await Promise.all(
    Array.from({ length: width }, async (_, session) => {
      for (let i = 0; i < count; i++) {
        const prompt = `session ${session} asks question ${i}`
        if ((await ask(session, prompt)) !== prompt) throw new Error(`a wrong answer in session ${session}`)
      }
    }),
  )
  return ((performance.now() - begun) * 1000) / (count * width)
}

/** So many sessions of this runtime, asked at once; the runtime is closed with the side. */
export const askSessions = async (runtime: EmbeddedRuntime, width: number): Promise<Side> => {
  const names = Array.from({ length: width }, (_, i) => `echo-${i}`)
  await Promise.all(names.map((name) => runtime.start({ name, command: "cat", protocol: { type: "lines" } })))
  return {
    round: (count) => timed(width, count, async (i, text) => (await runtime.ask(`echo-${i}`, text)).text),
    close: async () => void (await runtime.close()),
  }
}

export const parallelSessions: ReadonlyArray<Measurement> = [
  {
    kind: "comparison",
    name: "parallel",
    title: `${width} sessions in parallel, each ask`,
    unit: "µs",
    target: 1.5,
    full: { rounds: 15, warmups: 5, count: 250 },
    quick: { rounds: 3, warmups: 2, count: 100 },
    subject: async () => {
      const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
      return askSessions(await openRuntime(), width)
    },
    baseline: async () => {
      const children = Array.from({ length: width }, () => new RawChild("cat"))
      return {
        round: (count) => timed(width, count, (i, text) => children[i]!.ask(text)),
        close: async () => void (await Promise.all(children.map((child) => child.kill()))),
      }
    },
  },
]
