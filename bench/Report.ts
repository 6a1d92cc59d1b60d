/** Outcomes for people: a line each. Pure; the numbers for programs are the outcomes themselves. */
import type { Outcome } from "./Rounds.ts"

const number = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const cells = (outcome: Outcome): ReadonlyArray<string> => {
  const { name, title, unit, target } = outcome
  switch (outcome.kind) {
    case "comparison": {
      const { subject, baseline, ratio, cpuRatio, ratios, met } = outcome
      const spread = `${ratios.q1.toFixed(2)}–${ratios.q3.toFixed(2)}`
      const side = (median: number) => `${number(median)} ${unit}`
      return [
        name,
        title,
        side(subject.median),
        side(baseline.median),
        ratio.toFixed(2),
        spread,
        cpuRatio.toFixed(2),
        `≤ ${target}`,
        met ? "met" : "MISSED",
      ]
    }
    case "limit": {
      const { value, details, met } = outcome
      const beside = Object.entries(details).map(([detail, each]) => `${detail.replace(/Kb$/, "")} ${number(each)}`)
      return [
        name,
        title,
        `${number(value.median)} ${unit}`,
        beside.join(", "),
        "",
        `${number(value.q1)}–${number(value.q3)}`,
        "",
        `≤ ${target} ${unit}`,
        met ? "met" : "MISSED",
      ]
    }
    case "skipped":
      return [name, title, "", "", "", "", "", "", `skipped: ${outcome.why}`]
    case "failed":
      return [name, title, "", "", "", "", "", "", `FAILED: ${outcome.error.split("\n")[0]}`]
  }
}

const header = ["NAME", "WHAT", "CRECHE", "BASELINE", "RATIO", "QUARTILES", "CPU", "TARGET", ""]

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
