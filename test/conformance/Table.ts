/** The table case × transport as it stands in docs/conformance.md. Pure. */
import { cases, lackOf, notProvoked, transports } from "./Suite.ts"

export type Outcome = "passed" | "failed"

const marks = { passed: "✓", failed: "✗" } as const

/** `outcomeOf`: of a case that the transport does not lack anything for. */
export const table = (outcomeOf: (name: string, transport: string) => Outcome): string => {
  const rows = cases.map((one) => [
    one.name,
    ...transports.map((transport) =>
      lackOf(one, transport) === undefined ? marks[outcomeOf(one.name, transport.name)] : "–",
    ),
  ])
  const header = ["case", ...transports.map(({ name }) => name)]
  return [header, header.map((_, at) => (at === 0 ? "---" : ":-:")), ...rows]
    .map((row) => `| ${row.join(" | ")} |\n`)
    .join("")
}

/** Why there is a –: what each transport has not. */
export const reasons = (): string =>
  transports
    .filter(({ lacks }) => Object.keys(lacks).length > 0)
    .map(({ name, lacks }) => {
      const byReason = Map.groupBy(Object.entries(lacks), ([, why]) => why)
      const each = [...byReason].map(([why, all]) => `  - ${all.map(([lack]) => lack).join(", ")}: ${why}\n`)
      return `- ${name}\n${each.join("")}`
    })
    .join("")

export const unprovoked = (): string =>
  Object.entries(notProvoked)
    .map(([tag, why]) => `- \`${tag}\`: ${why}\n`)
    .join("")
