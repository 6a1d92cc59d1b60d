// Sums up a run of .ci/run: reads what vitest's JSON reporter wrote and the exit codes of the steps, prints
// what failed outside of any test, and as the last line the counts. Something that failed is never counted as 0.
import { readFileSync } from "node:fs"
import { join } from "node:path"

const [directory] = process.argv.slice(2)
const read = (name) => {
  try {
    return readFileSync(join(directory, name), "utf8")
  } catch {
    return undefined
  }
}
const exitCode = (name) => Number(read(name) ?? 1)

const problems = []
let passed = 0
let failed = 0
let skipped = 0
try {
  const results = JSON.parse(read("tests.json") ?? "")
  passed = results.numPassedTests
  failed = results.numFailedTests
  skipped = results.numPendingTests + results.numTodoTests
  for (const file of results.testResults)
    if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"))
      problems.push(`${file.name}: ${file.message || "did not finish"}`)
  if (passed + failed + skipped === 0) problems.push("no test ran")
} catch {
  problems.push("vitest left no results: it crashed, or ran out of time")
}
const test = exitCode("test")
if (test !== 0 && failed + problems.length === 0) problems.push(`npm test ended with exit code ${test}`)
const check = exitCode("check")
if (check !== 0) problems.push(`npm run check ended with exit code ${check}`)

for (const problem of problems) console.log(`ci: ${problem}`)
failed += problems.length
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exit(failed > 0 ? 1 : 0)
