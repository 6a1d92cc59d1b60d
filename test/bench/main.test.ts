/** The shape of the benchmarks, with counts so small that they are over at once. No time is judged here. */
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import type { Measurement, Settings } from "../../bench/Measurement.ts"
import { render } from "../../bench/Report.ts"
import { run, type Outcome } from "../../bench/Rounds.ts"
import { measurements } from "../../bench/scenarios.ts"
import { quantile, summarise } from "../../bench/Statistics.ts"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { noLevel } from "../process/SpawnerBench.ts"

const main = fileURLToPath(new URL("../../bench/main.ts", import.meta.url))
const tiny: Settings = { rounds: 2, warmups: 0, count: 2 }
/** Sessions on record beforehand, where there are to be some. */
const few = 3
const hasGuard = findGuardBinary().found

const withoutLevel = new Map<string | undefined, string>([
  ["namespace", await noLevel("namespace")],
  ["cgroup", await noLevel("cgroup")],
])

/** What this machine cannot measure, or what says nothing here. */
const missing = (name: string): string | undefined => {
  if (name === "ps/built") return "dist/ may be older than the source, or just being made"
  if (name === "memory/guard" && !hasGuard) return "there is no guard here"
  if (name.startsWith("memory/") && !existsSync("/proc/self/smaps_rollup")) return "there is no /proc/self/smaps_rollup"
  return withoutLevel.get(/^levels\/(namespace|cgroup)/.exec(name)?.[1]) || undefined
}

const expectPositive = (samples: ReadonlyArray<number>): void => {
  expect(samples).toHaveLength(tiny.rounds)
  for (const sample of samples) expect(sample).toBeGreaterThan(0)
}

/** The same as `durable/stored-10` where all have few. */
const alike = ["durable/stored-1000", "durable/stored-50000"]

describe("each measurement", () => {
  for (const measurement of measurements.filter(({ name }) => !alike.includes(name))) {
    it(`${measurement.name} gives numbers, and leaves no process behind`, async (context) => {
      const why = missing(measurement.name)
      if (why !== undefined) context.skip(why)
      const stored = measurement.full.stored === undefined ? undefined : { stored: few }
      const outcome = await run(measurement, { ...tiny, ...stored })
      if (outcome.kind === "failed") throw new Error(outcome.error)
      const { name, target, unit } = measurement
      expect(outcome).toMatchObject({ name, target, unit, ...stored })
      switch (outcome.kind) {
        case "comparison":
          expectPositive(outcome.subject.samples)
          expectPositive(outcome.baseline.samples)
          expect(outcome.ratio).toBe(outcome.subject.median / outcome.baseline.median)
          expect(outcome.bestRatio).toBeGreaterThan(0)
          expect(outcome.cpuRatio).toBeGreaterThan(0)
          expect(outcome.met).toBe(target === null ? null : outcome.ratio <= target)
          break
        case "limit":
          // Two sessions are fewer than a page of noise: a number it must be, and that is all.
          for (const sample of outcome.value.samples) expect(sample).not.toBeNaN()
          for (const detail of Object.values(outcome.details)) expect(detail).not.toBeNaN()
          expect(outcome.met).toBe(target === null ? null : outcome.value.median <= target)
          break
        case "skipped":
          throw new Error(outcome.why)
      }
      expect(childrenOf(process.pid)).toEqual([])
    })
  }

  it("is told apart by its name", () => {
    expect(new Set(measurements.map(({ name }) => name)).size).toBe(measurements.length)
  })
})

/** Sides are this process's own children; one that is left would show here. */
const childrenOf = (pid: number): ReadonlyArray<string> =>
  process.platform === "linux"
    ? execFileSync("ps", ["-o", "args=", "--ppid", String(pid)], { encoding: "utf8" })
        .split("\n")
        .filter((line) => line.includes("bench/side.ts"))
    : []

describe("npm run bench", () => {
  const bench = (...args: ReadonlyArray<string>) => spawnSync(process.execPath, [main, ...args], { encoding: "utf8" })

  it("prints JSON and nothing else on stdout with --json", () => {
    const { status, stdout } = bench("--json", "--quick", "--only", "parallel")
    expect(status).toBe(0)
    const report = JSON.parse(stdout) as { readonly outcomes: ReadonlyArray<Outcome>; readonly quick: boolean }
    expect(report.quick).toBe(true)
    expect(report.outcomes.map(({ name, kind }) => ({ name, kind }))).toEqual([
      { name: "parallel", kind: "comparison" },
    ])
  })

  it("refuses a name that it does not know, and says which there are", () => {
    const { status, stdout, stderr } = bench("--only", "spawn/slim")
    expect(status).toBe(2)
    expect(stdout).toBe("")
    expect(stderr).toContain("spawn/thin")
  })

  it("refuses an option that it does not know", () => {
    expect(bench("--fast").status).toBe(2)
  })
})

describe("a measurement that cannot be made", () => {
  const broken: Outcome = {
    kind: "failed",
    name: "x",
    title: "X",
    unit: "ms",
    target: 1,
    error: "no such thing\n at y",
  }

  it("is skipped with a sentence where what it measures is not there", async () => {
    const { target, unit, title } = broken
    const absent = { ...measurements[0]!, missing: () => "nothing was built" }
    expect(await run(absent as Measurement, tiny)).toMatchObject({ kind: "skipped", why: "nothing was built" })
    expect(render([{ kind: "skipped", name: "y", title, unit, target, why: "nothing was built" }])).toContain(
      "nothing was built",
    )
  })

  it("is an outcome of its own, so that the others go on", async () => {
    const unknown = { ...measurements[0]!, name: "nothing of that name" }
    expect(await run(unknown, tiny)).toMatchObject({ kind: "failed", name: "nothing of that name" })
  })

  it("stands in the table with what was wrong", () => {
    expect(render([broken])).toContain("FAILED: no such thing\n")
  })
})

describe("durable measurements", () => {
  it("are those that the store's promises are held against", () => {
    const durable = measurements.filter(({ name }) => name.startsWith("durable/"))
    expect(durable.map(({ name, target }) => [name, target])).toEqual([
      ["durable/ask", 3],
      ["durable/parallel", 1.5],
      ["durable/insert", null],
      ["durable/stored-10", 1.15],
      ["durable/stored-1000", 1.15],
      ["durable/stored-50000", 1.15],
      ["durable/recovery", null],
      ["durable/bytes", null],
    ])
  })

  it("have smaller stores with --quick", () => {
    const most = (which: "full" | "quick") => Math.max(...measurements.map((each) => each[which].stored ?? 0))
    expect(most("full")).toBe(50_000)
    expect(most("quick")).toBeLessThan(10_000)
  })
})

describe("a measurement without a target", () => {
  const of = (samples: ReadonlyArray<number>) => summarise(samples)
  const common = { title: "X", target: null, met: null } as const

  it("is told and not judged", () => {
    const ratio = { subject: of([6]), baseline: of([2]), ratio: 3, cpuRatio: 3, bestRatio: 3, ratios: of([3]) }
    const line = render([{ kind: "comparison", name: "x", unit: "µs", ...common, ...ratio }])
    expect(line).toContain("3.00")
    expect(line).not.toMatch(/≤|met|MISSED/u)
  })

  it("names the number of stored sessions, and the unit of each detail that is not its own", () => {
    const details = { perSessionUs: 12, firstAnswerMs: 5, peakMb: 90 }
    const line = render([{ kind: "limit", name: "x", unit: "ms", stored: 7000, ...common, value: of([120]), details }])
    expect(line).toContain("X: 7000 ")
    expect(line).toContain("perSession 12.0 µs, firstAnswer 5.00, peak 90.0 MB")
  })
})

describe("quantiles", () => {
  it("lie between the samples, whatever their order", () => {
    expect(summarise([4, 1, 3, 2])).toEqual({ q1: 1.75, median: 2.5, q3: 3.25, samples: [4, 1, 3, 2] })
    expect(quantile([7], 0.25)).toBe(7)
    expect(quantile([], 0.5)).toBeNaN()
  })
})
