/**
 * The supervisor of sessions: one_for_one, any number, each with an intensity of its own. It owns the slots (restart
 * history, names) and starts, finds and stops actors; what a session does is the actor's business. Starting or stopping
 * one never waits for another.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { SessionActor } from "../actors/SessionActor.ts"
import type { Decision, ExitReport } from "../actors/SessionEvent.ts"
import type { HostedSession, Launch, SessionHost } from "../actors/SessionHost.ts"
import { type LimitReached, type RuntimeError, type SpawnFailed, type StoreUnavailable } from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { Ids, SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionStore } from "../domain/SessionStore.ts"
import type { SupervisorStore } from "../domain/SupervisorStore.ts"
import type { TerminalTurnStatus, Turn } from "../domain/Turn.ts"
import { fullBucket, takeTokens, type TokenBucket } from "../domain/TokenBucket.ts"
import { ProcessCount } from "../process/ProcessCount.ts"
import type { Spawner } from "../process/Subprocess.ts"
import type { HostAnswer, HostCall } from "../protocols/HostCall.ts"
import type { Draws } from "./Chance.ts"
import { performCall } from "./AgentFiles.ts"
import { keep } from "./KeptHistory.ts"
import { LiveSessions, SessionResident } from "./LiveSessions.ts"
import type { Meters } from "./Meters.ts"
import { decide, noHistory, wantsRestart } from "./RestartPolicy.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import { launchOf } from "./SessionCommand.ts"
import type { Directories } from "./SessionDirectories.ts"
import type { SessionLog } from "./SessionLog.ts"
import { SessionRegister } from "./SessionRegister.ts"
import { SessionRemovals } from "./SessionRemovals.ts"
import { SessionStarts } from "./SessionStarts.ts"
import { answering, type Slot } from "./Slot.ts"
import { SteadyClock } from "./SteadyClock.ts"
import { Supervisors } from "./Supervisors.ts"
import { UsageTotals } from "./UsageTotals.ts"
import { TurnDurations } from "./TurnDurations.ts"
import { recordOf } from "./TurnTrace.ts"

/** How long the end of the runtime waits for a store that does not answer (ms). */
const storePatienceMs = 2_000

export interface Counters {
  restarts: number
  crashes: number
  gaveUp: number
  spawns: number
  readonly turns: Record<TerminalTurnStatus, number>
}

/** Told of the session whose transcript grew, or that is `gone`. */
export type Listener = (session: SessionId, gone: boolean) => void

export interface SupervisorOptions {
  readonly config: RuntimeOptions
  readonly store: SessionStore["Service"]
  readonly supervisors: SupervisorStore["Service"]
  readonly spawner: Spawner["Service"]
  readonly meters: Meters
  readonly log: SessionLog
  readonly ids: Ids
  readonly clock: Clock.Clock
  readonly chance: Draws
  readonly directories: Directories
  readonly run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>
}

export class SessionSupervisor implements SessionHost {
  readonly counters: Counters = {
    restarts: 0,
    crashes: 0,
    gaveUp: 0,
    spawns: 0,
    turns: { completed: 0, failed: 0, cancelled: 0, timed_out: 0, lost: 0 },
  }
  /** Of ended turns. */
  readonly usage = new UsageTotals()
  /** Of completed turns. */
  readonly durations = new TurnDurations()
  draining = false
  /** What has to be there from the beginning is not there yet. */
  starting: boolean
  readonly store: SessionStore["Service"]
  readonly spawner: Spawner["Service"]
  readonly #options: SupervisorOptions
  readonly clock: SteadyClock
  readonly register: SessionRegister
  readonly supervisors: Supervisors
  readonly starts: SessionStarts
  readonly #listeners = new Set<Listener>()
  readonly #removals: SessionRemovals
  readonly #live: LiveSessions
  readonly #storeTroubles = new Map<SessionId, StoreUnavailable>()
  #stoppingSince: number | undefined
  #bucket: TokenBucket

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.starting = options.config.opensLater
    this.store = options.store
    this.spawner = options.spawner
    this.clock = new SteadyClock(options.clock)
    this.register = new SessionRegister({
      store: this.store,
      clock: this.clock,
      actorOf: (state) => new SessionActor(this, state),
    })
    this.supervisors = new Supervisors({
      store: options.supervisors,
      register: this.register,
      now: () => this.now(),
      wall: () => this.wall(),
      run: options.run,
      hurried: () => this.hurried,
      gaveUp: (node) => {
        this.counters.gaveUp++
        options.log.supervisorGaveUp(node)
      },
    })
    this.starts = new SessionStarts(this, options)
    this.#removals = new SessionRemovals({ ...options, register: this.register, hurried: () => this.hurried })
    this.#bucket = fullBucket(options.config.restarts, this.now())
    const processes = new ProcessCount()
    this.#live = new LiveSessions({
      admission: options.config.admission,
      countProcesses: (leaders) => processes.of(leaders),
      isClosed: () => this.draining,
      later: (ms, callback) => void this.run(Effect.andThen(Effect.sleep(ms), Effect.sync(callback))),
    })
  }

  get hurried(): boolean {
    return this.#stoppingSince !== undefined && this.now() - this.#stoppingSince >= storePatienceMs
  }

  /** The steady clock (ms): for everything that has to pass. */
  now(): number {
    return this.clock.now()
  }

  /** The time of day, for the record. */
  wall(): number {
    return this.clock.wall()
  }

  /** A place in the queue for spawns, and how long it is (ms). */
  queueForSpawn(): number {
    const { bucket, delayMs } = takeTokens(this.#bucket, this.#options.config.restarts, this.now())
    this.#bucket = bucket
    return delayMs
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  launch(session: HostedSession): Effect.Effect<Launch, SpawnFailed | LimitReached> {
    const slot = this.register.byId(session.state.id)
    const place = slot === undefined ? Effect.void : this.#live.acquire(new SessionResident(slot.actor))
    // As it is by then: it may have waited long.
    return Effect.flatMap(place, () => launchOf(session.state, this.#options))
  }

  run(effect: Effect.Effect<unknown>): Fiber.Fiber<unknown> {
    return this.#options.run(effect)
  }

  history({ state: { id, skewMs } }: HostedSession): unknown {
    return keep(this.register.byId(id)?.history ?? noHistory, skewMs)
  }

  forgive({ state: { id } }: HostedSession): void {
    const slot = this.register.byId(id)
    if (slot !== undefined) slot.history = noHistory
  }

  readonly perform = (call: HostCall): Effect.Effect<HostAnswer> => performCall(call)

  vacated({ state: { id } }: HostedSession): void {
    this.#live.release(id)
  }

  rested(): void {
    this.#live.rested()
  }

  /** A second writer of a conversation is stopped: each would undo what the other does. */
  conversed({ state: { id, conversation } }: HostedSession): void {
    const slot = this.register.byId(id)
    const other = slot === undefined ? undefined : this.register.conversations.claim(slot)
    if (slot === undefined || other === undefined) return
    slot.actor.post({ type: "note", text: `the conversation ${conversation} is session ${other.actor.name}'s` })
    this.run(Effect.ignore(slot.actor.request((reply) => ({ type: "stop", brutal: false, reply }))))
  }

  /** Starts that wait for a place among the live sessions. */
  get waitingStarts(): number {
    return this.#live.size.waiting
  }

  /** What the store said to a session that still waits for its answer. */
  get storeTrouble(): StoreUnavailable | undefined {
    return this.#storeTroubles.values().next().value
  }

  storeAnswers({ state: { id } }: HostedSession, trouble: StoreUnavailable | null): void {
    if (trouble === null) this.#storeTroubles.delete(id)
    else this.#storeTroubles.set(id, trouble)
  }

  spawning(session: HostedSession): void {
    this.counters.spawns++
    this.#options.log.spawning(session)
  }

  exited(session: HostedSession, exit: ExitReason): void {
    const code = "code" in exit ? exit.code : "signal" in exit ? exit.signal : undefined
    this.#options.meters.exits.add(`${exit.kind} ${code ?? ""}`)
    this.#options.log.exited(session, exit)
  }

  turnEnded(session: HostedSession, turn: Turn): void {
    const { status, startedAt, endedAt } = turn
    this.counters.turns[status as TerminalTurnStatus]++
    this.#options.log.turnEnded(session, turn)
    const { meters } = this.#options
    meters.onTurn?.(recordOf(session.state, turn, this.wall()))
    if (turn.usage !== null) this.usage.add(session.state.spec.template, turn.usage)
    if (startedAt === null || endedAt === null) return
    meters.queueWait.observe((startedAt - turn.queuedAt) / 1000)
    meters.turnDuration[status as TerminalTurnStatus].observe((endedAt - startedAt) / 1000)
    if (status === "completed") this.durations.add(endedAt - startedAt)
  }

  committed({ state: { id } }: HostedSession): void {
    if (this.#listeners.size === 0 || this.register.byId(id) === undefined) return
    for (const listener of this.#listeners) listener(id, false)
  }

  supervise({ state: { id } }: HostedSession, report: ExitReport): Decision {
    const slot = this.register.byId(id)
    if (slot === undefined) return { _tag: "Done" }
    const { counters } = this
    const { config, chance } = this.#options
    const now = this.now()
    if (!report.normal) counters.crashes++
    const { spec } = slot.actor.state
    if (this.draining) return { _tag: config.durable && wantsRestart(spec.restart, report.normal) ? "Leave" : "Done" }
    const { history, decision } = decide(spec, slot.history, report, now, chance.fraction(), () => this.queueForSpawn())
    slot.history = history
    if (decision._tag === "GiveUp") {
      counters.gaveUp++
      this.#options.log.gaveUp(slot.actor, spec.intensity)
    }
    const byItself = slot.stopping === 0 && spec.restart === "transient" && report.normal
    slot.finished = decision._tag === "Done" && byItself
    if (decision._tag !== "Restart") return decision
    counters.restarts++
    this.#options.log.restarts(slot.actor, decision.attempt, decision.delayMs)
    return this.supervisors.crashed(slot, decision)
  }

  /** A client ends it: nobody but a client starts it again. */
  stop(slot: Slot, mode: "graceful" | "kill"): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend(() => {
      slot.finished = false
      slot.stopping++
      return slot.actor.request((reply) => ({
        type: "stop",
        brutal: mode === "kill",
        reply: answering(reply, () => slot.stopping--),
      }))
    })
  }

  /** The session is gone: nothing of it stays. */
  gone(session: HostedSession, cause: "startFailed" | "removed"): void {
    const { id } = session.state
    if (cause === "removed") this.#options.log.removed(session)
    const slot = this.register.byId(id)
    if (slot === undefined) return
    this.register.leave(slot)
    this.#storeTroubles.delete(id)
    this.#listeners.forEach((listener) => listener(id, true))
    this.#removals.begin(slot)
  }

  /** Ends the actors of a runtime whose sessions have all been stopped, once those that are being removed are gone. */
  close(): Effect.Effect<void> {
    return Effect.andThen(
      this.#removals.settled(storePatienceMs),
      Effect.suspend(() =>
        Effect.forEach(this.register.close(), ({ actor }) => actor.close(), {
          concurrency: "unbounded",
          discard: true,
        }),
      ),
    )
  }

  /** SIGKILL for every process, whatever its session is waiting for. */
  kill(): void {
    this.#stoppingSince = this.now() - storePatienceMs
    for (const { actor } of this.register.slots()) actor.kill()
  }

  /** Ends every session's process and starts none any more. Returns the pids that could not be killed. */
  stopAll(): Effect.Effect<ReadonlyArray<number>> {
    return Effect.suspend(() => {
      this.draining = true
      this.#stoppingSince ??= this.now()
      const { durable } = this.#options.config
      const slots = this.register.slots()
      const end = ({ actor }: Slot) =>
        Effect.ignore(
          // A durable runtime's sessions are suspended, others stopped.
          actor.request((reply) => (durable ? { type: "leave", reply } : { type: "stop", brutal: false, reply })),
        )
      return Effect.map(this.supervisors.endAll(end), () => slots.flatMap(({ actor }) => actor.state.survivors))
    })
  }
}
