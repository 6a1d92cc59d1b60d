/**
 * What holds the children of `creche/spawn` here: the guard where it works, else process groups, and why. Found out once, at the
 * first spawn or the first question.
 */
import { spawnSync } from "node:child_process"
import { findGuardBinary } from "../process/GuardBinary.ts"

export interface SpawnContainment {
  /** `guard`: the whole tree, also daemons, also when this program is killed. `group`: the process group, see docs/guard.md. */
  readonly level: "guard" | "group"
  readonly detail: string
}

export interface FoundGuard extends SpawnContainment {
  /** The program to start instead of the command, and its first arguments; undefined with `group`. */
  readonly guard: readonly [string, ...ReadonlyArray<string>] | undefined
}

const inGroups = (detail: string): FoundGuard => ({ level: "group", detail, guard: undefined })

/** Undefined: it does what it is there for. */
const probe = (guard: readonly [string, ...ReadonlyArray<string>]): string | undefined => {
  const [program, ...args] = guard
  // Plain, so that nothing of this program's own patches is in it.
  const { error, status, stderr } = spawnSync(program, [...args, "--", "/proc/self/exe", "--version"], {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: 5_000,
  })
  if (error !== undefined) return error.message
  return status === 0 ? undefined : stderr.trim() || `it exits ${status}`
}

const find = (): FoundGuard => {
  if (process.platform !== "linux") return inGroups("only Linux lets a guard adopt daemons")
  const binary = findGuardBinary()
  if (!binary.found) return inGroups(binary.detail)
  const guard = [binary.path, "--run"] as const
  const trouble = probe(guard)
  if (trouble !== undefined) return inGroups(`the guard ${binary.path} does not work: ${trouble}`)
  return {
    level: "guard",
    detail: "the whole tree, also setsid and daemons, also when this program is killed",
    guard,
  }
}

let found: FoundGuard | undefined

export const findGuard = (): FoundGuard => (found ??= find())
