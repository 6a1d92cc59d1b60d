/**
 * Runs measurements: both sides of a comparison are set up first, then asked for rounds in turn, the order swapped each
 * time, so that whatever else the machine does meets both alike. Reports numbers; judges only against the target.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Comparison, Limit, Measurement, Settings } from "./Measurement.ts"
import { SideProcess } from "./SideProcess.ts"
import { median, summarise, type Summary } from "./Statistics.ts"

interface Common {
  readonly name: string
  readonly title: string
  readonly unit: string
  readonly target: number | null
  /** Suspended sessions that were on record before. */
  readonly stored?: number
}

export type Outcome = Common &
  (
    | {
        readonly kind: "comparison"
        readonly subject: Summary
        readonly baseline: Summary
        /** Of the two medians. */
        readonly ratio: number
        /**
         * Of the medians of the CPU time that the two side processes themselves used for a whole round, cleaning up
         * included, children not: steadier than the clock where the machine is busy, but no measure of latency.
         */
        readonly cpuRatio: number
        /** Of the fastest round of each side: the least disturbed ones. */
        readonly bestRatio: number
        /** Of the ratios of each round to its neighbour. */
        readonly ratios: Summary
        /** null without a target. */
        readonly met: boolean | null
      }
    | {
        readonly kind: "limit"
        readonly value: Summary
        /** Medians. */
        readonly details: Readonly<Record<string, number>>
        readonly met: boolean | null
      }
    | { readonly kind: "skipped"; readonly why: string }
    | { readonly kind: "failed"; readonly error: string }
  )

const isMet = (value: number, target: number | null): boolean | null => (target === null ? null : value <= target)

const commonOf = ({ name, title, unit, target }: Measurement, { stored }: Settings): Common => ({
  name,
  title,
  unit,
  target,
  ...(stored === undefined ? undefined : { stored }),
})

const compare = async (comparison: Comparison, settings: Settings, home: string): Promise<Outcome> => {
  const common = commonOf(comparison, settings)
  const open: Array<SideProcess> = []
  try {
    const sides = { subject: [] as Array<number>, baseline: [] as Array<number> }
    const cpu = { subject: [] as Array<number>, baseline: [] as Array<number> }
    const names = ["subject", "baseline"] as const
    const processes = new Map<(typeof names)[number], SideProcess>()
    for (const side of names) {
      const started = await SideProcess.start(comparison, side, settings, home)
      open.push(started)
      processes.set(side, started)
    }
    for (let round = -settings.warmups; round < settings.rounds; round++) {
      for (const side of round % 2 === 0 ? names : names.toReversed()) {
        const { value, details } = await processes.get(side)!.round()
        if (round < 0) continue
        sides[side].push(value)
        cpu[side].push(details["cpuMs"] ?? Number.NaN)
      }
    }
    const subject = summarise(sides.subject)
    const baseline = summarise(sides.baseline)
    const ratio = subject.median / baseline.median
    const ratios = summarise(sides.subject.map((value, round) => value / sides.baseline[round]!))
    const cpuRatio = median(cpu.subject) / median(cpu.baseline)
    const bestRatio = Math.min(...sides.subject) / Math.min(...sides.baseline)
    const met = isMet(ratio, comparison.target)
    return { kind: "comparison", ...common, subject, baseline, ratio, cpuRatio, bestRatio, ratios, met }
  } finally {
    await Promise.all(open.map((side) => side.close()))
  }
}

/** A fresh process for each round: what an earlier one left in a heap must not be counted again, or hide the next. */
const hold = async (limit: Limit, settings: Settings, home: string): Promise<Outcome> => {
  const values: Array<number> = []
  const details: Record<string, Array<number>> = {}
  for (let round = 0; round < settings.rounds; round++) {
    const side = await SideProcess.start(limit, "limit", settings, home)
    try {
      const measured = await side.round()
      values.push(measured.value)
      for (const [name, value] of Object.entries(measured.details)) (details[name] ??= []).push(value)
    } finally {
      await side.close()
    }
  }
  const value = summarise(values)
  return {
    kind: "limit",
    ...commonOf(limit, settings),
    value,
    details: Object.fromEntries(Object.entries(details).map(([detail, all]) => [detail, median(all)])),
    met: isMet(value.median, limit.target),
  }
}

/** Never rejects: what went wrong is an outcome, and the other measurements go on. */
export const run = async (measurement: Measurement, settings: Settings): Promise<Outcome> => {
  const home = mkdtempSync(join(tmpdir(), "creche-bench-"))
  try {
    const why = measurement.missing?.()
    if (why !== undefined) return { kind: "skipped", ...commonOf(measurement, settings), why }
    return measurement.kind === "comparison"
      ? await compare(measurement, settings, home)
      : await hold(measurement, settings, home)
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    return { kind: "failed", ...commonOf(measurement, settings), error: said }
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
