/**
 * How many OS processes the sessions have, descendants counted: one scan of /proc for all of them, kept for a while. The
 * helpers of creche are not counted, nor is what the embedding program starts for itself. Where there is no /proc every
 * session is taken for one process. Asked by `supervisor/LiveSessions`, which decides what it means.
 */
import { allPids, processStat } from "./ProcessIdentity.ts"

/** How long a scan is believed (ms). */
export const believedMs = 100

export interface ScannedProcess {
  readonly pid: number
  readonly parent: number
  /** Pages in memory; left out: unknown. */
  readonly resident?: number
  /** It calls itself the init of a session's namespace. */
  readonly init?: boolean
}

/** Every process there is, those apart that are dead and only wait to be reaped. Empty where there is no /proc. */
export interface Scan {
  readonly alive: ReadonlyArray<ScannedProcess>
  readonly dead: ReadonlyArray<ScannedProcess>
}

export const scanProcesses = (): Scan => {
  const alive: Array<ScannedProcess> = []
  const dead: Array<ScannedProcess> = []
  for (const pid of allPids()) {
    const stat = processStat(pid)
    if (stat === undefined) continue
    const list = stat.state === "Z" || stat.state === "X" ? dead : alive
    list.push({ pid, parent: stat.parent, resident: stat.resident, init: stat.name === "creche-init" })
  }
  return { alive, dead }
}

/**
 * The processes of one session, by the pid of its command. Under a guard (a child of the spawn server, which is a child of
 * the runtime `self`) that is everything below the guard: what left its parents was adopted by it. Otherwise it is what
 * descends from the command itself.
 */
export class ProcessTree {
  readonly #children = new Map<number, Array<number>>()
  readonly #parents = new Map<number, number>()
  /** With their pages in memory. */
  readonly #alive = new Map<number, number>()
  /** The runtime itself, and whom it descends from: among them whoever takes orphans in. */
  readonly #above = new Set<number>()
  readonly #inits = new Set<number>()
  readonly #self: number

  constructor({ alive, dead }: Scan, self: number) {
    this.#self = self
    for (const { pid, resident = 0, init } of alive) {
      this.#alive.set(pid, resident)
      if (init === true) this.#inits.add(pid)
    }
    for (const { pid, parent } of [...alive, ...dead]) {
      this.#parents.set(pid, parent)
      const siblings = this.#children.get(parent)
      if (siblings === undefined) this.#children.set(parent, [pid])
      else siblings.push(pid)
    }
    for (let pid: number | undefined = self; pid !== undefined && !this.#above.has(pid); pid = this.#parents.get(pid)) {
      this.#above.add(pid)
    }
  }

  sizeOf(leader: number): number {
    return this.membersOf(leader).length
  }

  /** Pages in memory of all of them; what they share counts in each. */
  residentOf(leader: number): number {
    return this.membersOf(leader).reduce((sum, pid) => sum + this.#alive.get(pid)!, 0)
  }

  membersOf(leader: number): ReadonlyArray<number> {
    const parent = this.#parents.get(leader)
    if (parent === undefined) return []
    // A child of the guard with that name is its helper; further down anybody may call himself so.
    if (this.#isGuard(parent)) {
      return this.#below(parent).filter((pid) => !this.#inits.has(pid) || this.#parents.get(pid) !== parent)
    }
    return this.#alive.has(leader) ? [leader, ...this.#below(leader)] : this.#below(leader)
  }

  /** The command of a killed guard was taken in by the spawn server, a child of the runtime, or by one above. */
  #isGuard(pid: number): boolean {
    return !this.#above.has(pid) && this.#parents.get(pid) !== this.#self
  }

  #below(root: number): ReadonlyArray<number> {
    // No scan is of one moment: a pid that was used again meanwhile may close a ring.
    const seen = new Set([root])
    const alive: Array<number> = []
    for (const parent of seen) {
      for (const pid of this.#children.get(parent) ?? []) {
        if (seen.has(pid)) continue
        seen.add(pid)
        if (this.#alive.has(pid)) alive.push(pid)
      }
    }
    return alive
  }
}

export interface ProcessCountOptions {
  readonly scan?: () => Scan
  /** The runtime's pid. */
  readonly self?: number
  /** A steady clock (ms). */
  readonly now?: () => number
}

export class ProcessCount {
  readonly #scan: () => Scan
  readonly #self: number
  readonly #now: () => number
  #tree: ProcessTree | undefined
  #believedUntil = -Infinity

  constructor({ scan = scanProcesses, self = process.pid, now = () => performance.now() }: ProcessCountOptions = {}) {
    this.#scan = scan
    this.#self = self
    this.#now = now
  }

  /**
   * The processes of these sessions together, each given by the pid of its command; null: it is just being started. One
   * that a scan does not know, or not yet, counts as one.
   */
  of(leaders: Iterable<number | null>): number {
    let total = 0
    let tree: ProcessTree | undefined
    for (const leader of leaders) total += leader === null ? 1 : Math.max(1, (tree ??= this.#fresh()).sizeOf(leader))
    return total
  }

  #fresh(): ProcessTree {
    if (this.#tree === undefined || this.#now() >= this.#believedUntil) {
      this.#tree = new ProcessTree(this.#scan(), this.#self)
      // From its end: a slow scan must not leave time for nothing else.
      this.#believedUntil = this.#now() + believedMs
    }
    return this.#tree
  }
}
