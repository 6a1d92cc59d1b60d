/**
 * `npm run bench [-- --json] [--quick] [--only NAME]…`: runs the measurements one after another. Results on stdout,
 * progress on stderr. Exit code 0, 1 when a measurement could not be made, 2 for wrong usage; a target that is missed
 * is a result and no failure.
 */
import { cpus, loadavg } from "node:os"
import { parseArgs } from "node:util"
import { render } from "./Report.ts"
import { type Outcome, run } from "./Rounds.ts"
import { measurements } from "./scenarios.ts"

const usage = (detail: string): never => {
  console.error(`bench: ${detail}\nusage: npm run bench -- [--json] [--quick] [--only NAME]…`)
  console.error(`names: ${measurements.map(({ name }) => name).join(", ")}`)
  process.exit(2)
}

const parse = () => {
  try {
    return parseArgs({
      options: {
        json: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        only: { type: "string", multiple: true, default: [] },
      },
    }).values
  } catch (error) {
    return usage((error as Error).message)
  }
}

const { json, quick, only } = parse()
const isNamed = (wanted: string) => (measurement: { readonly name: string }) =>
  measurement.name === wanted || measurement.name.startsWith(`${wanted}/`)
for (const wanted of only) if (!measurements.some(isNamed(wanted))) usage(`nothing is called ${wanted}`)
const chosen = measurements.filter(
  (measurement) => only.length === 0 || only.some((wanted) => isNamed(wanted)(measurement)),
)

const machine = {
  at: new Date().toISOString(),
  node: process.version,
  platform: `${process.platform}-${process.arch}`,
  cpus: cpus().length,
  cpu: cpus()[0]?.model ?? "unknown",
  load: loadavg(),
}
const outcomes: Array<Outcome> = []
for (const measurement of chosen) {
  const begun = performance.now()
  const outcome = await run(measurement, quick ? measurement.quick : measurement.full)
  outcomes.push(outcome)
  const seconds = ((performance.now() - begun) / 1000).toFixed(1)
  const said = outcome.kind === "comparison" ? ` ${outcome.ratio.toFixed(2)}` : ""
  console.error(`${measurement.name}: ${outcome.kind}${said} (${seconds} s)`)
  if (outcome.kind === "failed") console.error(outcome.error)
}

if (json) console.log(JSON.stringify({ ...machine, quick, outcomes }, null, 2))
else {
  console.log(
    `Node ${machine.node}, ${machine.cpus} × ${machine.cpu}, load ${machine.load.map((l) => l.toFixed(1)).join(" ")}\n`,
  )
  console.log(render(outcomes).trimEnd())
}
process.exitCode = outcomes.some(({ kind }) => kind === "failed") ? 1 : 0
