// Compiles native/guard/*.c with the machine's C compiler, together, into one program. Plain JavaScript; also called by set-up and build.
import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, renameSync, rmSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Every file that the guard is made of, headers too: what `scripts/run` compares with the stamp of the last set-up. */
export const guardSources = () => {
  try {
    return readdirSync(`${root}/native/guard`)
      .toSorted()
      .map((file) => `${root}/native/guard/${file}`)
  } catch {
    return []
  }
}

/**
 * Static where the machine can link so: a guard then shares no pages with anybody and starts fastest. Built beside and
 * moved over, so that a runtime that starts meanwhile finds a whole binary.
 *
 * @returns {{ path?: string, detail: string }}
 */
export const buildGuard = (out = `${root}/native/build/guard`) => {
  const sources = guardSources().filter((file) => file.endsWith(".c"))
  if (sources.length === 0) return { detail: "native/guard/*.c are missing" }
  mkdirSync(dirname(out), { recursive: true })
  const beside = `${out}.${process.pid}`
  let detail = ""
  for (const flags of [["-static"], []]) {
    const compiled = spawnSync(
      process.env.CC ?? "cc",
      ["-O2", "-Wall", "-Wextra", "-std=gnu11", ...flags, "-o", beside, ...sources],
      { encoding: "utf8" },
    )
    // What was linked must also run here.
    const tried = compiled.status === 0 ? spawnSync(beside, ["--version"], { encoding: "utf8" }) : compiled
    if (tried.status === 0) {
      renameSync(beside, out)
      return { path: out, detail: flags.length > 0 ? "static" : "dynamic" }
    }
    detail = compiled.error ? `no C compiler: ${compiled.error.message}` : (tried.stderr ?? "").trim()
  }
  rmSync(beside, { force: true })
  return { detail }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { path, detail } = buildGuard()
  console.error(path ?? detail)
  process.exit(path === undefined ? 1 : 0)
}
