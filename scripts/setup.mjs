// Sets up a checkout: dependencies as the lockfile has them, the guard, and a stamp that says so. Plain
// JavaScript, since it runs under whatever Node the machine has (20 or later).
import { spawnSync } from "node:child_process"
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { buildGuard, guardSources } from "./guard.mjs"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stamp = `${root}/node_modules/.creche-lock`

const [major] = process.versions.node.split(".").map(Number)
if (major < 20) {
  console.error(`creche: setting up wants Node 20 or later; this is ${process.version}`)
  process.exit(1)
}
console.error("creche: setting up (npm install, guard) …")
rmSync(stamp, { force: true })
// Not `npm ci`: it refuses a lockfile that lacks the optional packages of other platforms, and not every registry
// has them all. What the lockfile holds is installed as it says, and with --no-save it stays as it is.
const install = spawnSync("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], {
  cwd: root,
  // npm's own output must not meet the program's stdout, which may carry protocol.
  stdio: ["ignore", 2, 2],
})
if (install.status !== 0) {
  console.error("creche: npm install failed; see above")
  process.exit(1)
}
const guard = buildGuard()
console.error(
  guard.path === undefined ? `creche: no guard (${guard.detail}); containment will be "group"` : `creche: guard built`,
)
writeFileSync(`${root}/node_modules/.creche-guard`, Buffer.concat(guardSources().map((file) => readFileSync(file))))
copyFileSync(`${root}/package-lock.json`, stamp)
