/**
 * Resident memory and number of processes of each session's tree, for metrics: one scan of /proc for all of them, at most
 * every ten seconds and never for more than a fiftieth of the time. The number of names is bounded for the life of the
 * runtime: series that come and go with short-lived sessions would be worth nothing and cost whoever stores them a lot.
 */
import { readFileSync } from "node:fs"
import { ProcessTree, type Scan, scanProcesses } from "../process/ProcessCount.ts"

/** So many sessions are told apart by name: the first ones that were seen with a process. */
export const mostNamed = 100
/** The rest of them, by template. No session can be called so. */
export const otherSessions = "_other"

const leastMs = 10_000
/** A scan is followed by so many times its own duration without one. */
const restFactor = 50

export interface LiveSession {
  readonly name: string
  readonly template: string | null
  /** The pid of its command. */
  readonly leader: number
}

export interface SessionLoad {
  readonly session: string
  /** Empty for a session that has none. */
  readonly template: string
  readonly residentBytes: number
  readonly processes: number
}

export interface SessionMemoryOptions {
  readonly scan?: () => Scan
  readonly self?: number
  readonly now?: () => number
  readonly pageBytes?: number
}

/** Node knows the size of its own memory in bytes, /proc in pages: their ratio is a power of two. */
const measuredPageBytes = (): number => {
  try {
    const pages = Number(readFileSync("/proc/self/statm", "latin1").split(" ")[1])
    const size = 2 ** Math.round(Math.log2(process.memoryUsage.rss() / pages))
    return Number.isFinite(size) ? size : 4096
  } catch {
    return 4096
  }
}

export class SessionMemory {
  readonly #scan: () => Scan
  readonly #self: number
  readonly #now: () => number
  /** Measured when it is first wanted: a runtime that nobody asks pays nothing. */
  #pageBytes: number | undefined
  readonly #named = new Set<string>()
  #loads: ReadonlyArray<SessionLoad> = []
  #believedUntil = -Infinity

  constructor({
    scan = scanProcesses,
    self = process.pid,
    now = () => performance.now(),
    pageBytes,
  }: SessionMemoryOptions = {}) {
    this.#scan = scan
    this.#self = self
    this.#now = now
    this.#pageBytes = pageBytes
  }

  /** Empty where there is no /proc. `live`: asked only when it is time for a scan. */
  of(live: () => ReadonlyArray<LiveSession>): ReadonlyArray<SessionLoad> {
    const begun = this.#now()
    if (begun < this.#believedUntil) return this.#loads
    const sessions = live()
    this.#loads = sessions.length === 0 ? [] : this.#measure(sessions)
    const ended = this.#now()
    this.#believedUntil = ended + Math.max(leastMs, (ended - begun) * restFactor)
    return this.#loads
  }

  #measure(sessions: ReadonlyArray<LiveSession>): ReadonlyArray<SessionLoad> {
    const scan = this.#scan()
    if (scan.alive.length === 0) return []
    const tree = new ProcessTree(scan, this.#self)
    const loads = new Map<string, SessionLoad>()
    for (const { name, template, leader } of sessions) {
      const processes = tree.sizeOf(leader)
      if (processes === 0) continue
      const session = this.#labelOf(name)
      const key = `${session} ${template ?? ""}`
      const before = loads.get(key)
      loads.set(key, {
        session,
        template: template ?? "",
        residentBytes:
          (before?.residentBytes ?? 0) + tree.residentOf(leader) * (this.#pageBytes ??= measuredPageBytes()),
        processes: (before?.processes ?? 0) + processes,
      })
    }
    return [...loads.values()]
  }

  #labelOf(name: string): string {
    if (this.#named.has(name)) return name
    if (this.#named.size >= mostNamed) return otherSessions
    this.#named.add(name)
    return name
  }
}
