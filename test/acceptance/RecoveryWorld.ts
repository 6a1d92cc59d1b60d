/**
 * One data directory with a runtime that is killed again and again: loads it with work, checks after each return that all
 * that was promised is so. Drives by JSON-RPC over the socket, as any client would.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { CrecheError, type Client, type WireEntry, type WireSession, type WireTurn } from "../../src/client/index.ts"
import { eventually } from "./Processes.ts"
import { kinds, type Promised, RecoverySession } from "./RecoverySession.ts"
import { markedProcesses, ServedRuntime, sessionProcesses } from "./ServedRuntime.ts"

export interface Figures {
  kills: number
  deaths: Record<string, number>
  checks: number
  acknowledged: number
  turns: Record<string, number>
  entries: number
  sessions: number
  maxReturnMs: number
}

const expectedTags = new Set([
  "ConnectionLost",
  "MailboxFull",
  "SessionNotRunning",
  "TurnNotFound",
  "Draining",
  "SessionNotFound",
  "NotReady",
  "NoRuntime",
])
const loops = 12

/** In small pages, so that there are some. */
async function* pages(client: Client): AsyncGenerator<WireSession, void> {
  let cursor: string | null | undefined
  while (cursor !== null) {
    const page = await client.request("session/list", { limit: 5, ...(cursor === undefined ? {} : { cursor }) })
    yield* page.sessions
    cursor = page.nextCursor
  }
}

export class RecoveryWorld {
  readonly directory = mkdtempSync(join(tmpdir(), "creche-recovery-"))
  readonly #random: () => number
  readonly #label: string
  readonly #figures: Figures
  readonly #sessions: Array<RecoverySession> = []
  /** Removed, or expired: nothing of them may be left. */
  readonly #gone: Array<RecoverySession> = []
  readonly #faults: Array<string> = []
  #runtimes: Array<ServedRuntime> = []
  #generation = 0

  constructor(random: () => number, label: string, figures: Figures) {
    this.#random = random
    this.#label = label
    this.#figures = figures
    for (let i = 0; i < loops; i++) this.#sessions.push(this.#fresh(i))
  }

  #fresh(index: number): RecoverySession {
    return new RecoverySession(kinds[index % kinds.length]!, `s${index}-${++this.#generation}`, this.directory)
  }

  #chance(of: number): boolean {
    return this.#random() < of
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #fault(text: string): void {
    this.#faults.push(`${this.#label}: ${text}`)
  }

  #throwFaults(): void {
    if (this.#faults.length > 0) throw new Error(this.#faults.slice(0, 20).join("\n"))
  }

  /** Kills `kills` times, and looks once more in the end. */
  async run(kills: number): Promise<void> {
    try {
      let runtime = this.#start()
      for (let left = kills; left > 0; left--) {
        const mode = this.#random()
        if (mode < 0.15 && left > 1) {
          // While it starts or recovers; twice in quick succession, now and then.
          await sleep(this.#random() * 260)
          await this.#kill(runtime, "starting")
          runtime = this.#start()
          continue
        }
        const client = await this.#check(runtime)
        const load = this.#load(client, runtime)
        await sleep(this.#random() * 300)
        if (mode < 0.3) {
          runtime.child.kill("SIGTERM")
          await sleep(this.#random() * 60)
          await this.#kill(runtime, "shutting down")
        } else await this.#kill(runtime, "loaded")
        await load
        await client.close()
        this.#throwFaults()
        runtime = this.#start()
      }
      const client = await this.#check(runtime)
      for (const session of [...this.#sessions, ...this.#gone]) {
        this.#figures.entries += session.seen.length
        this.#figures.acknowledged += session.acknowledged.size
        for (const entry of session.seen)
          if (entry.type === "turn/ended")
            this.#figures.turns[entry.status] = (this.#figures.turns[entry.status] ?? 0) + 1
      }
      this.#figures.sessions += this.#generation
      await client.request("runtime/shutdown", {})
      await client.close()
      await runtime.ended
      this.#left("after the shutdown", markedProcesses(...this.#runtimes))
      this.#throwFaults()
    } finally {
      for (const runtime of this.#runtimes) if (runtime.outcome === undefined) runtime.child.kill("SIGKILL")
      rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 })
    }
  }

  #start(): ServedRuntime {
    const runtime = new ServedRuntime(this.directory)
    this.#runtimes.push(runtime)
    return runtime
  }

  async #kill(runtime: ServedRuntime, when: string): Promise<void> {
    const { signal, code } = await runtime.kill()
    if (signal === "SIGKILL") this.#figures.kills++
    else if (when !== "shutting down" || code !== 0) this.#fault(`ended by itself ${when}: ${code} ${runtime.stderr}`)
    this.#figures.deaths[when] = (this.#figures.deaths[when] ?? 0) + 1
  }

  #left(when: string, processes: ReturnType<typeof markedProcesses>): void {
    for (const { pid, command } of processes) this.#fault(`survivor ${when}: ${pid} ${command}`)
  }

  // The load

  async #load(client: Client, runtime: ServedRuntime): Promise<void> {
    const asks = new Set<Promise<void>>()
    const live = () => runtime.outcome === undefined
    await Promise.all(
      this.#sessions.map(async (_, index) => {
        while (live()) {
          const session = this.#sessions[index]!
          try {
            await this.#act(client, session, index, asks)
          } catch (error) {
            if (!(error instanceof CrecheError) || !expectedTags.has(error.tag)) {
              return this.#fault(`${session.name}: ${String(error)} ${JSON.stringify((error as CrecheError).data)}`)
            }
            if (error.tag === "ConnectionLost") return
            if (error.tag === "SessionNotFound") {
              if (!session.expired())
                this.#fault(`${session.name} (${session.kind.name}) is not found, and was not removed`)
              this.#retire(session, index)
            }
          }
          if (this.#chance(0.3)) await sleep(this.#random() * 15)
        }
      }),
    )
    await Promise.all(asks)
  }

  #retire(session: RecoverySession, index: number): void {
    this.#gone.push(session)
    this.#sessions[index] = this.#fresh(index)
  }

  async #act(client: Client, session: RecoverySession, index: number, asks: Set<Promise<void>>): Promise<void> {
    const { name } = session
    if (session.id === undefined) {
      session.promised = "unsure"
      const started = await client.start({ ...session.spec, ifExists: "return" })
      session.id = started.id
      session.expiresAt = started.expiresAt
      session.promised = started.status === "ready" || started.status === "busy" ? "alive" : "unsure"
      return
    }
    const before = session.promised
    const told = async (promise: Promise<unknown>, then: Promised = "alive") => {
      session.promised = "unsure"
      try {
        await promise
        session.promised = then
      } catch (error) {
        if (error instanceof CrecheError && ["SessionNotRunning", "MailboxFull", "Draining"].includes(error.tag))
          session.promised = before
        throw error
      }
    }
    const dice = this.#random()
    if (dice < 0.45) return told(this.#turn(client, session, "tell"))
    if (dice < 0.6) {
      const ask = told(this.#turn(client, session, "ask")).catch((error: unknown) => {
        if (!(error instanceof CrecheError) || !expectedTags.has(error.tag)) this.#fault(`${name}: ${String(error)}`)
      })
      asks.add(ask)
      return this.#chance(0.5) ? ask : undefined
    }
    if (dice < 0.68) return told(Promise.all(Array.from({ length: 6 }, () => this.#turn(client, session, "tell"))))
    if (dice < 0.74) return told(this.#again(client, session), before === "alive" ? "alive" : "unsure")
    if (dice < 0.8) {
      const turns = [...session.acknowledged.keys()]
      const turn = turns[turns.length - 1 - this.#below(Math.min(4, turns.length))]
      const cancelled = await client.request(
        "session/cancel",
        turn === undefined || this.#chance(0.3) ? { session: name } : { session: name, turn },
      )
      if (!["queued", "running"].includes(cancelled.status)) session.heard(cancelled.id, cancelled as never)
      else this.#fault(`${name}: a cancel was answered with a turn that is ${cancelled.status}`)
      return
    }
    if (dice < 0.87) {
      const { pid } = await client.request("session/get", { session: name })
      // A temporary child is not replaced.
      if (session.kind.spec.restart === "temporary") session.promised = "unsure"
      try {
        if (pid !== null) process.kill(pid, "SIGKILL")
      } catch {
        // It was faster.
      }
      return
    }
    // An ask under way may wake it again.
    await Promise.all(asks)
    session.promised = "unsure"
    const settle = ({ status, turns, suspendedBy }: WireSession) => {
      // A suspend that came when the runtime was ending joins that.
      if (status === "suspended" && suspendedBy === "client" && turns.queued === 0) session.promised = "suspended"
      else if (status === "stopped") session.promised = "stopped"
      else if (status === "ready" || status === "busy") session.promised = "alive"
    }
    if (dice < 0.92) return settle(await client.request("session/suspend", { session: name }))
    if (dice < 0.95) return settle(await client.request("session/resume", { session: name }))
    if (dice < 0.97) return settle(await client.request("session/restart", { session: name }))
    if (dice < 0.985)
      return settle(
        await client.request("session/stop", { session: name, mode: this.#chance(0.5) ? "kill" : "graceful" }),
      )
    const { id } = session
    // Whether it is still there is open until this is answered.
    session.id = undefined
    session.removing = id
    await client.request("session/remove", { session: id })
    session.removing = undefined
    session.id = id
    this.#retire(session, index)
  }

  async #turn(client: Client, session: RecoverySession, how: "ask" | "tell"): Promise<void> {
    const number = ++session.prompts
    const word = `${session.name}.${number}`
    const dice = this.#random()
    const prompt =
      session.kind.agent === "tee"
        ? word
        : dice < 0.3
          ? `/slow ${this.#below(60)} ${word}`
          : dice < 0.6
            ? `/stream 6 ${word}`
            : `/echo ${word}`
    const key = this.#chance(0.5) ? `k${number}` : undefined
    if (key !== undefined) session.keys.set(key, prompt)
    await this.#submit(client, session, how, prompt, key)
  }

  /** With a key that was sent before, acknowledged or not: never a second turn. */
  async #again(client: Client, session: RecoverySession): Promise<void> {
    const keys = [...session.keys]
    const drawn = keys[this.#below(keys.length)]
    if (drawn === undefined) return this.#turn(client, session, "tell")
    const [key, prompt] = drawn
    await this.#submit(client, session, this.#chance(0.7) ? "tell" : "ask", prompt, key)
  }

  async #submit(
    client: Client,
    session: RecoverySession,
    how: "ask" | "tell",
    prompt: string,
    key: string | undefined,
  ): Promise<void> {
    const params = { session: session.name, prompt, ...(key === undefined ? {} : { idempotencyKey: key }) }
    session.acknowledge(await client.request(`session/${how}`, params), prompt, key)
  }

  // The check

  async #check(runtime: ServedRuntime): Promise<Client> {
    const begun = performance.now()
    const client = await runtime.connect()
    this.#figures.maxReturnMs = Math.max(this.#figures.maxReturnMs, performance.now() - begun)
    const dead = this.#runtimes.filter((other) => other !== runtime)
    // The new one serves, so what the others ran is gone; their guards may take a moment longer.
    this.#left("of a dead runtime", sessionProcesses(...dead))
    await eventually("guards of dead runtimes are gone", () => markedProcesses(...dead).length === 0, 2000)
    this.#runtimes = [runtime]
    const there = await this.#list(client)
    for (const [index, session] of this.#sessions.entries()) await this.#find(client, session, index, there)
    await this.#settle(client)
    const listed = await this.#list(client)
    const known = new Set<string>()
    for (const [index, session] of this.#sessions.entries()) {
      const record = listed.get(session.id ?? "")
      if (session.id === undefined) continue
      known.add(session.id)
      if (record === undefined) {
        if (session.expired()) this.#retire(session, index)
        else this.#fault(`${session.name} (${session.kind.name}) is gone`)
        continue
      }
      await this.#compare(client, session)
    }
    const strangers = [...listed.values()].filter(({ id }) => !known.has(id))
    for (const { id, name, expiresAt } of strangers) {
      // Its time was over when the runtime died, and it was not gone yet.
      const going = expiresAt !== null && Date.parse(expiresAt) <= Date.now()
      if (!going) this.#fault(`${name} is there, and nobody knows of it`)
      else await eventually(`${name} goes`, async () => !(await this.#list(client)).has(id))
    }
    this.#processes(runtime, await this.#list(client))
    const ids = new Set([...(await this.#list(client)).keys()])
    for (const parent of ["sessions", "tmp"]) {
      const left = () => this.#directories(parent).filter((id) => !ids.has(id) && !listed.has(id))
      await eventually(`directories in ${parent} of sessions that are gone`, () => left().length === 0, 1000).catch(
        (error) => this.#fault(String(error)),
      )
    }
    this.#figures.checks++
    this.#throwFaults()
    return client
  }

  #directories(parent: string): ReadonlyArray<string> {
    try {
      return readdirSync(join(this.directory, parent))
    } catch {
      return []
    }
  }

  async #list(client: Client): Promise<Map<string, WireSession>> {
    const found = new Map<string, WireSession>()
    for await (const session of pages(client)) {
      if (found.has(session.id)) this.#fault(`${session.name} is listed twice`)
      found.set(session.id, session)
    }
    return found
  }

  /** What became of a start or a removal that was not answered; and from here on its entries are followed. */
  async #find(
    client: Client,
    session: RecoverySession,
    index: number,
    there: ReadonlyMap<string, WireSession>,
  ): Promise<void> {
    if (session.removing !== undefined) {
      if (!there.has(session.removing)) return this.#retire(session, index)
      session.id = session.removing
      session.removing = undefined
      session.promised = "unsure"
    }
    if (session.id === undefined) {
      const found = [...there.values()].find(({ name }) => name === session.name)
      if (found === undefined) return
      session.id = found.id
      session.expiresAt = found.expiresAt
      session.promised = "unsure"
    }
    try {
      const subscription = await client.subscribe({ session: session.id, after: session.seen.length })
      void (async () => {
        try {
          for await (const event of subscription) {
            if ("entry" in event) session.saw(event.entry)
            else this.#fault(`${session.name}: missed ${JSON.stringify(event.missed)}`)
          }
        } catch (error) {
          this.#fault(String(error))
        }
      })()
    } catch (error) {
      if (!session.expired())
        this.#fault(
          `${session.name} (${session.kind.name}, ${session.promised}, expires ${session.expiresAt}, now ${new Date().toISOString()}): ${String(error)}, listed as ${JSON.stringify(there.get(session.id))}`,
        )
    }
  }

  async #settle(client: Client): Promise<void> {
    let open: ReadonlyArray<string> = []
    const settled = async () => {
      const listed = await this.#list(client)
      open = [...listed.values()]
        .filter(({ id, status, turns, seq }) => {
          const session = this.#sessions.find((known) => known.id === id)
          return (
            turns.queued + turns.running > 0 ||
            !["ready", "suspended", "stopped", "failed"].includes(status) ||
            (session !== undefined && session.seen.length < seq)
          )
        })
        .map(({ name, status, turns, seq }) => `${name} ${status} ${JSON.stringify(turns)} seq ${seq}`)
      return open.length === 0
    }
    await eventually("everything is at rest", settled, 15_000).catch((error: Error) => {
      throw new Error(`${this.#label}: ${error.message}: ${open.join("; ")}`)
    })
  }

  async #compare(client: Client, session: RecoverySession): Promise<void> {
    const get = () => client.request("session/get", { session: session.id! })
    try {
      let record = await get()
      while (true) {
        const entries: Array<WireEntry> = []
        for await (const entry of client.transcript({ session: record.id })) entries.push(entry)
        const turns: Array<WireTurn> = []
        for await (const turn of client.history({ session: record.id })) turns.push(turn)
        await eventually(`${session.name}: its subscriber has all`, () => session.seen.length >= entries.length, 2000)
        const after = await get()
        // An agent may have said a word meanwhile.
        if (after.seq === record.seq && session.seen.length === entries.length) {
          // Its time was over while it was being looked at: it is stopped, and about to be gone.
          if (session.expired()) return
          this.#faults.push(...session.faults(after, entries, turns).map((text) => `${this.#label}: ${text}`))
          return
        }
        record = after
      }
    } catch (error) {
      if (!session.expired()) throw error
    }
  }

  /** One process for each session that lives, none for the others. */
  #processes(runtime: ServedRuntime, listed: ReadonlyMap<string, WireSession>): void {
    const processes = sessionProcesses(runtime)
    for (const { id, name, status, pid, expiresAt } of listed.values()) {
      const own = processes.filter(({ environment }) => environment.includes(`CRECHE_SESSION=${id}\0`))
      const wanted = status === "ready" ? [pid] : []
      if (expiresAt !== null && Date.parse(expiresAt) < Date.now() + 1000) continue
      if (JSON.stringify(own.map((process) => process.pid)) !== JSON.stringify(wanted))
        this.#fault(
          `${name} is ${status}, pid ${pid}, and has ${own.map(({ pid, command }) => `${pid} ${command}`).join(", ") || "no process"}`,
        )
    }
    for (const { pid, environment, command } of processes)
      if (![...listed.keys()].some((id) => environment.includes(`CRECHE_SESSION=${id}\0`)))
        this.#fault(`${pid} ${command} belongs to no session`)
  }
}
