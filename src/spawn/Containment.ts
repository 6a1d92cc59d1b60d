/**
 * What holds the children of `creche/spawn` here: the guard where it works, in C or in Perl, else process groups, and why. Found out once, at the
 * first spawn or the first question.
 */
import { spawnSync } from "node:child_process"
import { findGuardBinary } from "../process/GuardBinary.ts"
import { findPerlGuard } from "../process/PerlGuard.ts"

export interface SpawnContainment {
  /** `guard`: the whole tree, also daemons, also when this program is killed. `group`: the process group, see docs/guard.md. */
  readonly level: "guard" | "group"
  readonly detail: string
}

export interface FoundGuard extends SpawnContainment {
  /** The program to start instead of the command, and its first arguments; undefined with `group`. */
  readonly guard: readonly [string, ...ReadonlyArray<string>] | undefined
  /** Whether a variable of this name would change what the guard itself does: it is handed over apart. */
  readonly isOwnVariable: (name: string) => boolean
}

const whole = "the whole tree, also setsid and daemons, also when this program is killed"

const inGroups = (detail: string): FoundGuard => ({
  level: "group",
  detail,
  guard: undefined,
  isOwnVariable: () => false,
})

/** Undefined: it does what it is there for. */
const probe = (program: string, ...args: ReadonlyArray<string>): string | undefined => {
  const { error, status, stderr } = spawnSync(program, [...args, "--", "/proc/self/exe", "--version"], {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: 5_000,
  })
  if (error !== undefined) return error.message
  return status === 0 ? undefined : stderr.trim() || `it exits ${status}`
}

const native = (): FoundGuard | string => {
  const binary = findGuardBinary()
  if (!binary.found) return binary.detail
  const trouble = probe(binary.path, "--run")
  if (trouble !== undefined) return `the guard ${binary.path} does not work: ${trouble}`
  return { level: "guard", detail: whole, guard: [binary.path, "--run"], isOwnVariable: () => false }
}

const perl = (why: string): FoundGuard => {
  const form = findPerlGuard()
  if (!form.found) return inGroups(`${why}; ${form.detail}`)
  return {
    level: "guard",
    detail: `${whole}; by the Perl form, two processes of some 3 MB for each command: ${why}`,
    guard: [form.perl, form.script, "--run"],
    isOwnVariable: (name) => name.startsWith("PERL"),
  }
}

const find = (): FoundGuard => {
  if (process.platform !== "linux") return inGroups("only Linux lets a guard adopt daemons")
  const found = native()
  return typeof found === "string" ? perl(found) : found
}

let found: FoundGuard | undefined

export const findGuard = (): FoundGuard => (found ??= find())
