/** What the acceptance tests ask of the operating system: is it gone, what descends from it, how many descriptors. */
import { readdirSync, readFileSync } from "node:fs"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { processStat, type ProcessStat } from "../../src/process/ProcessIdentity.ts"

/** Why the whole tree is out of reach here; undefined: it is in reach. */
export const noGuard: string | undefined =
  process.platform !== "linux"
    ? "only Linux has subreapers; elsewhere containment is `group`"
    : findGuardBinary().found
      ? undefined
      : "no guard was built here (no C compiler?), so containment is `group`"

/** Waits for a condition; fails with its name once the deadline is over. */
export const eventually = async (
  what: string,
  holds: () => boolean | Promise<boolean>,
  deadlineMs = 20_000,
): Promise<void> => {
  const until = Date.now() + deadlineMs
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Neither alive nor a zombie. */
export const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH"
  }
}

/** With `start`, its pid names a process for good. */
export interface Process extends ProcessStat {
  readonly pid: number
}

/** undefined: there is none (any more). */
export const statOf = (pid: number): Process | undefined => {
  const stat = processStat(pid)
  return stat === undefined ? undefined : { pid, ...stat }
}

export const allProcesses = (): ReadonlyArray<Process> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? [])

/** Everything below `root`, whatever group or session it put itself in, as long as its parents live. */
export const descendantsOf = (root: number): ReadonlyArray<Process> => {
  const all = allProcesses()
  const found: Array<Process> = []
  const known = new Set([root])
  for (let grew = true; grew;) {
    grew = false
    for (const process of all) {
      if (known.has(process.pid) || !known.has(process.parent)) continue
      known.add(process.pid)
      found.push(process)
      grew = true
    }
  }
  return found
}

export const descriptorCount = (pid: number | "self" = "self"): number => readdirSync(`/proc/${pid}/fd`).length

const hasEnvironment =
  (text: string) =>
  (pid: number): boolean => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "latin1").includes(text)
    } catch {
      return false
    }
  }

/** Pids whose environment carries the text: the children of a runtime, strays among them. */
export const pidsWithEnvironment = (text: string): ReadonlyArray<number> =>
  allProcesses()
    .map(({ pid }) => pid)
    .filter(hasEnvironment(text))

/** As above, those that there were at one moment: while one look is taken a process may end and another take its place. */
export const togetherWithEnvironment = (text: string): ReadonlyArray<number> =>
  pidsWithEnvironment(text).filter(hasEnvironment(text))

/** Pids that have the text among their arguments; that no wiped environment hides. */
export const pidsWithArgument = (text: string): ReadonlyArray<number> =>
  allProcesses()
    .filter(({ pid }) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(text)
      } catch {
        return false
      }
    })
    .map(({ pid }) => pid)

/** Zombies whose parent is `pid`. */
export const zombiesOf = (pid: number): ReadonlyArray<Process> =>
  allProcesses().filter((process) => process.parent === pid && process.state === "Z")

/** A random source that can be played again: print its seed. */
export const seeded = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** CRECHE_SEED, or a new one. */
export const drawSeed = (what: string): number => {
  const seed = Number(process.env["CRECHE_SEED"] ?? Math.floor(Math.random() * 2 ** 32))
  console.log(`${what}: CRECHE_SEED=${seed}`)
  return seed
}
