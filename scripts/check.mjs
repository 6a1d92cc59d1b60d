// npm run check: every check that needs no running test. Each step says how it went; none is left out in
// silence; one that fails prints what it said and makes the whole exit 1. `check.mjs types lint` runs those alone.
import { spawnSync } from "node:child_process"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bin = (name) => join(root, "node_modules/.bin", name)
const node = process.execPath

const steps = [
  { name: "format", run: [bin("oxfmt"), "--check", "."], hint: "node_modules/.bin/oxfmt . puts it right" },
  { name: "lint", run: [bin("oxlint"), "--type-aware", "--deny-warnings"] },
  { name: "types", run: [bin("tsc"), "--project", "tsconfig.json"] },
  {
    name: "effects",
    run: [
      bin("effect-tsgo"),
      "diagnostics",
      "--project",
      join(root, "tsconfig.json"),
      "--format",
      "text",
      "--severity",
      "error",
    ],
  },
  { name: "imports", run: [node, "scripts/imports.mjs"] },
  { name: "docs", run: [node, "scripts/docs.ts", "--check"], hint: "sh scripts/run scripts/docs.ts writes them" },
  { name: "words", run: [node, "scripts/words.mjs"] },
]

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !steps.some((step) => step.name === name))
if (unknown.length > 0) {
  console.error(`check: no step ${unknown.join(", ")}; there are ${steps.map((step) => step.name).join(", ")}`)
  process.exit(2)
}

let failed = 0
for (const { name, run, hint } of steps) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const [command, ...args] = run
  const begun = performance.now()
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...process.env, NO_COLOR: "1" },
  })
  const took = `${((performance.now() - begun) / 1000).toFixed(1)} s`
  if (status === 0) {
    console.log(`ok      ${name.padEnd(8)} ${took}`)
    continue
  }
  failed++
  console.log(`FAILED  ${name.padEnd(8)} ${took}`)
  const said = [error?.message ?? "", stdout, stderr].join("\n").trim()
  console.log(said.replace(/^/gm, "        "))
  if (hint !== undefined) console.log(`        (${hint})`)
}
console.log(failed === 0 ? "check: all well" : `check: ${failed} of ${steps.length} steps failed`)
process.exit(failed === 0 ? 0 : 1)
