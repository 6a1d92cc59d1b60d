/**
 * What each level of containment costs: from the wish for a process to its first line, against plain Node, and the memory
 * of what holds it: its guard, and in a namespace the init there. Beside them a session whose limits are watched.
 */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Measurement } from "./Measurement.ts"
import { grow, parentOf, rollup, withRuntime } from "./SessionMemory.ts"
import { oneByOne, rawStart, sessions } from "./SpawnToReady.ts"
import { median } from "./Statistics.ts"

const bin = fileURLToPath(new URL("../src/cli/bin.ts", import.meta.url))

interface Finding {
  readonly what: string
  readonly status: string
  readonly detail: string
}
let findings: ReadonlyArray<Finding> | undefined

/** As `creche doctor` says it; asked of a process of its own, since this one has loaded nothing of creche. */
const missing = (level: string) => (): string | undefined => {
  findings ??= (
    JSON.parse(spawnSync(process.execPath, [bin, "doctor", "--json"], { encoding: "utf8" }).stdout) as {
      readonly findings: ReadonlyArray<Finding>
    }
  ).findings
  const found = findings.find(({ what }) => what === (level === "guard" ? "containment" : level))
  const holds = level === "guard" ? found?.detail.startsWith("guard") : found?.status === "ok"
  return holds === true ? undefined : `${level}: ${found?.detail}`
}

/** The guard, and whatever of its children is no command. */
const holdersOf = (pid: number): ReadonlyArray<number> => {
  const guard = parentOf(pid)
  const children = readFileSync(`/proc/${guard}/task/${guard}/children`, "latin1").trim().split(" ").map(Number)
  return [guard, ...children.filter((child) => child !== pid)]
}

const named = [
  { name: "guard", containment: "guard", limits: undefined },
  { name: "namespace", containment: "namespace", limits: undefined },
  { name: "cgroup", containment: "cgroup", limits: undefined },
  // Far beyond what they take: what is measured is the watching.
  { name: "watched", containment: "guard", limits: { processes: 1_000, memoryBytes: 2 ** 40 } },
] as const

export const levels: ReadonlyArray<Measurement> = named.flatMap(({ name, containment, limits }): Array<Measurement> => {
  const over = { containment, ...(limits === undefined ? {} : { limits }) }
  const shown = name === "watched" ? "guard with limits" : name
  return [
    {
      kind: "comparison",
      name: `levels/${name}`,
      title: `spawn to ready, ${shown}`,
      unit: "ms",
      target: null,
      full: { rounds: 15, warmups: 3, count: 10 },
      quick: { rounds: 3, warmups: 1, count: 5 },
      missing: missing(containment),
      subject: () => sessions(oneByOne, over),
      baseline: async () => oneByOne(rawStart, async () => {}),
    },
    {
      kind: "limit",
      name: `levels/${name}-memory`,
      title: `memory of what holds a session, ${shown} (Pss)`,
      unit: "KB",
      target: null,
      full: { rounds: 3, warmups: 0, count: 100 },
      quick: { rounds: 1, warmups: 0, count: 50 },
      missing: missing(containment),
      measure: ({ count }) =>
        withRuntime(async (runtime) => {
          const pids = await grow(runtime, count, async () => {}, over)
          const held = pids.map((pid) => holdersOf(pid).map(rollup))
          const sum = (field: "pssKb" | "privateKb") =>
            median(held.map((all) => all.reduce((total, one) => total + one[field], 0)))
          return { value: sum("pssKb"), privateKb: sum("privateKb") }
        }),
    },
  ]
})
