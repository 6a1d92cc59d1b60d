/**
 * Ends what a dead runtime left behind, at the start of the next one: the processes that its ledger names, then whoever
 * carries its marker. A pid counts only with its boot id, its PID namespace and its start time; a runtime that lives is never
 * touched, nor is what this process descends from; two sweeps at once share the work by claiming a ledger with a rename.
 * The caller holds the directory alone, so a ledger whose owner cannot be seen from here is a dead one's.
 */
import { lstatSync, readdirSync, renameSync, rmdirSync, rmSync, statSync, unlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, dirname, join, resolve } from "node:path"
import { KilledProcesses } from "./Carriers.ts"
import { readLedger, type Ledger, type LedgerOwner } from "./LedgerFile.ts"
import { bootId, isAlive, pidNamespace, startTimeOf, variableOf } from "./ProcessIdentity.ts"
import { ledgerPrefix, markerVariable } from "./ProcessLedger.ts"

export interface Sweep {
  /** Processes that were ended. */
  readonly killed: ReadonlyArray<number>
  /** Processes that SIGKILL did not end in time, or that this user may not signal. */
  readonly survivors: ReadonlyArray<number>
  /** Ledgers that could not be read or claimed, with the reason: what they name is not looked for. */
  readonly skipped: ReadonlyArray<{ readonly path: string; readonly why: string }>
}

/** A ledger without a first line that has not changed for so long, in ms, is nobody's. */
const unfinishedMs = 60_000

/** `samePids`: the ledger's numbers mean here what they meant to its owner. */
const endAll = async (ledger: Ledger, samePids: boolean): Promise<Pick<Sweep, "killed" | "survivors">> => {
  const killed = new KilledProcesses()
  // The leader is alive and is the one that was noted, so the group of its number is its own.
  if (samePids) for (const noted of ledger.processes) killed.end(noted, true)
  const { markers } = ledger
  if (markers.size > 0) await killed.endCarriers((pid) => markers.has(variableOf(pid, markerVariable) ?? ""))
  return killed.outcome()
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

const hasSamePids = ({ boot, namespace }: LedgerOwner): boolean =>
  boot === bootId() && (namespace === "" || namespace === pidNamespace())

/** Whether the runtime that wrote it lives, as far as can be seen from here. */
export const ownerLives = (owner: LedgerOwner): boolean =>
  hasSamePids(owner) && (owner.start === 0 ? isThere(owner.pid) : isAlive(owner.pid, owner.start))

/** A spawn server's directory: it holds sockets and fifos. Whatever else a ledger names, or holds, stays as it is. */
const removeSocketDirectory = (path: string, data: string): void => {
  const parent = dirname(resolve(path))
  if (parent !== resolve(data) && parent !== resolve(tmpdir())) return
  if (!/^(spawn|creche)-[A-Za-z0-9]+$/.test(basename(path))) return
  try {
    const stat = lstatSync(path)
    if (!stat.isDirectory() || stat.uid !== process.getuid?.()) return
    for (const name of readdirSync(path)) {
      const within = lstatSync(join(path, name))
      if (within.isSocket() || within.isFIFO()) unlinkSync(join(path, name))
    }
    rmdirSync(path)
  } catch {
    // It is gone, or not what it was taken for.
  }
}

type Outcome = Partial<Sweep> | undefined

const sweepLedger = async (directory: string, path: string): Promise<Outcome> => {
  const ledger = readLedger(path)
  if (ledger === undefined) {
    // Without a whole first line it may be one that is being begun this very moment.
    if (isOld(path)) rmSync(path, { force: true })
    return undefined
  }
  const { owner } = ledger
  if (ownerLives(owner)) return undefined
  if (owner.start > 0 && startTimeOf(process.pid) === undefined)
    return { skipped: [{ path, why: "without /proc no process can be told from another" }] }
  const claimed = `${path.replace(/\.swept-\d+$/, "")}.swept-${process.pid}`
  renameSync(path, claimed)
  // Processes of an earlier boot are gone, and their numbers are other people's.
  const sweep = owner.boot === bootId() ? await endAll(ledger, hasSamePids(owner)) : undefined
  if (ledger.directory !== undefined) removeSocketDirectory(ledger.directory, directory)
  rmSync(claimed, { force: true })
  return sweep
}

/** Sweeps every ledger in `directory` but `own`, which is the path of this runtime's. Never fails: it says what it could not do. */
export const sweepLedgers = async (directory: string, own: string): Promise<Sweep> => {
  const killed: Array<number> = []
  const survivors: Array<number> = []
  const skipped: Array<Sweep["skipped"][number]> = []
  let names: ReadonlyArray<string> = []
  try {
    names = readdirSync(directory)
  } catch (error) {
    skipped.push({ path: directory, why: (error as Error).message })
  }
  for (const name of names) {
    const path = join(directory, name)
    if (!name.startsWith(ledgerPrefix) || path === own) continue
    try {
      const outcome = await sweepLedger(directory, path)
      killed.push(...(outcome?.killed ?? []))
      survivors.push(...(outcome?.survivors ?? []))
      skipped.push(...(outcome?.skipped ?? []))
    } catch (error) {
      // ENOENT: another sweep has it.
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== "ENOENT") skipped.push({ path, why: message })
    }
  }
  return { killed, survivors, skipped }
}
