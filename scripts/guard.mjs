// Compiles native/guard.c with the machine's C compiler. Plain JavaScript; also called by set-up and build.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** @returns {{ path?: string, detail: string }} */
export const buildGuard = (out = `${root}/native/build/guard`) => {
  const source = `${root}/native/guard.c`
  if (!existsSync(source)) return { detail: "native/guard.c is missing" }
  mkdirSync(dirname(out), { recursive: true })
  let detail = ""
  for (const flags of [["-static"], []]) {
    const cc = spawnSync(
      process.env.CC ?? "cc",
      ["-O2", "-Wall", "-Wextra", "-std=gnu11", ...flags, "-o", out, source],
      {
        encoding: "utf8",
      },
    )
    if (cc.status === 0) return { path: out, detail: flags.length > 0 ? "static" : "dynamic" }
    detail = cc.error ? `no C compiler: ${cc.error.message}` : cc.stderr.trim()
  }
  return { detail }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { path, detail } = buildGuard()
  console.error(path ?? detail)
  process.exit(path === undefined ? 1 : 0)
}
