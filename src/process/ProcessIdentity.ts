/**
 * What makes a pid mean one process for good: the boot it lives in and the time it started. Reads /proc; where
 * there is none it says so, and nobody is signalled on the strength of a bare number.
 */
import { readFileSync, readdirSync, readlinkSync } from "node:fs"

let boot: string | undefined

/** Random for each boot; empty where the platform has none. */
export const bootId = (): string => {
  if (boot === undefined) {
    try {
      boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
    } catch {
      boot = ""
    }
  }
  return boot
}

let namespace: string | undefined

/** In which PID namespace our numbers are meant; empty where the platform has none. */
export const pidNamespace = (): string => {
  if (namespace === undefined) {
    try {
      namespace = readlinkSync("/proc/self/ns/pid")
    } catch {
      namespace = ""
    }
  }
  return namespace
}

export interface ProcessStat {
  /** Field 2, at most 15 bytes: a process may call itself anything. */
  readonly name: string
  readonly state: string
  readonly parent: number
  readonly group: number
  /** Field 22: clock ticks since boot. */
  readonly start: number
  /** Field 24: pages in memory. */
  readonly resident: number
}

/** Undefined: there is no such process, or no /proc. */
export const processStat = (pid: number): ProcessStat | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    // Field 2 is the name in parentheses, which may hold anything: the fields count from behind the last one.
    const end = stat.lastIndexOf(")")
    const fields = stat.slice(end + 2).split(" ")
    return {
      name: stat.slice(stat.indexOf("(") + 1, end),
      state: fields[0]!,
      parent: Number(fields[1]),
      group: Number(fields[2]),
      start: Number(fields[19]),
      resident: Number(fields[21]),
    }
  } catch {
    return undefined
  }
}

export const startTimeOf = (pid: number): number | undefined => processStat(pid)?.start

/** A zombie is dead: it only waits to be reaped. */
export const isAlive = (pid: number, start: number): boolean => {
  const stat = processStat(pid)
  return stat !== undefined && stat.start === start && stat.state !== "Z" && stat.state !== "X"
}

export const allPids = (): ReadonlyArray<number> => {
  try {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && pid > 0)
  } catch {
    return []
  }
}

/** What the process was started with under this name. Undefined also where its environment may not be read. */
export const variableOf = (pid: number, name: string): string | undefined => {
  let environ: string
  try {
    environ = `\0${readFileSync(`/proc/${pid}/environ`, "utf8")}`
  } catch {
    return undefined
  }
  const at = environ.indexOf(`\0${name}=`)
  if (at < 0) return undefined
  const from = at + name.length + 2
  const to = environ.indexOf("\0", from)
  return environ.slice(from, to < 0 ? undefined : to)
}

/** Whom this process descends from, nearest first. */
export const ancestorsOf = (pid: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  for (let at = processStat(pid)?.parent ?? 0; at > 0 && !found.includes(at); at = processStat(at)?.parent ?? 0) {
    found.push(at)
  }
  return found
}
