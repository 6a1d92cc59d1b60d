/** A prompt to `cat` and its echo back, one after the other, in one process: a session against a bare pipe. */
import { spawnSync } from "node:child_process"
import type { EmbeddedRuntime } from "../src/EmbeddedRuntime.ts"
import type { Comparison, Measurement, Side } from "./Measurement.ts"
import { RawChild } from "./RawChild.ts"

const prompt = (i: number): string => `what is the answer to question ${i}?`

const expectEcho = (got: string, wanted: string): void => {
  if (got !== wanted) throw new Error(`asked ${JSON.stringify(wanted)}, answered ${JSON.stringify(got)}`)
}

const timed = async (count: number, ask: (prompt: string) => Promise<string>): Promise<number> => {
  const begun = performance.now()
  for (let i = 0; i < count; i++) expectEcho(await ask(prompt(i)), prompt(i))
  return ((performance.now() - begun) * 1000) / count
}

/** One more session of this runtime, asked; the runtime is closed with the side. */
export const askSession = async (runtime: EmbeddedRuntime): Promise<Side> => {
  await runtime.start({ name: "echo", command: "cat", protocol: { type: "lines" } })
  return {
    round: (count) => timed(count, async (text) => (await runtime.ask("echo", text)).text),
    close: async () => void (await runtime.close()),
  }
}

const subject: Comparison["subject"] = async () => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  return askSession(await openRuntime())
}

const baseline: Comparison["baseline"] = async () => {
  const child = new RawChild("cat")
  return { round: (count) => timed(count, (text) => child.ask(text)), close: () => child.kill() }
}

const common = {
  kind: "comparison",
  unit: "µs",
  target: 1.5,
  full: { rounds: 15, warmups: 5, count: 2000 },
  quick: { rounds: 3, warmups: 2, count: 1000 },
  subject,
  baseline,
} as const

export const pinnable = {
  pinned: true,
  missing: () => (spawnSync("taskset", ["-V"]).status === 0 ? undefined : "taskset is not installed"),
} as const

export const askRoundTrip: ReadonlyArray<Measurement> = [
  { ...common, name: "ask", title: "ask round trip in process" },
  {
    ...common,
    name: "ask/pinned",
    title: "the same, both sides on one CPU",
    ...pinnable,
  },
]
