/**
 * Ends what a dead runtime left behind, at the start of the next one: the processes that its ledger names,
 * then whoever carries its marker. A pid counts only with its boot id and start time; a runtime that lives is
 * never touched; two sweeps at once share the work by claiming a ledger with a rename.
 */
import { readFileSync, readdirSync, renameSync, rmSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import { allPids, bootId, hasVariable, isAlive, processStat } from "./ProcessIdentity.ts"
import { ledgerPrefix, type LedgerOwner } from "./ProcessLedger.ts"

export interface Sweep {
  /** Processes that were ended. */
  readonly killed: ReadonlyArray<number>
  /** Processes that SIGKILL did not end in time. */
  readonly survivors: ReadonlyArray<number>
}

/** How long a killed process may take to go, in ms. */
const patienceMs = 2_000

/** A ledger without a first line that has not changed for so long, in ms, is nobody's. */
const unfinishedMs = 60_000

interface Stale {
  readonly pid: number
  readonly start: number
}

interface Ledger {
  readonly owner: LedgerOwner
  readonly processes: ReadonlyArray<Stale>
  readonly markers: ReadonlySet<string>
  readonly directory: string | undefined
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

/** Undefined for a line that a crash cut short. */
const parseLine = (line: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Undefined: it does not even say who wrote it. */
export const parseLedger = (text: string): Ledger | undefined => {
  const [first, ...rest] = text.split("\n")
  const head = parseLine(first ?? "")
  if (head === undefined || typeof head["pid"] !== "number" || typeof head["start"] !== "number") return undefined
  const begun = new Map<number, string>()
  const live = new Map<number, Stale>()
  let directory: string | undefined
  for (const raw of rest) {
    const line = parseLine(raw)
    if (line === undefined) continue
    const { begin, marker, pid, start, end } = line
    if (typeof begin === "number" && typeof marker === "string") begun.set(begin, marker)
    else if (typeof line["live"] === "number" && typeof pid === "number" && typeof start === "number") {
      live.set(line["live"], { pid, start })
    } else if (typeof end === "number") {
      begun.delete(end)
      live.delete(end)
    } else if (typeof line["directory"] === "string") directory = line["directory"]
  }
  return {
    owner: { pid: head["pid"], start: head["start"], boot: String(head["boot"] ?? "") },
    processes: [...live.values()].filter(({ pid, start }) => pid > 1 && start > 0),
    markers: new Set([...begun.values()].filter((marker) => marker !== "")),
    directory,
  }
}

const signalKill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It is gone, or not ours to signal.
  }
}

const carriers = (markers: ReadonlySet<string>): ReadonlyArray<Stale> => {
  const found: Array<Stale> = []
  if (markers.size === 0) return found
  for (const pid of allPids()) {
    if (pid === process.pid) continue
    for (const marker of markers) {
      if (!hasVariable(pid, "CRECHE_RUNTIME", marker)) continue
      const stat = processStat(pid)
      if (stat !== undefined && stat.state !== "Z") found.push({ pid, start: stat.start })
    }
  }
  return found
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const endAll = async (ledger: Ledger): Promise<Sweep> => {
  const killed = new Map<number, number>()
  const end = ({ pid, start }: Stale, group: boolean): void => {
    if (!isAlive(pid, start)) return
    killed.set(pid, start)
    // The leader is alive and is the one that was noted, so the group of its number is its own.
    if (group) signalKill(-pid)
    signalKill(pid)
  }
  for (const process of ledger.processes) end(process, true)
  // A carrier may fork while it is being killed: until two passes find nobody.
  const deadline = performance.now() + patienceMs
  for (let empty = 0; empty < 2 && performance.now() < deadline;) {
    const found = carriers(ledger.markers)
    for (const process of found) end(process, false)
    empty = found.length === 0 ? empty + 1 : 0
    if (ledger.markers.size === 0) break
    if (found.length > 0) await pause(5)
  }
  const left = () => [...killed].filter(([pid, start]) => isAlive(pid, start)).map(([pid]) => pid)
  while (left().length > 0 && performance.now() < deadline) await pause(5)
  return { killed: [...killed.keys()], survivors: left() }
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

const isOld = (path: string): boolean => {
  try {
    return Date.now() - statSync(path).mtimeMs > unfinishedMs
  } catch {
    return false
  }
}

/** Where there are no start times: better a stray too many than a stranger killed. */
const isThere = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Sweeps every ledger in `directory` but `own`, which is the path of this runtime's. */
export const sweepLedgers = async (directory: string, own: string): Promise<Sweep> => {
  const killed: Array<number> = []
  const survivors: Array<number> = []
  for (const name of readdirSync(directory)) {
    const path = join(directory, name)
    if (!name.startsWith(ledgerPrefix) || path === own) continue
    const text = read(path)
    const ledger = text === undefined ? undefined : parseLedger(text)
    if (ledger === undefined) {
      // Without a whole first line it may be one that is being begun this very moment.
      if (text !== undefined && isOld(path)) rmSync(path, { force: true })
      continue
    }
    const { owner } = ledger
    const sameBoot = owner.boot === bootId()
    if (sameBoot && (owner.start === 0 ? isThere(owner.pid) : isAlive(owner.pid, owner.start))) continue
    const claimed = `${path.replace(/\.swept-\d+$/, "")}.swept-${process.pid}`
    try {
      renameSync(path, claimed)
    } catch {
      // Another sweep has it.
      continue
    }
    // Processes of an earlier boot are gone, and their numbers are other people's.
    if (sameBoot) {
      const sweep = await endAll(ledger)
      killed.push(...sweep.killed)
      survivors.push(...sweep.survivors)
    }
    if (ledger.directory !== undefined && /^(spawn|creche)-[^/]*$/.test(basename(ledger.directory))) {
      rmSync(ledger.directory, { recursive: true, force: true })
    }
    rmSync(claimed, { force: true })
  }
  return { killed, survivors }
}
