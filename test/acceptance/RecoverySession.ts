/**
 * What the driver of RuntimeRecovery.test knows of one session: what it was promised, what it saw. The invariants of one
 * session are here, those of all together in RecoveryWorld.
 */
import { existsSync, readFileSync } from "node:fs"
import { isDeepStrictEqual } from "node:util"
import type { WireEntry, WireSession, WireTurn } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import type { SessionSpecInput } from "../../src/index.ts"

export interface Kind {
  readonly name: string
  readonly spec: SessionSpecInput
  readonly agent: "tee" | "demo"
}

const base: SessionSpecInput = {
  backoff: { initialMs: 1, maxMs: 20 },
  intensity: { maxRestarts: 100_000, withinMs: 1000 },
  shutdown: { signal: "SIGTERM", graceMs: 500 },
}

export const kinds: ReadonlyArray<Kind> = [
  { name: "tee-permanent", agent: "tee", spec: { ...base, restart: "permanent" } },
  { name: "tee-transient", agent: "tee", spec: { ...base, restart: "transient" } },
  { name: "tee-temporary", agent: "tee", spec: { ...base, restart: "temporary" } },
  { name: "tee-retry", agent: "tee", spec: { ...base, restart: "transient", retryTurns: 2 } },
  { name: "tee-expires", agent: "tee", spec: { ...base, restart: "permanent", expiresInMs: 2_500 } },
  { name: "tee-brutal", agent: "tee", spec: { ...base, restart: "permanent", retryTurns: 2, shutdown: "brutal_kill" } },
  { name: "demo-transient", agent: "demo", spec: demoSpec({ ...base, restart: "transient" }) },
  { name: "demo-permanent", agent: "demo", spec: demoSpec({ ...base, restart: "permanent", retryTurns: 2 }) },
]

/** What the client was told last, and nothing was asked since: it has to be so after any death of the runtime. */
export type Promised = "unsure" | "alive" | "suspended" | "stopped"

/** Of a turn: what was heard of it first must be true ever after. */
interface Outcome {
  readonly status: string
  readonly text: string
  readonly stopReason: string | null
  readonly error: unknown
}

const outcomeOf = ({ status, text, stopReason, error }: Outcome): Outcome => ({
  status,
  text,
  stopReason,
  error: error ?? null,
})

export class RecoverySession {
  readonly kind: Kind
  readonly name: string
  readonly log: string
  /** undefined: its start was never acknowledged. */
  id: string | undefined
  promised: Promised = "unsure"
  expiresAt: string | null = null
  /** By subscription, from the first on. */
  readonly seen: Array<WireEntry> = []
  readonly acknowledged = new Map<string, { readonly prompt: string; readonly key: string | undefined }>()
  /** Every key that was ever sent, with its prompt; and the turn that it stands for. */
  readonly keys = new Map<string, string>()
  readonly turnOfKey = new Map<string, string>()
  readonly outcomes = new Map<string, Outcome>()
  prompts = 0
  /** Its removal was asked for and not answered yet. */
  removing: string | undefined

  constructor(kind: Kind, name: string, directory: string) {
    this.kind = kind
    this.name = name
    this.log = `${directory}/log-${name}`
  }

  get spec(): SessionSpecInput {
    const { agent, spec } = this.kind
    return { ...spec, name: this.name, ...(agent === "tee" ? { command: "tee", args: ["-a", this.log] } : {}) }
  }

  /** Its clock and this one are not the same to the millisecond. */
  expired(now = Date.now() + 150): boolean {
    return this.expiresAt !== null && Date.parse(this.expiresAt) <= now
  }

  acknowledge(turn: WireTurn, prompt: string, key: string | undefined): void {
    if (turn.session !== (this.id ?? this.removing)) throw new Error(`${this.name}: turn ${turn.id} of another session`)
    if (turn.prompt !== prompt)
      throw new Error(`${this.name}: turn ${turn.id} has prompt ${String(turn.prompt)}, not ${prompt}`)
    this.acknowledged.set(turn.id, { prompt, key })
    if (key !== undefined) {
      const first = this.turnOfKey.get(key)
      if (first !== undefined && first !== turn.id)
        throw new Error(`${this.name}: key ${key} gave ${first}, then ${turn.id}`)
      this.turnOfKey.set(key, turn.id)
    }
    if (turn.status !== "queued" && turn.status !== "running") this.heard(turn.id, turn as Outcome)
  }

  heard(turn: string, outcome: Outcome): void {
    const before = this.outcomes.get(turn)
    const now = outcomeOf(outcome)
    if (before === undefined) this.outcomes.set(turn, now)
    else if (!isDeepStrictEqual(before, now)) {
      throw new Error(
        `${this.name}: turn ${turn} ended as ${JSON.stringify(before)}, and then as ${JSON.stringify(now)}`,
      )
    }
  }

  /** An entry by subscription. */
  saw(entry: WireEntry): void {
    const last = this.seen.length
    if (entry.seq !== last + 1) throw new Error(`${this.name}: after seq ${last} came ${entry.seq} by subscription`)
    this.seen.push(entry)
    if (entry.type === "turn/ended") this.heard(entry.turn!, entry as unknown as Outcome)
  }

  /** All that must hold of a session at rest; returns what does not. */
  faults(
    session: WireSession,
    entries: ReadonlyArray<WireEntry>,
    turns: ReadonlyArray<WireTurn>,
  ): ReadonlyArray<string> {
    const faults: Array<string> = []
    const fault = (text: string) => faults.push(`${this.name} (${this.kind.name}): ${text}`)
    const expectSame = (what: string, actual: unknown, expected: unknown) => {
      if (!isDeepStrictEqual(actual, expected))
        fault(`${what} is ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`)
    }
    entries.forEach(({ seq }, at) => seq !== at + 1 && fault(`seq ${seq} at place ${at + 1}`))
    expectSame("seq", session.seq, entries.length)
    expectSame("what the subscriber saw", this.seen.length, entries.length)
    const differs = entries.findIndex((entry, at) => at < this.seen.length && !isDeepStrictEqual(entry, this.seen[at]))
    if (differs >= 0)
      fault(`entry ${differs + 1} was ${JSON.stringify(this.seen[differs])}, is ${JSON.stringify(entries[differs])}`)

    const accepted: Array<string> = []
    const starts = new Map<string, Array<number>>()
    const firstStarts: Array<string> = []
    const ends = new Map<string, WireEntry>()
    const promptOf = new Map<string, string>()
    let restarts = 0
    for (const entry of entries) {
      const turn = entry.turn ?? ""
      if (ends.has(turn)) fault(`${entry.type} of ${turn} after its end`)
      if (entry.type === "turn/queued") {
        if (promptOf.has(turn)) fault(`${turn} was accepted twice`)
        accepted.push(turn)
        promptOf.set(turn, entry.prompt as string)
      } else if (entry.type === "turn/started") {
        if (!promptOf.has(turn)) fault(`${turn} started, and was never accepted`)
        const attempts = starts.get(turn) ?? []
        if (attempts.length === 0) firstStarts.push(turn)
        starts.set(turn, [...attempts, entry.attempt])
      } else if (entry.type === "turn/ended") ends.set(turn, entry)
      else if (entry.type === "restart/scheduled") restarts++
    }
    for (const turn of accepted) if (!ends.has(turn)) fault(`${turn} never ended`)
    for (const turn of ends.keys()) if (!promptOf.has(turn)) fault(`${turn} ended, and was never accepted`)
    const retries = this.kind.spec.retryTurns ?? 0
    for (const [turn, attempts] of starts) {
      expectSame(
        `attempts of ${turn}`,
        attempts,
        attempts.map((_, at) => at + 1),
      )
      if (attempts.length > 1 + retries) fault(`${turn} was given to a process ${attempts.length} times`)
    }
    const order = new Map(accepted.map((turn, at) => [turn, at]))
    for (let at = 1; at < firstStarts.length; at++) {
      if (order.get(firstStarts[at]!)! < order.get(firstStarts[at - 1]!)!)
        fault(`${firstStarts[at]} overtook ${firstStarts[at - 1]}`)
    }
    for (const [turn, { prompt }] of this.acknowledged) {
      if (!promptOf.has(turn)) fault(`${turn} (${prompt}) was acknowledged and is not there`)
    }
    // One turn for each key that was ever sent; whatever was acknowledged under it.
    const byPrompt = new Map<string, number>()
    for (const prompt of promptOf.values()) byPrompt.set(prompt, (byPrompt.get(prompt) ?? 0) + 1)
    for (const [prompt, count] of byPrompt) if (count > 1) fault(`${count} turns for the prompt ${prompt}`)

    expectSame(
      "turns of its history",
      turns.map(({ id }) => id),
      accepted.toReversed(),
    )
    for (const turn of turns) {
      const end = ends.get(turn.id) as (WireEntry & Outcome) | undefined
      if (end !== undefined) expectSame(`outcome of ${turn.id}`, outcomeOf(turn as Outcome), outcomeOf(end))
      const heard = this.outcomes.get(turn.id)
      if (heard !== undefined) expectSame(`outcome of ${turn.id} as heard`, outcomeOf(turn as Outcome), heard)
      if (turn.status === "lost") expectSame(`why ${turn.id} is lost`, turn.error?.tag, "RuntimeEnded")
      if (turn.status === "completed" && this.kind.agent === "tee")
        expectSame(`answer of ${turn.id}`, turn.text, turn.prompt)
    }
    const ended = [...ends.values()] as ReadonlyArray<WireEntry & Outcome>
    const completed = ended.filter(({ status }) => status === "completed").length
    expectSame("turn counts", session.turns, { queued: 0, running: 0, completed, failed: ended.length - completed })
    expectSame("restarts", session.restarts, restarts)
    expectSame("incarnation", session.incarnation, Math.max(...entries.map(({ incarnation }) => incarnation)))
    if (this.expiresAt !== null && Math.abs(Date.parse(session.expiresAt ?? "") - Date.parse(this.expiresAt)) > 20)
      fault(`expires at ${session.expiresAt}, not at ${this.expiresAt}`)
    // tee answers before it writes to its log: what is in it was given to a process, what is not may have been as well.
    if (this.kind.agent === "tee" && existsSync(this.log)) {
      const given = new Map<string, number>()
      for (const line of readFileSync(this.log, "utf8").split("\n").slice(0, -1))
        given.set(line, (given.get(line) ?? 0) + 1)
      for (const [turn, prompt] of promptOf) {
        const times = given.get(prompt) ?? 0
        const attempts = starts.get(turn)?.length ?? 0
        if (times > attempts) fault(`${turn} was started ${attempts} times, and its process got it ${times} times`)
      }
    }
    for (const text of this.#statusFaults(session)) fault(text)
    return faults
  }

  #statusFaults(session: WireSession): ReadonlyArray<string> {
    const { status, suspendedBy } = session
    const found = `${status}${suspendedBy === null ? "" : ` by ${suspendedBy}`}`
    const allowed = (...those: ReadonlyArray<string>) =>
      those.includes(found) ? [] : [`${found} after it was ${this.promised}, expected ${those.join(" or ")}`]
    switch (this.promised) {
      case "suspended":
        return allowed("suspended by client")
      case "stopped":
        return allowed("stopped")
      case "alive":
        switch (this.kind.spec.restart) {
          case "permanent":
            return allowed("ready")
          case "temporary":
            return allowed("stopped", "suspended by runtime", "ready")
          default:
            return allowed("suspended by runtime", "ready")
        }
      case "unsure":
        return allowed("ready", "stopped", "suspended by client", "suspended by runtime")
    }
  }
}
