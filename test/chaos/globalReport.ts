/** Gathers the rows of a run's chaos tests, which run in processes of their own, and prints the table once all are done. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { reportTable, reportVariable, rowsOf } from "./ChaosReport.ts"

export const setup = (): (() => void) => {
  // Whoever names a file wants it.
  if (process.env[reportVariable] !== undefined) return () => {}
  const directory = mkdtempSync(join(tmpdir(), "creche-report-"))
  const file = join(directory, "rows")
  process.env[reportVariable] = file
  return () => {
    const rows = rowsOf(file)
    if (rows.length > 0) console.log(`\nchaos: what was done, and what it left\n\n${reportTable(rows)}\n`)
    rmSync(directory, { recursive: true, force: true })
  }
}
