/**
 * What a later runtime needs to find strays of one that was killed together with its guards: a line before
 * each spawn, completed after it, ended when the tree is gone. Appended in batches (one write a batch),
 * compacted when it has grown. It ends nothing itself; `LedgerSweep` does, at the next start.
 */
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { bootId, startTimeOf } from "./ProcessIdentity.ts"

export const ledgerPrefix = "processes-"
export const ledgerSuffix = ".ledger"

/** The first line of a ledger: who wrote it. */
export interface LedgerOwner {
  readonly pid: number
  /** Field 22 of its stat; 0 where the platform has none. */
  readonly start: number
  readonly boot: string
}

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
  private timer: NodeJS.Timeout | undefined

  constructor(directory: string, name: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.path = join(directory, `${ledgerPrefix}${name}${ledgerSuffix}`)
    this.fd = openSync(this.path, "a", 0o600)
    this.pending = owner()
    this.flush()
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
    try {
      writeSync(this.fd, this.pending)
    } catch {
      // The sweep has one way less to find strays: the markers in their environment remain.
    }
    this.pending = ""
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
    try {
      const fd = openSync(beside, "w", 0o600)
      writeSync(fd, text)
      renameSync(beside, this.path)
      closeSync(this.fd)
      this.fd = fd
      this.lines = this.live.size * 2
    } catch {
      this.lines = 0
      rmSync(beside, { force: true })
    }
  }
}

const owner = (): string =>
  `${JSON.stringify({ pid: process.pid, start: startTimeOf(process.pid) ?? 0, boot: bootId() } satisfies LedgerOwner)}\n`
