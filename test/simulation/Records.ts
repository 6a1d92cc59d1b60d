/**
 * What a reader of the store knows of each session, built from its entries alone, and what must hold with every commit that
 * arrives there. It knows nothing of the runtime's own state.
 */
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { SessionStatus } from "../../src/domain/Session.ts"
import type { SessionSpec } from "../../src/domain/SessionSpec.ts"
import type { Commit } from "../../src/domain/SessionStore.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import { isTerminal, type Turn } from "../../src/domain/Turn.ts"
import { edges, supervisedEdges } from "../support/StatusEdges.ts"
import type { World } from "./World.ts"

export interface TurnRecord {
  readonly id: TurnId
  readonly prompt: string
  phase: "queued" | "running" | "ended"
  attempts: number
  deltas: string
  ended: Extract<TranscriptEntry, { readonly type: "turn/ended" }> | undefined
  /** As the newest commit with it says. */
  turn: Turn | undefined
}

export class SessionRecord {
  readonly id: SessionId
  readonly name: string
  spec: SessionSpec
  readonly entries: Array<TranscriptEntry> = []
  /** The newest entry that was on its way. */
  submitted = 0
  /** Its place among those on record. */
  storedAs = Infinity
  readonly turns = new Map<TurnId, TurnRecord>()
  readonly keys = new Map<string, TurnId>()
  readonly requests = new Set<string>()
  /** Busy and ready by the turns. */
  status: SessionStatus = "stopped"
  running: TurnRecord | undefined
  open = 0
  incarnation = 0
  /** A process was spawned and has not exited, by the entries. */
  up = false
  removed = false
  suspendedBy: string | null = null
  /** The largest mailbox it was given. */
  capacity: number

  constructor(id: SessionId, spec: SessionSpec) {
    this.id = id
    this.name = spec.name
    this.spec = spec
    this.capacity = spec.mailbox.capacity
  }
}

/** Told of every entry once, in order. */
export type EntryWatcher = (session: SessionRecord, entry: TranscriptEntry, commit: Commit) => void

const passing: ReadonlySet<SessionStatus> = new Set(["starting", "authenticating", "backoff", "stopping"])

export class Records {
  readonly #world: World
  readonly sessions = new Map<SessionId, SessionRecord>()
  /** Told when an entry is on its way to the store for the first time. */
  readonly onSubmitted: Array<EntryWatcher> = []
  /** Sessions whose runtime has died and that the next one has not settled. */
  #afterDeath = new Set<SessionRecord>()
  openTurns = 0
  #stored = 0
  /** Whether the store still has the turn: what it has forgotten, its key is free again. */
  isKept: (turn: TurnId) => boolean = () => true

  constructor(world: World) {
    this.#world = world
  }

  /** The session as far as it is known; made known by its first commit, which may not be stored yet. */
  of(id: SessionId, spec: () => SessionSpec): SessionRecord {
    let record = this.sessions.get(id)
    if (record === undefined) this.sessions.set(id, (record = new SessionRecord(id, spec())))
    return record
  }

  named(name: string): ReadonlyArray<SessionRecord> {
    const found: Array<SessionRecord> = []
    for (const record of this.sessions.values()) if (record.name === name && !record.removed) found.push(record)
    return found
  }

  /** Sessions of a supervisor and of those below it. */
  below(path: string): ReadonlyArray<SessionRecord> {
    const found: Array<SessionRecord> = []
    for (const record of this.sessions.values()) {
      const { supervisor } = record.spec
      if (!record.removed && (supervisor === path || supervisor.startsWith(`${path}/`))) found.push(record)
    }
    return found
  }

  /** Sessions that are about to be something else. */
  onTheWay(): ReadonlyArray<SessionRecord> {
    const found: Array<SessionRecord> = []
    for (const record of this.sessions.values()) if (!record.removed && passing.has(record.status)) found.push(record)
    return found
  }

  turn(id: TurnId): TurnRecord | undefined {
    for (const { turns } of this.sessions.values()) {
      const found = turns.get(id)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** A runtime died, or ended: what follows for each session is the next one's settling. */
  runtimeEnded(): void {
    this.#afterDeath = new Set(this.sessions.values())
    // What did not arrive never was.
    for (const record of this.sessions.values()) record.submitted = record.entries.length
  }

  /** The store forgot it with its runtime. */
  forgotten(id: SessionId): void {
    const record = this.sessions.get(id)
    if (record === undefined || record.removed) return
    record.removed = true
    this.openTurns -= record.open
    record.open = 0
  }

  /** `unsaved`: its runtime ends, and may have given the store up before the last of it was told. */
  removed(id: SessionId, unsaved: boolean): void {
    const record = this.sessions.get(id)
    if (record === undefined || record.removed) return
    record.removed = true
    if (record.open > 0 && !unsaved) {
      const left = [...record.turns.values()].filter(({ phase }) => phase !== "ended")
      this.#world.broke(
        "ends-once",
        `${record.name} was removed with open turns ${left.map(({ id }) => id).join(", ")}`,
      )
    }
    this.openTurns -= record.open
    record.open = 0
  }

  submitted(record: SessionRecord, commit: Commit): void {
    for (const entry of commit.entries) {
      if (entry.seq <= record.submitted) continue
      record.submitted = entry.seq
      for (const watch of this.onSubmitted) watch(record, entry, commit)
    }
  }

  /** A commit that is in the store now, maybe not for the first time. */
  stored(record: SessionRecord, commit: Commit): void {
    const world = this.#world
    for (const entry of commit.entries) {
      const known = record.entries[entry.seq - 1]
      if (known !== undefined) {
        if (known !== entry)
          world.broke(
            "seq-without-gaps",
            `${record.name} has two entries ${entry.seq}: ${known.type} and ${entry.type}`,
          )
        continue
      }
      if (entry.seq !== record.entries.length + 1) {
        world.broke(
          "seq-without-gaps",
          `${record.name}: after ${record.entries.length} comes ${entry.seq} (${entry.type})`,
        )
        return
      }
      if (record.entries.push(entry) === 1) record.storedAs = ++this.#stored
      this.#entry(record, entry)
    }
    // Of what a turn was within the step the last counts.
    commit.turns.forEach((turn, i) => {
      if (commit.turns.findLastIndex(({ id }) => id === turn.id) === i) this.#turn(record, turn)
    })
    this.#session(record, commit)
    this.#afterDeath.delete(record)
  }

  #entry(record: SessionRecord, entry: TranscriptEntry): void {
    const wrong = (what: string) =>
      this.#world.broke("entries-in-order", `${record.name} ${entry.seq} ${entry.type}: ${what}`)
    if (entry.incarnation < record.incarnation) wrong(`of incarnation ${entry.incarnation} after ${record.incarnation}`)
    record.incarnation = entry.incarnation
    const turn = entry.turn === undefined ? undefined : record.turns.get(entry.turn)
    if (entry.type === "turn/queued") {
      if (turn !== undefined) return wrong(`${entry.turn} was queued before`)
      const prompt = String(entry.prompt)
      record.turns.set(entry.turn!, {
        id: entry.turn!,
        prompt,
        phase: "queued",
        attempts: 0,
        deltas: "",
        ended: undefined,
        turn: undefined,
      })
      record.open++
      this.openTurns++
    } else if (entry.turn !== undefined) {
      if (turn === undefined) return wrong(`${entry.turn} was never queued`)
      if (turn.phase === "ended") {
        if (entry.type === "turn/ended") {
          return this.#world.broke(
            "ends-once",
            `${record.name}: ${turn.id} (${turn.prompt}) ended as ${turn.ended!.status} and again as ${entry.status}`,
          )
        }
        return wrong(`of ${turn.id}, which has ended`)
      }
      this.#ofTurn(record, turn, entry, wrong)
    }
    switch (entry.type) {
      case "status":
        this.#status(record, entry.status, wrong)
        break
      case "process/spawned":
        if (record.up) wrong("while one is up")
        record.up = true
        break
      case "process/exited":
        if (!record.up && !this.#afterDeath.has(record)) wrong("while none is up")
        record.up = false
        if (record.requests.size > 0) wrong("with open permission requests")
        break
      case "permission/requested":
        record.requests.add(entry.request)
        break
      case "permission/resolved":
        if (!record.requests.delete(entry.request)) wrong(`${entry.request} is not open`)
        break
      default:
    }
  }

  #ofTurn(record: SessionRecord, turn: TurnRecord, entry: TranscriptEntry, wrong: (what: string) => void): void {
    switch (entry.type) {
      case "turn/started":
        if (record.running !== undefined) wrong(`while ${record.running.id} runs`)
        if (record.status !== "ready") wrong(`while the session is ${record.status}`)
        if (entry.attempt !== turn.attempts + 1) wrong(`attempt ${entry.attempt} after ${turn.attempts}`)
        turn.attempts = entry.attempt
        turn.phase = "running"
        turn.deltas = ""
        record.running = turn
        record.status = "busy"
        return
      case "turn/ended":
        turn.phase = "ended"
        turn.ended = entry
        record.open--
        this.openTurns--
        if (record.running !== turn) {
          if (entry.status === "completed") wrong("completed without having run")
          return
        }
        record.running = undefined
        if (record.status === "busy") record.status = "ready"
        if (entry.status === "completed" && entry.text !== `re:${turn.prompt}`) {
          this.#world.broke(
            "answer-is-its-own",
            `${record.name}: ${turn.id} (${turn.prompt}) was answered ${JSON.stringify(entry.text)}`,
          )
        }
        return
      case "note":
        // It goes back to the queue.
        if (record.running !== turn) return
        turn.phase = "queued"
        record.running = undefined
        if (record.status === "busy") record.status = "ready"
        return
      case "permission/resolved":
        return
      default:
        if (record.running !== turn) wrong(`of ${turn.id}, which does not run`)
    }
    if (entry.type === "turn/delta") turn.deltas += entry.text
  }

  #status(record: SessionRecord, status: SessionStatus, wrong: (what: string) => void): void {
    const before = record.status
    record.status = status
    if (record.running !== undefined) wrong(`${status} while ${record.running.id} runs`)
    // The end of a runtime is no step of the session's.
    if (this.#afterDeath.has(record) && (status === "suspended" || status === "stopped" || status === "backoff")) return
    if (status === "starting") this.#bearsName(record)
    const isSupervised = record.spec.supervisor !== "root" && supervisedEdges[before].includes(status)
    if (!edges[before].includes(status) && !isSupervised) wrong(`${before} → ${status}`)
  }

  #bearsName(record: SessionRecord): void {
    for (const other of this.named(record.name)) {
      if (other === record || other.status === "stopped" || other.status === "failed") continue
      this.#world.broke(
        "one-bearer-a-name",
        `${record.id} starts as ${record.name}, and ${other.id} is ${other.status}`,
      )
    }
  }

  #turn(record: SessionRecord, turn: Turn): void {
    const known = record.turns.get(turn.id)
    const wrong = (what: string) => this.#world.broke("record-agrees", `${record.name}: ${turn.id} ${what}`)
    if (known === undefined) return wrong("is on record and in no entry")
    if (turn.idempotencyKey !== null) {
      const first = record.keys.get(turn.idempotencyKey)
      if (first !== undefined && first !== turn.id && this.isKept(first)) {
        this.#world.broke(
          "one-turn-a-key",
          `${record.name}: ${first} and ${turn.id} have the key ${turn.idempotencyKey}`,
        )
      }
      record.keys.set(turn.idempotencyKey, turn.id)
    }
    if (known.turn === turn) return
    if (known.turn !== undefined && isTerminal(known.turn)) return wrong("was changed after its end")
    known.turn = turn
    if (turn.firstSeq <= 0) wrong("is not accepted")
    if (isTerminal(turn) !== (known.phase === "ended")) wrong(`is ${turn.status}, by its entries ${known.phase}`)
    else if (
      known.ended !== undefined &&
      (known.ended.status !== turn.status || known.ended.text !== turn.text || known.ended.seq !== turn.lastSeq)
    ) {
      wrong(`ended as ${turn.status}, by its entry ${known.ended.status}`)
    } else if (!isTerminal(turn) && turn.status !== known.phase)
      wrong(`is ${turn.status}, by its entries ${known.phase}`)
  }

  #session(record: SessionRecord, commit: Commit): void {
    const { session } = commit
    const wrong = (what: string) => this.#world.broke("record-agrees", `${record.name}: ${what}`)
    record.spec = session.spec
    record.suspendedBy = session.suspendedBy
    record.capacity = Math.max(record.capacity, session.spec.mailbox.capacity)
    const last = record.entries.length
    if (commit.entries.length > 0 && commit.entries.at(-1)!.seq < last) return
    if (session.seq !== last) wrong(`the record's seq is ${session.seq}, the newest entry ${last}`)
    // One that is gone is stopped, whatever its last entry.
    const isGone = session.status === "stopped" && (record.status === "failed" || record.status === "suspended")
    if (isGone) record.status = "stopped"
    else if (session.status !== record.status) wrong(`the record is ${session.status}, by its entries ${record.status}`)
    // One that had its place already may be over the bound: it was put back when its process died.
    if (session.turns.queued > record.capacity + 1) {
      this.#world.broke(
        "mailbox-bound",
        `${record.name}: ${session.turns.queued} turns wait, room is for ${record.capacity}`,
      )
    }
    if (session.turns.queued + session.turns.running !== record.open) {
      wrong(
        `${session.turns.queued} queued and ${session.turns.running} running, by the entries ${record.open} are open`,
      )
    }
  }
}
