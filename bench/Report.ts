/** Outcomes for people: a line each. Pure; the numbers for programs are the outcomes themselves. */
import type { Outcome } from "./Rounds.ts"

const number = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const targetCells = (target: number | null, met: boolean | null, unit = ""): ReadonlyArray<string> =>
  target === null ? ["", ""] : [`≤ ${target}${unit}`, met === true ? "met" : "MISSED"]

/** `perSessionUs` as `perSession 12.3 µs`; `privateKb`, of the line's own unit, as `private 30`. */
const beside = (name: string, value: number, own: string): string => {
  for (const [suffix, unit] of detailUnits) {
    if (name.endsWith(suffix))
      return `${name.slice(0, -suffix.length)} ${number(value)}${unit === own ? "" : ` ${unit}`}`
  }
  return `${name} ${number(value)}`
}
const detailUnits = [
  ["Kb", "KB"],
  ["Mb", "MB"],
  ["Us", "µs"],
  ["Ms", "ms"],
  ["Bytes", "B"],
] as const

const cells = (outcome: Outcome): ReadonlyArray<string> => {
  const { name, unit, target, stored } = outcome
  const title = stored === undefined ? outcome.title : `${outcome.title}: ${stored}`
  switch (outcome.kind) {
    case "comparison": {
      const { subject, baseline, ratio, cpuRatio, bestRatio, ratios, met } = outcome
      const spread = `${ratios.q1.toFixed(2)}–${ratios.q3.toFixed(2)}`
      const side = (median: number) => `${number(median)} ${unit}`
      return [
        name,
        title,
        side(subject.median),
        side(baseline.median),
        ratio.toFixed(2),
        spread,
        bestRatio.toFixed(2),
        cpuRatio.toFixed(2),
        ...targetCells(target, met),
      ]
    }
    case "limit": {
      const { value, details, met } = outcome
      return [
        name,
        title,
        `${number(value.median)} ${unit}`,
        Object.entries(details)
          .map(([detail, each]) => beside(detail, each, unit))
          .join(", "),
        "",
        `${number(value.q1)}–${number(value.q3)}`,
        "",
        "",
        ...targetCells(target, met, ` ${unit}`),
      ]
    }
    case "skipped":
      return [name, title, "", "", "", "", "", "", "", `skipped: ${outcome.why}`]
    case "failed":
      return [name, title, "", "", "", "", "", "", "", `FAILED: ${outcome.error.split("\n")[0]}`]
  }
}

const header = ["NAME", "WHAT", "CRECHE", "BASELINE", "RATIO", "QUARTILES", "BEST", "CPU", "TARGET", ""]

export const render = (outcomes: ReadonlyArray<Outcome>): string => {
  const rows = [header, ...outcomes.map(cells)]
  const widths = header.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("")
}
