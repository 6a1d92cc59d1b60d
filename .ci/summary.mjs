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
/** Counts what one run of vitest left; `step` is its name in the report, `command` for people. */
const count = (step, results, command) => {
  const before = failed + problems.length
  const ran = passed + failed + skipped
  try {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
      read(results) ?? "",
    )
    passed += numPassedTests
    failed += numFailedTests
    skipped += numPendingTests + numTodoTests
    for (const file of testResults)
      if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"))
        problems.push(`${file.name}: ${file.message || "did not finish"}`)
    if (passed + failed + skipped === ran) problems.push(`${command}: no test ran`)
  } catch {
    problems.push(`${command}: vitest left no results: it crashed, or ran out of time`)
  }
  const code = exitCode(step)
  if (code !== 0 && failed + problems.length === before) problems.push(`${command} ended with exit code ${code}`)
}
count("test", "tests.json", "npm test")
count("agents", "agents.json", "npm run test:agents")
const check = exitCode("check")
if (check !== 0) problems.push(`npm run check ended with exit code ${check}`)

for (const problem of problems) console.log(`ci: ${problem}`)
failed += problems.length
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exit(failed > 0 ? 1 : 0)
