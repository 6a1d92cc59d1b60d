/**
 * What a later runtime needs to find strays of one that was killed together with its guards: a line before
 * each spawn, completed after it, ended when the tree is gone. Appended in batches (one write a batch),
 * compacted when it has grown. It ends nothing itself; `LedgerSweep` does, at the next start.
 */
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import type { LedgerOwner } from "./LedgerFile.ts"
import { bootId, pidNamespace, startTimeOf } from "./ProcessIdentity.ts"

export const ledgerPrefix = "processes-"
export const ledgerSuffix = ".ledger"
/** What a child carries in its environment, and hands down. */
export const markerVariable = "CRECHE_RUNTIME"
export const sessionVariable = "CRECHE_SESSION"

/** `begin` before the spawn, `live` after it, `end` once the tree is gone. */
export type LedgerLine =
  | { readonly begin: number; readonly session: string; readonly marker: string }
  | { readonly live: number; readonly pid: number; readonly pgid: number; readonly start: number }
  | { readonly end: number }
  /** A private directory of the runtime's that has to go with it. */
  | { readonly directory: string }

interface Entry {
  readonly session: string
  readonly marker: string
  pid: number
  start: number
}

/** How long a line that completes or ends an entry may wait for others, in ms. */
const lazyMs = 50
/** What waits for a disk that takes nothing; older lines are dropped beyond this many characters. */
const mostPending = 1024 * 1024
/** Fewer lines than this are not worth compacting. */
const compactAtLeast = 2000

export class ProcessLedger {
  readonly path: string
  private fd: number
  private lines = 0
  private entries = 0
  private readonly live = new Map<number, Entry>()
  private directory: string | undefined
  private pending = ""
  /** The disk took the beginning of a line and no more: the next one must not become a part of it. */
  private torn = false
  /** There is no ledger by its name yet: the disk was full when it was begun. */
  private unnamed = false
  private timer: NodeJS.Timeout | undefined

  constructor(directory: string, name: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.path = join(directory, `${ledgerPrefix}${name}${ledgerSuffix}`)
    // Whole or not at all: a sweep that finds it at any moment knows whose it is.
    const beside = `${this.path}.new`
    this.fd = openSync(beside, "w", 0o600)
    try {
      writeWhole(this.fd, owner())
      renameSync(beside, this.path)
    } catch {
      // The disk is full: the markers in the environment of what is spawned remain.
      rmSync(beside, { force: true })
      this.unnamed = true
    }
  }

  /** Notes that a spawn follows; the line is on its way to the disk once `flush` was called. Returns the entry's number. */
  begin(session: string, marker: string): number {
    const entry = ++this.entries
    this.live.set(entry, { session, marker, pid: 0, start: 0 })
    this.append({ begin: entry, session, marker })
    return entry
  }

  complete(entry: number, pid: number, start: number): void {
    const known = this.live.get(entry)
    if (known === undefined) return
    known.pid = pid
    known.start = start
    this.append({ live: entry, pid, pgid: pid, start })
    this.flushSoon()
  }

  /** Whose an entry is; undefined once it has ended. */
  ownerOf(entry: number): { readonly session: string; readonly marker: string } | undefined {
    return this.live.get(entry)
  }

  end(entry: number): void {
    if (!this.live.delete(entry)) return
    this.append({ end: entry })
    this.flushSoon()
  }

  /** Notes a directory that a sweep shall remove. */
  holds(directory: string): void {
    this.directory = directory
    this.append({ directory })
    this.flush()
  }

  /** Writes what waits. Never throws: a full disk must not stop a spawn that a guard holds anyway. */
  flush(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.pending === "") return
    if (this.unnamed) return this.compact()
    const text = this.torn ? `\n${this.pending}` : this.pending
    try {
      writeWhole(this.fd, text)
      this.pending = ""
      this.torn = false
    } catch {
      // With the next lines. Until then the sweep has one way less to find strays: the markers in their environment remain.
      this.torn = true
      if (this.pending.length > mostPending)
        this.pending = this.pending.slice(this.pending.indexOf("\n", -mostPending) + 1)
    }
    if (this.lines > compactAtLeast && this.lines > this.live.size * 4) this.compact()
  }

  /** Nothing is left that a sweep would have to look for. */
  close(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    closeSync(this.fd)
    rmSync(this.path, { force: true })
  }

  private append(line: LedgerLine): void {
    this.pending += `${JSON.stringify(line)}\n`
    this.lines++
  }

  private flushSoon(): void {
    this.timer ??= setTimeout(() => this.flush(), lazyMs).unref()
  }

  /** Writes the present state beside the ledger and moves it over: at no moment is there none, or half of one. */
  private compact(): void {
    let text = owner()
    if (this.directory !== undefined) text += `${JSON.stringify({ directory: this.directory })}\n`
    for (const [entry, { session, marker, pid, start }] of this.live) {
      text += `${JSON.stringify({ begin: entry, session, marker })}\n`
      if (pid !== 0) text += `${JSON.stringify({ live: entry, pid, pgid: pid, start })}\n`
    }
    const beside = `${this.path}.new`
    let fd: number | undefined
    try {
      fd = openSync(beside, "w", 0o600)
      writeWhole(fd, text)
      renameSync(beside, this.path)
      closeSync(this.fd)
      this.fd = fd
      this.lines = this.live.size * 2
      this.pending = ""
      this.torn = false
      this.unnamed = false
    } catch {
      if (fd !== undefined) closeSync(fd)
      this.lines = 0
      rmSync(beside, { force: true })
    }
  }
}

const owner = (): string => {
  const start = startTimeOf(process.pid) ?? 0
  const line: LedgerOwner = { pid: process.pid, start, boot: bootId(), namespace: pidNamespace() }
  return `${JSON.stringify(line)}\n`
}

/** A disk that is nearly full takes a part and says how much. */
const writeWhole = (fd: number, text: string): void => {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at)
}
