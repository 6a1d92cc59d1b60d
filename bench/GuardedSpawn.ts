/**
 * What a guard of its own costs a child that a program starts with `creche/spawn`: from the call to the first line, against Node's
 * spawn; in a process whose heap is nearly empty and in one of 80 MB; and with the guard in Perl.
 */
import type { Measurement } from "./Measurement.ts"
import { RawChild } from "./RawChild.ts"
import { readyArgs, readyCommand } from "./ReadyChild.ts"
import { oneByOne, rawStart } from "./SpawnToReady.ts"

const guarded = async () => {
  const { spawn } = await import("../src/spawn/index.ts")
  const { level, detail } = spawn.containment
  if (level !== "guard") throw new Error(`no guard is to be had: ${detail}`)
  return oneByOne(
    async () => {
      const child = new RawChild(readyCommand, readyArgs, spawn)
      const line = await Promise.race([child.line(), child.closed])
      if (line !== "ready") throw new Error(`the child said ${JSON.stringify(line)}`)
      return { end: () => child.kill() }
    },
    async () => {},
  )
}

const measurement = (name: string, title: string, target: number, ballastMb: number): Measurement => ({
  kind: "comparison",
  name: `guarded/${name}`,
  title: `creche/spawn to the first line, ${title}`,
  unit: "ms",
  target,
  ballastMb,
  full: { rounds: 15, warmups: 3, count: 10 },
  quick: { rounds: 3, warmups: 1, count: 5 },
  subject: () => {
    // Where no other is to be had it is the one in Perl.
    if (name === "perl") process.env["CRECHE_GUARD"] = "/no/such/guard"
    return guarded()
  },
  baseline: async () => oneByOne(rawStart, async () => {}),
})

export const guardedSpawn: ReadonlyArray<Measurement> = [
  measurement("thin", "thin process", 2, 0),
  measurement("fat", "fat process", 1.5, 80),
  measurement("perl", "the guard in Perl", 20, 0),
]
