/**
 * `npm run test:chaos`: the chaos suite in its long form, the stampede of half an hour among it; then the table.
 * `--write` puts that into docs/chaos.md, where everything went well; what else is on the line is vitest's.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { cpus, release, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { reportTable, reportVariable, rowsOf } from "./ChaosReport.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const vitest = join(root, "node_modules/vitest/vitest.mjs")
const [begin, end] = ["<!-- the last run begins -->", "<!-- the last run ends -->"]

const args = process.argv.slice(2)
const writes = args.includes("--write")
const rest = args.filter((arg) => arg !== "--write")
const directory = mkdtempSync(join(tmpdir(), "creche-report-"))
const file = join(directory, "rows")
const { status } = spawnSync(process.execPath, [vitest, "run", ...(rest.length > 0 ? rest : ["test/chaos"])], {
  cwd: root,
  stdio: "inherit",
  // One file after the other: each has the machine to itself.
  env: { ...process.env, CHAOS: "long", VITEST_MAX_WORKERS: "1", [reportVariable]: file },
})
const rows = rowsOf(file)
rmSync(directory, { recursive: true, force: true })
const table = reportTable(rows)
console.log(`\n${table}\n`)
if (writes && status === 0) {
  const page = join(root, "docs/chaos.md")
  const text = readFileSync(page, "utf8")
  const [before, after] = [text.indexOf(begin), text.indexOf(end)]
  const told = `Of ${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node}, ${cpus().length} processors (${cpus()[0]?.model}), Linux ${release()}, by \`npm run test:chaos -- --write\`:`
  writeFileSync(page, `${text.slice(0, before + begin.length)}\n\n${told}\n\n${table}\n\n${text.slice(after)}`)
}
process.exit(status ?? 1)
