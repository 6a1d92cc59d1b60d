/**
 * A world around the pure transition: it answers actions as a process, a supervisor and the clock would, and checks
 * after every event what must always hold. No fibers, no time, no process.
 */
import * as Mailbox from "../../src/actors/Mailbox.ts"
import * as Exit from "effect/Exit"
import { expect } from "vitest"
import type { Decision, SessionAction, SessionEvent } from "../../src/actors/SessionEvent.ts"
import {
  initialState,
  statusOf,
  toSession,
  type PendingTurn,
  type SessionReply,
  type SessionState,
  type TurnReply,
} from "../../src/actors/SessionState.ts"
import { nextDeadline } from "../../src/actors/SessionDeadlines.ts"
import { isOpen, storedState } from "../../src/actors/SessionRecovery.ts"
import { transition } from "../../src/actors/SessionTransition.ts"
import { LimitReached, RestartIntensityReached, SpawnFailed } from "../../src/domain/Errors.ts"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { Session, SessionStatus } from "../../src/domain/Session.ts"
import { resolveSpec, type SessionSpec, type SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import { isTerminal, type Turn } from "../../src/domain/Turn.ts"
import { lines } from "../../src/protocols/Lines.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { edges } from "./StatusEdges.ts"
import { neverBegan } from "../../src/supervisor/Recovery.ts"

export const specOf = (input: Partial<SessionSpecInput> = {}): SessionSpec =>
  resolveSpec({ name: "s", command: "x", ...input })

/** `lines` with a way to cancel (the line "cancelled" obeys it) and a way to break ("broken"). */
export const cancellable: Protocol<string> = {
  ...(lines as unknown as Protocol<string>),
  name: "cancellable",
  answer: (state, request, option) => ({
    state,
    events: [{ type: "write", data: `${request} ${option}\n` }],
  }),
  cancel: (state) => ({ state, events: [{ type: "write", data: "cancel\n" }] }),
  frames: (state, frames, now) => {
    if (frames[0] === "may I") {
      const options = [
        { id: "yes", name: "Yes", kind: "allow_once" },
        { id: "no", name: "No", kind: "reject_once" },
      ]
      return {
        state,
        events: [{ type: "permission", request: String(now), tool: "rm", input: { path: "/" }, options }],
      }
    }
    if (frames[0] === "never mind") {
      return { state, events: [{ type: "permissionWithdrawn", request: String(now) }] }
    }
    if (frames[0] === "broken") return { state, events: [{ type: "broken", detail: "nonsense" }] }
    if (frames[0] === "cancelled" && state === "answering") {
      return { state: "idle", events: [{ type: "ended", status: "cancelled", text: "", stopReason: "cancelled" }] }
    }
    return (lines as unknown as Protocol<string>).frames(state, frames, now)
  },
}

type Life = "none" | "spawning" | "running" | "exited"

interface Asked {
  readonly what: string
  answers: Array<Exit.Exit<unknown, unknown>>
}

export class SessionModel {
  state: SessionState
  now = 1_000
  life: Life = "none"
  /** Whether a start has its place at once. */
  admits = true
  /** The start under way has its place. */
  #admitted = false
  /** The process was told to end: what it says now is too late. */
  ending = false
  /** Decisions that the supervisor will take, in turn; `Done` when there are none left. */
  decisions: Array<Decision> = []
  readonly entries: Array<TranscriptEntry> = []
  readonly writes: Array<string> = []
  readonly asked: Array<Asked> = []
  readonly submitted = new Map<TurnId, { accepted: number; refused: number; ended: Array<Turn>; withdrawn: boolean }>()
  readonly running = new Set<TurnId>()
  /** Requested, and not resolved. */
  readonly permissions = new Set<string>()
  spawns = 0
  gone = 0
  deaths = 0
  /** The runtime is ending in order: nothing is started any more. */
  leaving = false
  holding = false
  /** What a store would have of it. */
  readonly #saved = new Map<TurnId, Turn>()
  #record: Session | undefined
  #recovering = false
  #status: SessionStatus = "stopped"
  #waiting = new Map<TurnId, Array<TurnReply>>()
  #turns = 0

  constructor(input: Partial<SessionSpecInput> = {}, protocol: Protocol = lines as Protocol) {
    this.state = initialState("ses_1" as SessionId, specOf(input), protocol, this.now)
  }

  get tag(): SessionState["phase"]["_tag"] {
    return this.state.phase._tag
  }

  get status(): SessionStatus {
    return statusOf(this.state.phase)
  }

  types(): ReadonlyArray<string> {
    return this.entries.map((entry) => (entry.type === "status" ? entry.status : entry.type))
  }

  #asked(what: string): Asked & { readonly reply: (exit: Exit.Exit<unknown, unknown>) => void } {
    const asked: Asked = { what, answers: [] }
    this.asked.push(asked)
    return Object.assign(asked, {
      reply: (exit: Exit.Exit<unknown, unknown>) => void asked.answers.push(exit),
    })
  }

  /** A client's wish that is answered with the session. */
  wish(
    type: "start" | "suspend" | "resume" | "restart" | "stop" | "kill" | "remove" | "signal" | "write" | "makeRoom",
  ): Asked {
    const asked = this.#asked(type)
    const reply = asked.reply as SessionReply
    switch (type) {
      case "stop":
        this.event({ type: "stop", brutal: false, reply })
        break
      case "kill":
        this.event({ type: "stop", brutal: true, reply })
        break
      case "signal":
        this.event({ type: "signal", signal: "SIGINT", reply })
        break
      case "write":
        this.event({ type: "write", data: Buffer.from("raw\n"), reply })
        break
      default:
        this.event({ type, reply })
    }
    return asked
  }

  /** What its supervisor wishes; `rise` only where it may. */
  supervisorWish(type: "park" | "release" | "fall" | "rise" | "rise asleep"): void {
    const over = this.tag === "Failed" || (this.tag === "Stopped" && this.state.incarnation > 0)
    if (this.gone > 0 || (type.startsWith("rise") && !over) || (type === "rise asleep" && this.tag !== "Failed")) return
    const reply = this.#asked(type).reply as SessionReply
    if (type === "fall") this.event({ type, error: SessionModel.fallen, reply })
    else if (type === "park" || type === "release") this.event({ type, reply })
    else this.event({ type: "rise", asleep: type === "rise asleep", reply })
  }

  /** The runtime is about to end: what is queued stays for the next one. */
  hold(): void {
    if (this.holding || this.leaving) return
    this.holding = true
    this.event({ type: "hold", reply: this.#asked("hold").reply as SessionReply })
  }

  /** The runtime ends in order: its last wish to the session. */
  leave(): void {
    if (this.leaving) return
    this.leaving = true
    this.event({ type: "leave", reply: this.#asked("leave").reply as SessionReply })
  }

  /** The runtime dies, at whatever moment, and another takes up what is on record. */
  loseRuntime(): void {
    this.deaths++
    this.leaving = false
    this.holding = false
    this.life = "none"
    this.ending = false
    // Whoever waited is gone as well, and what was not taken in never was.
    this.asked.length = 0
    this.#waiting.clear()
    for (const known of this.submitted.values()) if (known.accepted + known.refused === 0) known.withdrawn = true
    if (this.gone > 0) return
    const record = this.#record
    const openTurns = [...this.#saved.values()]
      .filter((turn) => !isTerminal(turn))
      .toSorted((a, b) => a.firstSeq - b.firstSeq)
    if (record === undefined || neverBegan({ session: record, openTurns, history: undefined })) {
      this.gone = 1
      this.state = { ...this.state, phase: { _tag: "Gone" } }
      return
    }
    // The steady clock of the next runtime begins elsewhere.
    const skewMs = this.state.skewMs + 5_000
    this.now -= 5_000
    this.state = storedState(record, this.state.protocol, this.now, skewMs)
    if (!isOpen(this.state, openTurns)) return
    this.#recovering = true
    const { reply } = this.#asked("recover")
    const delayMs = this.deaths % 2 === 0 ? 0 : 70
    const parked = this.deaths % 3 === 2
    this.event({ type: "recover", record, openTurns, delayMs, parked, reply: reply as SessionReply })
    this.#recovering = false
  }

  submit(prompt = "hi", dueIn: number | null = null): TurnId {
    const id = `turn_1${(++this.#turns).toString(36)}` as TurnId
    const turn: Turn = {
      id,
      session: this.state.id,
      status: "queued",
      prompt,
      text: "",
      stopReason: null,
      usage: null,
      error: null,
      idempotencyKey: null,
      ...(dueIn === null ? undefined : { timeoutMs: dueIn }),
      queuedAt: this.now,
      startedAt: null,
      endedAt: null,
      firstSeq: 0,
      lastSeq: 0,
    }
    const pending: PendingTurn = { turn, attempts: 0, dueAt: dueIn === null ? null : this.now + dueIn }
    this.submitted.set(id, { accepted: 0, refused: 0, ended: [], withdrawn: false })
    this.event({ type: "submit", pending })
    return id
  }

  cancel(turn: TurnId | null): Asked {
    const asked = this.#asked(`cancel ${turn}`)
    this.event({ type: "cancel", turn, reply: asked.reply as TurnReply })
    return asked
  }

  /** Some client answers some request: one that waits, or one that does not any more. */
  answer(outcome: string): Asked {
    const asked = this.#asked(`answer ${outcome}`)
    const request = this.state.requests.at(-1)?.request ?? "req0"
    this.event({ type: "answer", request, outcome, by: "client", reply: asked.reply as SessionReply })
    return asked
  }

  await(turn: TurnId): Asked {
    const asked = this.#asked(`await ${turn}`)
    this.event({ type: "await", turn, reply: asked.reply as TurnReply })
    return asked
  }

  withdraw(turn: TurnId): void {
    const known = this.submitted.get(turn)
    if (known === undefined || known.accepted + known.refused > 0 || known.withdrawn) return
    known.withdrawn = true
    this.event({ type: "withdraw", turn })
  }

  // The process

  admitted(): void {
    if (this.life !== "spawning" || this.#admitted) return
    this.#admitted = true
    this.event({ type: "admitted" })
  }

  /** There is no place for it, and it may not wait. */
  notAdmitted(): void {
    if (this.life !== "spawning" || this.#admitted) return
    this.life = "none"
    this.event({ type: "spawnFailed", error: new LimitReached({ limit: "maxLiveSessions", value: 3 }) })
  }

  spawned(): void {
    this.admitted()
    if (this.life !== "spawning") return
    this.life = "running"
    this.event({ type: "spawned", pid: 100 + this.spawns, containment: "group", cwd: "/", freshId: "f" })
  }

  spawnFailed(): void {
    this.admitted()
    if (this.life !== "spawning") return
    this.life = "none"
    const error = new SpawnFailed({ command: "x", field: "command", errno: "ENOENT", detail: "no such program" })
    this.event({ type: "spawnFailed", error })
  }

  /** One or more lines of stdout; marked where they come too late for any turn. */
  say(...texts: ReadonlyArray<string>): void {
    if (this.life !== "running" && this.life !== "exited") return
    const late = this.ending ? "late " : ""
    this.event({ type: "frames", frames: texts.map((text) => late + text) })
  }

  stderr(data = "oops\n"): void {
    if (this.life === "running" || this.life === "exited") this.event({ type: "stderr", data })
  }

  eof(): void {
    if (this.life === "running" || this.life === "exited") this.event({ type: "stdoutEnd" })
  }

  exit(code: number | string = 1): void {
    if (this.life !== "running") return
    this.life = "exited"
    this.event({
      type: "exited",
      exit:
        typeof code === "number"
          ? { kind: "exited", code, at: this.now }
          : { kind: "signaled", signal: code, at: this.now },
    })
  }

  closed(survivors: ReadonlyArray<number> = []): void {
    // A spawn that was interrupted closes without ever having run.
    if (this.life === "spawning" ? !this.ending : this.life !== "exited") return
    this.life = "none"
    this.ending = false
    this.event({ type: "closed", survivors, stderrTail: "last words" })
  }

  die(code: number | string = 1): void {
    this.exit(code)
    this.closed()
  }

  tick(ms: number): void {
    this.now += ms
    // As the actor does: a tick comes when something is due, and once for all that is due then.
    for (let i = 0; i < 10; i++) {
      const due = nextDeadline(this.state)
      if (due === null || due > this.now) return
      this.event({ type: "tick" })
    }
    expect.fail(`the clock goes off again and again in ${this.tag}`)
  }

  event(event: SessionEvent): void {
    const before = this.state
    const [state, actions] = transition(before, event, this.now)
    this.state = state
    let stored = false
    for (const action of actions) {
      if (action.type === "save") this.#saved.set(action.turn.id, action.turn)
      if (action.type === "save" || action.type === "append") stored = true
    }
    // The commit of a step holds what follows from the supervisor's word as well, which comes below.
    if (stored) this.#record = toSession(state)
    for (const action of actions) this.#act(action)
    if (stored) this.#record = toSession(this.state)
    this.#check(event)
  }

  #act(action: SessionAction): void {
    expect(this.gone, `nothing comes after gone (${action.type})`).toBe(
      action.type === "reply" || action.type.startsWith("replyTurn") || action.type === "refused" ? this.gone : 0,
    )
    switch (action.type) {
      case "append":
        return this.#append(action.entry)
      case "accepted": {
        const known = this.submitted.get(action.turn.id)!
        known.accepted++
        expect(known.withdrawn, "a withdrawn turn is not taken in").toBe(false)
        expect(known.accepted + known.refused).toBe(1)
        return
      }
      case "postponed": {
        const known = this.submitted.get(action.turn)!
        expect([known.accepted, known.ended.length], "what is postponed is queued").toEqual([1, 0])
        const queued = Mailbox.toArray(this.state.queue).some(({ turn }) => turn.id === action.turn)
        expect(queued, "what is postponed stays in the queue").toBe(true)
        return
      }
      case "refused": {
        const known = this.submitted.get(action.turn)!
        known.refused++
        expect(known.accepted + known.refused).toBe(1)
        return
      }
      case "ended": {
        const known = this.submitted.get(action.turn.id)!
        known.ended.push(action.turn)
        expect(known.accepted, "what ends was accepted").toBe(1)
        expect(known.ended.length, "a turn ends once").toBe(1)
        expect(action.turn.text, "late output is in no answer").not.toContain("late")
        this.#waiting.get(action.turn.id)?.forEach((reply) => reply(Exit.succeed(action.turn)))
        this.#waiting.delete(action.turn.id)
        return
      }
      case "await":
        this.#waiting.set(action.turn, [...(this.#waiting.get(action.turn) ?? []), action.reply])
        return
      case "reply":
        return action.to(action.error === null ? Exit.succeed({} as never) : Exit.fail(action.error))
      case "replyTurn":
        return action.to(Exit.succeed(action.turn))
      case "replyTurnFailed":
        return action.to(Exit.fail(action.error))
      case "spawn":
        expect(this.life, "never two").toBe("none")
        this.life = "spawning"
        this.ending = false
        this.spawns++
        this.#admitted = false
        return this.admits ? this.admitted() : undefined
      case "terminate":
        if (this.life !== "none") this.ending = true
        return
      case "write":
        if (typeof action.data === "string") this.writes.push(action.data)
        action.reply?.(Exit.succeed({} as never))
        return
      case "supervise":
        expect(this.life, "supervision hears of it when nothing is left").toBe("none")
        expect(action.report.readyMs).toBeGreaterThanOrEqual(0)
        expect(action.report.elapsedMs).toBeGreaterThanOrEqual(action.report.readyMs)
        return this.event({ type: "decision", decision: this.#decision() })
      case "gone":
        this.gone++
        expect(this.gone, "gone once").toBe(1)
        expect(this.life).toBe("none")
        return
      case "save":
      case "signal":
      case "forgive":
        return
    }
  }

  #decision(): Decision {
    if (this.leaving || this.holding) return { _tag: this.state.spec.restart === "temporary" ? "Done" : "Leave" }
    return this.decisions.shift() ?? { _tag: "Done" }
  }

  #append(entry: TranscriptEntry): void {
    this.entries.push(entry)
    expect(entry.seq, "seq has no gaps").toBe(this.entries.length)
    if (entry.type === "status") this.#enter(entry.status)
    if (entry.type === "permission/requested") {
      expect(this.life, "who asks lives").not.toBe("none")
      this.permissions.add(entry.request)
    }
    if (entry.type === "permission/resolved") {
      expect(this.permissions.delete(entry.request), `${entry.request} is resolved once`).toBe(true)
    }
    if (entry.type === "turn/started") {
      expect(this.life, "a turn starts on a living process").toBe("running")
      expect(this.ending).toBe(false)
      expect(this.#status, "a turn starts when ready").toBe("ready")
      expect(this.submitted.get(entry.turn!)!.accepted, "accepted first").toBe(1)
      this.#status = "busy"
    }
    if (entry.type === "turn/ended" && this.running.delete(entry.turn!) && this.#status === "busy")
      this.#status = "ready"
    if (entry.type === "turn/started") {
      expect(this.running.size, "one at a time").toBe(0)
      this.running.add(entry.turn!)
    }
    if (entry.type === "note" && entry.turn !== undefined && this.running.delete(entry.turn)) this.#status = "ready"
    if (entry.type === "turn/delta") expect(entry.turn, "a delta belongs to a turn").toBeDefined()
  }

  #enter(status: SessionStatus): void {
    if (this.#recovering && ["suspended", "stopped", "backoff"].includes(status)) {
      this.#status = status
      return
    }
    expect(edges[this.#status], `${this.#status} → ${status}`).toContain(status)
    this.#status = status
  }

  #check(event: SessionEvent): void {
    if (this.gone > 0) expect(this.tag).toBe("Gone")
    else expect(this.status, `the transcript tells the status (after ${event.type})`).toBe(this.#status)
    for (const { what, answers } of this.asked) {
      expect(answers.length, `${what} is answered at most once`).toBeLessThanOrEqual(1)
    }
    const { phase } = this.state
    if (phase._tag === "Busy") expect([...this.running]).toEqual([phase.running.turn.id])
    else expect(this.running.size).toBe(0)
    // What is held waits for the next runtime.
    const asleep = phase._tag === "Suspended" && phase.by !== "runtime" && !this.state.queue.isHeld
    if (asleep) expect(Mailbox.everything(this.state.queue), "nobody sleeps over a turn").toEqual([])
    if (["Suspended", "Stopped", "Failed", "Gone", "Backoff", "Parked"].includes(this.tag)) {
      expect(this.life, `${this.tag} has no process`).toBe("none")
    }
    expect(this.state.requests.map(({ request }) => request)).toEqual([...this.permissions])
    if (this.life === "none") expect(this.permissions.size, "nobody asks leave who is gone").toBe(0)
    if (this.life === "none") expect(["Starting", "Ready", "Busy", "Ending"]).not.toContain(this.tag)
    const due = nextDeadline(this.state)
    if (due !== null) expect(Number.isFinite(due)).toBe(true)
  }

  /** Lets process, clock and supervisor do what they would do by themselves, until nothing moves any more. */
  rest(): void {
    for (let i = 0; i < 400; i++) {
      if (this.life === "spawning") this.ending ? this.closed() : this.spawned()
      else if (this.life === "exited") this.closed()
      else if (this.life === "running" && this.ending) this.die("SIGKILL")
      else if (this.tag === "Busy") this.say("answer")
      else if (this.state.phase._tag === "Ready" && this.state.queue.items.size > 0 && !this.state.queue.isHeld) {
        const { exit, eofAt } = this.state.phase.process
        expect(exit !== null || eofAt !== null, "a process that can answer gets the next turn").toBe(true)
        this.die()
      } else if (this.tag === "Backoff") this.tick(Math.max(0, nextDeadline(this.state)! - this.now))
      else if (this.tag === "Parked" && !this.leaving && !this.holding) this.supervisorWish("release")
      else return
    }
    expect.fail(`does not come to rest in ${this.tag}`)
  }

  /** What must hold once the session was stopped and came to rest. */
  finish(): void {
    this.rest()
    // Only a runtime that goes on can stop it.
    if (this.leaving || this.holding) {
      this.loseRuntime()
      this.rest()
    }
    this.wish("stop")
    this.rest()
    expect(["Stopped", "Failed", "Gone"]).toContain(this.tag)
    for (const { what, answers } of this.asked) expect(answers.length, `${what} is answered`).toBe(1)
    for (const [id, { accepted, refused, ended, withdrawn }] of this.submitted) {
      expect(accepted + refused, `${id} is accepted or refused`).toBe(withdrawn ? 0 : 1)
      expect(ended.length, `${id} ends if it was accepted`).toBe(accepted)
    }
  }

  static readonly fallen = new RestartIntensityReached({
    session: "s",
    supervisor: "root/s",
    maxRestarts: 0,
    withinMs: 1_000,
  })

  /** Intensity reached. */
  static readonly giveUp: Decision = {
    _tag: "GiveUp",
    error: new RestartIntensityReached({ session: "s", maxRestarts: 5, withinMs: 60_000 }),
  }
}
