/**
 * What makes a pid mean one process for good: the boot it lives in and the time it started. Reads /proc; where
 * there is none it says so, and nobody is signalled on the strength of a bare number.
 */
import { readFileSync, readdirSync } from "node:fs"

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

export interface ProcessStat {
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
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return {
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

/** Whether the process was started with this variable. False also where its environment may not be read. */
export const hasVariable = (pid: number, name: string, value: string): boolean => {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, "utf8")}`.includes(`\0${name}=${value}\0`)
  } catch {
    return false
  }
}
