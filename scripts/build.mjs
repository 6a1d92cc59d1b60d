// npm run build: dist/ from src/ (JavaScript, declarations, an executable bin) and the guard as a prebuilt binary,
// so that a packed package needs neither TypeScript nor a compiler. Starts clean; exits 1 at the first failure,
// but a missing C compiler is only said: the package then holds no guard and works at the containment "group".
import { spawnSync } from "node:child_process"
import { chmodSync, copyFileSync, readFileSync, rmSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { buildGuard } from "./guard.mjs"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const fail = (message) => {
  console.error(`build: ${message}`)
  process.exit(1)
}

rmSync(join(root, "dist"), { recursive: true, force: true })
rmSync(join(root, "native/prebuilt"), { recursive: true, force: true })

const tsc = spawnSync(join(root, "node_modules/.bin/tsc"), ["--project", "tsconfig.build.json"], {
  cwd: root,
  stdio: ["ignore", 2, 2],
})
if (tsc.error) fail(tsc.error.message)
if (tsc.status !== 0) fail("tsc failed; see above")

const bin = join(root, "dist/cli/bin.js")
if (!readFileSync(bin, "utf8").startsWith("#!/usr/bin/env node\n")) fail("dist/cli/bin.js has lost its first line")
chmodSync(bin, 0o755)
const launcher = join(root, "dist/cli/creche")
copyFileSync(join(root, "src/cli/launcher.sh"), launcher)
chmodSync(launcher, 0o755)

const guard = buildGuard(join(root, `native/prebuilt/${process.platform}-${process.arch}/guard`))
if (guard.path === undefined) console.error(`build: no guard in the package: ${guard.detail}`)
else if (guard.detail !== "static")
  console.error("build: the guard is linked dynamically: it needs this machine's libc")

console.error(`build: dist/${guard.path === undefined ? "" : ` and a ${guard.detail} guard`} are ready`)
