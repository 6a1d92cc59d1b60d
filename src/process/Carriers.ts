/**
 * Ends processes that can only be told by what they carry in their environment: strays of a guard that was killed, and of a
 * runtime that was. One whose environment was wiped is not among them. Called by `LedgerSweep` and `SpawnServer`.
 */
import { allPids, ancestorsOf, isAlive, processStat, variableOf } from "./ProcessIdentity.ts"
import type { NotedProcess } from "./LedgerFile.ts"
import { markerVariable, sessionVariable } from "./ProcessLedger.ts"

/** How long killed processes may take to go, in ms. */
export const patienceMs = 2_000

const pause = (ms: number): Promise<void> => new Promise((resolved) => setTimeout(resolved, ms))

/** `forbidden`: it is there, and belongs to somebody else. */
export const signalKill = (pid: number): "sent" | "forbidden" | "gone" => {
  try {
    process.kill(pid, "SIGKILL")
    return "sent"
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? "forbidden" : "gone"
  }
}

/** Who is never ended: whoever starts a runtime from within what another left behind shall not lose the shell under it. */
export const sparedPids = (): ReadonlySet<number> => new Set([process.pid, ...ancestorsOf(process.pid)])

/** Live processes that `carries` knows by their pid. */
export const findCarriers = (
  carries: (pid: number) => boolean,
  spared: ReadonlySet<number>,
): ReadonlyArray<NotedProcess> => {
  const found: Array<NotedProcess> = []
  for (const pid of allPids()) {
    if (spared.has(pid) || !carries(pid)) continue
    const stat = processStat(pid)
    if (stat !== undefined && stat.state !== "Z") found.push({ pid, start: stat.start })
  }
  return found
}

export class KilledProcesses {
  readonly #killed = new Map<number, number>()
  readonly #forbidden = new Set<number>()
  readonly #until = performance.now() + patienceMs
  readonly spared = sparedPids()

  /** `group`: the process is alive and leads the group of its number. */
  end({ pid, start }: NotedProcess, group: boolean): void {
    // Numbers are given out in turn: between this look and the signal none comes round again.
    if (this.spared.has(pid) || !isAlive(pid, start)) return
    if (group && pid !== processStat(process.pid)?.group) signalKill(-pid)
    if (signalKill(pid) === "forbidden") this.#forbidden.add(pid)
    else this.#killed.set(pid, start)
  }

  /** A carrier may fork while it is being killed: until two passes find nobody. */
  async endCarriers(carries: (pid: number) => boolean): Promise<void> {
    for (let empty = 0; empty < 2 && performance.now() < this.#until;) {
      const found = findCarriers(carries, this.spared).filter(({ pid }) => !this.#forbidden.has(pid))
      for (const carrier of found) this.end(carrier, false)
      empty = found.length === 0 ? empty + 1 : 0
      if (found.length > 0) await pause(5)
    }
  }

  /** Waits until they are gone, or the patience is over. */
  async outcome(): Promise<{ readonly killed: ReadonlyArray<number>; readonly survivors: ReadonlyArray<number> }> {
    const left = () => [...this.#killed].filter(([pid, start]) => isAlive(pid, start)).map(([pid]) => pid)
    while (left().length > 0 && performance.now() < this.#until) await pause(5)
    const survivors = [...left(), ...this.#forbidden]
    return { killed: [...this.#killed.keys()].filter((pid) => !survivors.includes(pid)), survivors }
  }
}

/** Ends what a session of this runtime left, wherever it went. Answers what could not be ended. */
export const endSession = async (session: string, marker: string): Promise<ReadonlyArray<number>> => {
  const killed = new KilledProcesses()
  await killed.endCarriers(
    (pid) => variableOf(pid, markerVariable) === marker && variableOf(pid, sessionVariable) === session,
  )
  return (await killed.outcome()).survivors
}
