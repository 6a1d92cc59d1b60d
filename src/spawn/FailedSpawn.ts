/**
 * A command that cannot be run fails as with Node, without a process: ENOENT and EACCES as an `error` event of a child without a
 * pid, the rest thrown. Node itself makes the failure, from a path that fails so for certain: the command's own might
 * have become one that runs, and would then run without a guard.
 */
import { accessSync, constants, statSync } from "node:fs"
import { resolve } from "node:path"
import { fileURLToPath } from "node:url"
import type { SpawnCall } from "./SpawnCall.ts"

const alwaysFailing: Readonly<Record<string, string>> = {
  ENOENT: "/proc/creche-has-no-such-file",
  EACCES: "/",
  ENOTDIR: "/dev/null/x",
  ENAMETOOLONG: `/${"x".repeat(300)}`,
}

/** Undefined: it can be run, as far as can be told from here. */
const errnoOf = (path: string): string | undefined => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isDirectory() ? "EACCES" : undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

const isDirectory = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

/** As execvp looks for it. */
const search = (file: string, cwd: string, path: string): string | undefined => {
  let denied = false
  for (const directory of path.split(":")) {
    const errno = errnoOf(resolve(cwd, directory, file))
    if (errno === undefined) return undefined
    if (errno === "EACCES") denied = true
  }
  return denied ? "EACCES" : "ENOENT"
}

/** Undefined: Node says what is wrong with it. A program's own directory may be gone; what is not named from there runs all the same. */
const directoryOf = (given: SpawnCall["options"]["cwd"]): string | undefined => {
  if (given == null) {
    try {
      return process.cwd()
    } catch {
      return alwaysFailing["ENOENT"]
    }
  }
  try {
    const cwd = typeof given === "string" ? given : fileURLToPath(given)
    return isDirectory(cwd) ? cwd : undefined
  } catch {
    return undefined
  }
}

/** A path that fails as `file` would; undefined: it will not fail, or only the guard can tell. */
export const failingPath = ({ file, options }: SpawnCall): string | undefined => {
  const cwd = directoryOf(options.cwd)
  if (cwd === undefined) return undefined
  // Whose permissions these are is known to the guard alone.
  if (options.uid != null || options.gid != null) return undefined
  const path = (options.env ?? process.env)["PATH"]
  if (path === undefined && !file.includes("/")) return undefined
  const errno = file.includes("/") ? errnoOf(resolve(cwd, file)) : search(file, cwd, path ?? "")
  return errno === undefined ? undefined : alwaysFailing[errno]
}
