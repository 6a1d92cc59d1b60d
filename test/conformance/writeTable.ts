/**
 * Runs the suite over every transport and writes its table into docs/conformance.md: `sh scripts/run test/conformance/writeTable.ts`.
 * Exit code 1 where a case failed; the page then says so too.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Run } from "./Run.ts"
import { cases, lackOf, transports } from "./Suite.ts"
import { type Outcome, reasons, table, unprovoked } from "./Table.ts"

const page = fileURLToPath(new URL("../../docs/conformance.md", import.meta.url))
const outcomes = new Map<string, Outcome>()
const keyOf = (name: string, transport: string) => `${transport}: ${name}`

for (const transport of transports) {
  const run = new Run(transport)
  let passed = 0
  for (const one of cases) {
    if (lackOf(one, transport) !== undefined) continue
    try {
      await run.carryOut(one)
      outcomes.set(keyOf(one.name, transport.name), "passed")
      passed++
    } catch (error) {
      outcomes.set(keyOf(one.name, transport.name), "failed")
      console.error(`FAILED ${keyOf(one.name, transport.name)}\n${String((error as Error).stack)}`)
    }
  }
  await run.close()
  console.error(`${transport.name}: ${passed} passed`)
}

let text = readFileSync(page, "utf8")
const put = (name: string, part: string) => {
  const marked = new RegExp(`(?<=<!-- generated: ${name} -->\\n)[^]*?(?=<!-- end -->)`)
  if (!marked.test(text)) throw new Error(`docs/conformance.md has no part ${name}`)
  text = text.replace(marked, () => `\n${part}\n`)
}
put(
  "table",
  table((name, transport) => outcomes.get(keyOf(name, transport)) ?? "failed"),
)
put("reasons", reasons())
put("unprovoked", unprovoked())
writeFileSync(page, text)
process.exit([...outcomes.values()].includes("failed") ? 1 : 0)
