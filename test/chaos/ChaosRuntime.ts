/**
 * A real `creche serve` under attack, with the books of what was done to it: every fault, every acknowledged turn. `finish`
 * checks what must hold after every fault (no survivor, no zombie, every turn ended once, transcripts without gaps,
 * descriptors back where they were) and records the row of the report.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect } from "vitest"
import type { Client, Params, WireEntry, WireSession, WireTurn } from "../../src/client/index.ts"
import {
  allProcesses,
  descriptorCount,
  drawSeed,
  eventually,
  pidsWithArgument,
  seeded,
} from "../acceptance/Processes.ts"
import { markedProcesses, ServedRuntime } from "../acceptance/ServedRuntime.ts"
import { record } from "./ChaosReport.ts"

export interface ChaosOptions {
  /** Numbers of the faults in the catalogue. */
  readonly faults: string
  readonly title: string
  readonly flags?: ReadonlyArray<string>
  /** Default: sessions in memory, since most faults have nothing to do with the store. */
  readonly durable?: boolean
  readonly env?: NodeJS.ProcessEnv
  readonly within?: string
}

const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024

let tokens = 0

export class ChaosRuntime {
  /** Digits. Stands in the arguments of everything that a hostile child leaves running: `sleep 1000.TOKEN`. */
  readonly token = `${process.pid}00${++tokens}00${Math.floor(Math.random() * 1e6)}`
  readonly directory = mkdtempSync(join(tmpdir(), "creche-chaos-"))
  readonly injected: Record<string, number> = {}
  /** Ids of acknowledged turns, with the id of their session. */
  readonly acknowledged = new Map<string, string>()
  readonly seed: number
  readonly random: () => number
  readonly #options: ChaosOptions
  readonly #begun = performance.now()
  #runtimes: Array<ServedRuntime> = []
  #clients: Array<Client> = []
  #before: { readonly descriptors: number; readonly memory: number } | undefined
  #started = 0

  private constructor(options: ChaosOptions) {
    this.#options = options
    this.seed = drawSeed(`chaos ${options.faults}, ${options.title}`)
    this.random = seeded(this.seed)
  }

  static async open(options: ChaosOptions): Promise<ChaosRuntime> {
    const chaos = new ChaosRuntime(options)
    try {
      await chaos.boot()
      return chaos
    } catch (error) {
      await chaos.discard()
      throw error
    }
  }

  get runtime(): ServedRuntime {
    return this.#runtimes.at(-1)!
  }

  get pid(): number {
    return this.runtime.pid
  }

  get client(): Client {
    return this.#clients.at(-1)!
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit)
  }

  pick<A>(from: ReadonlyArray<A>): A {
    return from[this.below(from.length)]!
  }

  inject(kind: string, count = 1): void {
    this.injected[kind] = (this.injected[kind] ?? 0) + count
  }

  /** The first runtime, or the next on the same directory. */
  async boot(): Promise<void> {
    const { flags = [], durable = false, env, within } = this.#options
    const runtime = new ServedRuntime(this.directory, [...(durable ? [] : ["--memory"]), ...flags], {
      ...(env === undefined ? {} : { env }),
      ...(within === undefined ? {} : { within }),
    })
    this.#runtimes.push(runtime)
    await runtime.listening()
    const client = await runtime.connect()
    this.#clients.push(client)
    // What a runtime keeps once it has worked is there before it is counted.
    await client.start({ name: "warm", command: "cat" })
    await client.request("session/ask", { session: "warm", prompt: "hello" })
    if (durable) await client.search({ query: "hello" })
    await client.request("session/remove", { session: "warm" })
    this.#before ??= await this.#quiet(runtime)
  }

  /** Descriptors and memory once nothing changes any more. */
  async #quiet(runtime: ServedRuntime): Promise<{ readonly descriptors: number; readonly memory: number }> {
    let last = -1
    await eventually("descriptors stay as they are", () => {
      const now = descriptorCount(runtime.pid)
      const same = now === last
      last = now
      return same
    })
    return { descriptors: last, memory: residentBytes(runtime.pid) }
  }

  get memory(): number {
    return residentBytes(this.pid)
  }

  /** Another connection, closed in the end. */
  async connect(): Promise<Client> {
    const client = await this.runtime.connect()
    this.#clients.unshift(client)
    return client
  }

  async start(spec: Params<"session/start">): Promise<WireSession> {
    const session = await this.client.start(spec)
    this.#started++
    return session
  }

  async ask(session: string, prompt: string, more: Partial<Params<"session/ask">> = {}): Promise<WireTurn> {
    const turn = await this.client.request("session/ask", { ...more, session, prompt })
    this.acknowledged.set(turn.id, turn.session)
    return turn
  }

  async tell(session: string, prompt: string): Promise<WireTurn> {
    const turn = await this.client.request("session/tell", { session, prompt })
    this.acknowledged.set(turn.id, turn.session)
    return turn
  }

  /** Counts a session that was started by other ways than `start`. */
  counted(sessions = 1): void {
    this.#started += sessions
  }

  /** Kills the runtime alone, by SIGKILL, and waits for its end. */
  async killRuntime(): Promise<void> {
    this.inject("SIGKILL of the runtime")
    await this.runtime.kill()
    for (const client of this.#clients) await client.close().catch(() => {})
    this.#clients = []
  }

  /** Live processes of hostile children, by the token in their arguments. */
  hostile(): ReadonlyArray<number> {
    return pidsWithArgument(this.token)
  }

  /**
   * Checks everything and ends the runtime. `memoryBytes`: how much more the runtime may hold than before; null: this was
   * about something else. `descriptors`: false where other runtimes came after the first.
   */
  async finish({ memoryBytes = null as number | null } = {}): Promise<void> {
    const { client, runtime } = this
    // The thread that moves SQLite's log into the database is started when that is worth while.
    const late = this.#options.durable === true ? 10 : 0
    const same = this.#runtimes.length === 1
    const sessions: Array<WireSession> = []
    for await (const session of client.sessions()) sessions.push(session)
    await Promise.all(sessions.map(({ id }) => client.request("session/stop", { session: id, mode: "kill" })))
    const ended = new Map<string, string>()
    for (const session of sessions)
      for (const [turn, status] of await this.#transcriptOf(session)) ended.set(turn, status)
    const there = new Set<string>(sessions.map(({ id }) => id))
    let lost = 0
    for (const [turn, session] of this.acknowledged) {
      // Of sessions that were removed nothing is kept; what a session's limits have dropped is asked for by itself.
      if (!there.has(session)) continue
      const status = ended.get(turn) ?? (await client.request("turn/get", { turn })).status
      expect(["completed", "failed", "cancelled", "timed_out", "lost"], turn).toContain(status)
      if (status === "lost") lost++
    }
    for (const { id } of sessions) await client.request("session/remove", { session: id })
    await eventually("nothing of a hostile child is left", () => this.hostile().length === 0, 5_000)
    const survivors = this.hostile().length
    await eventually("no zombie is left", () => this.#zombies() === 0, 5_000)
    for (const other of this.#clients) if (other !== client) await other.close()
    this.#clients = [client]
    const before = this.#before!
    let after = { descriptors: descriptorCount(runtime.pid), memory: residentBytes(runtime.pid) }
    if (same) {
      await eventually(
        `descriptors are back at ${before.descriptors}`,
        () =>
          (after = { ...after, descriptors: descriptorCount(runtime.pid) }).descriptors <= before.descriptors + late,
      )
      if (memoryBytes !== null) expect(after.memory - before.memory).toBeLessThanOrEqual(memoryBytes)
    }
    expect(await client.request("runtime/shutdown", {})).toEqual({ survivors: [] })
    await client.close()
    expect(await runtime.ended).toEqual({ code: 0, signal: null })
    await eventually("nothing of the runtime is left", () => markedProcesses(...this.#runtimes).length === 0, 5_000)
    record({
      faults: this.#options.faults,
      title: this.#options.title,
      injected: this.injected,
      sessions: this.#started,
      turns: this.acknowledged.size,
      lost,
      survivors,
      zombies: 0,
      descriptors: same ? [before.descriptors, after.descriptors] : null,
      memory: same ? [before.memory, after.memory] : null,
      seed: this.seed,
      seconds: (performance.now() - this.#begun) / 1000,
    })
  }

  /** For `finally`: whatever came of the test, nothing of it stays. */
  async discard(): Promise<void> {
    for (const client of this.#clients) await client.close().catch(() => {})
    for (const runtime of this.#runtimes) if (runtime.outcome === undefined) await runtime.kill()
    await eventually("guards have ended what was left", () => markedProcesses(...this.#runtimes).length === 0).catch(
      () => {},
    )
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 })
  }

  /** Zombies below the runtime, its spawn server and its guards. */
  #zombies(): number {
    const all = allProcesses()
    const ours = new Set([this.pid])
    for (let grew = true; grew;) {
      grew = false
      for (const { pid, parent } of all)
        if (ours.has(parent) && !ours.has(pid)) {
          ours.add(pid)
          grew = true
        }
    }
    return all.filter(({ pid, state }) => ours.has(pid) && state === "Z").length
  }

  /** Its turns with how each ended; throws where a promise is broken. */
  async #transcriptOf(session: WireSession): Promise<ReadonlyMap<string, string>> {
    const ended = new Map<string, string>()
    const queued = new Set<string>()
    let seq = 0
    const note = (entry: WireEntry) => {
      if (entry.seq !== seq + 1) throw new Error(`${session.name}: ${entry.seq} follows ${seq}`)
      seq = entry.seq
      const { turn } = entry
      if (entry.type === "turn/queued" && turn !== undefined) queued.add(turn)
      if (turn !== undefined && ended.has(turn) && entry.type !== "note")
        throw new Error(`${session.name}: ${entry.type} of turn ${turn} after its end`)
      if (entry.type === "turn/ended" && turn !== undefined) ended.set(turn, entry.status)
    }
    const query = { session: session.id, all: true }
    const missed = ({ through }: { readonly through: number }) => {
      seq = through
    }
    for await (const entry of this.client.transcript(query, { onMissed: missed })) note(entry)
    for (const turn of queued) if (!ended.has(turn)) throw new Error(`${session.name}: turn ${turn} never ended`)
    return ended
  }
}
