/**
 * The supervisor of sessions: one_for_one, any number, each with an intensity of its own. It owns the slots (restart
 * history, names) and starts, finds and stops actors; what a session does is the actor's business. Starting or stopping
 * one never waits for another.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { SessionActor } from "../actors/SessionActor.ts"
import type { Decision, ExitReport } from "../actors/SessionEvent.ts"
import type { HostedSession, Launch, SessionHost } from "../actors/SessionHost.ts"
import { initialState, processOf, statusOf } from "../actors/SessionState.ts"
import { untilAnswered } from "../actors/StoreRetry.ts"
import {
  Draining,
  type LimitReached,
  type RuntimeError,
  type SpawnFailed,
  type StoreUnavailable,
  Unsupported,
} from "../domain/Errors.ts"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { Ids, SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import { sameSpec, type SessionSpecInput } from "../domain/SessionSpec.ts"
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
import { broughtBack, isEnding, whenRemoved, type Slot } from "./Slot.ts"
import { admit, type Admitted } from "./SpecAdmission.ts"
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

/** A session as a start that found it answers it: once it is ready, where it is on its way there. */
const standing = ({ actor }: Slot): Effect.Effect<Session, RuntimeError> => {
  const { phase } = actor.state
  const starts = statusOf(phase) === "starting" || statusOf(phase) === "authenticating" || phase._tag === "Stopped"
  return starts ? actor.request((reply) => ({ type: "resume", reply })) : Effect.succeed(actor.snapshot())
}

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
  readonly #listeners = new Set<Listener>()
  readonly #removing = new Set<Slot>()
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

  start(input: SessionSpecInput, ifExists: "fail" | "return"): Effect.Effect<Session, RuntimeError> {
    return Effect.flatMap(this.#admit(input), (admitted) =>
      // A caller that goes away between the taking of the name and the reply must not leave a session behind.
      Effect.uninterruptibleMask((restore) => this.#begin(admitted, ifExists, null, restore)),
    )
  }

  #admit(input: SessionSpecInput): Effect.Effect<Admitted, RuntimeError> {
    return admit(
      input,
      () => this.register.generateName(),
      (path) => this.register.tree.find(path) !== undefined,
    )
  }

  /** A new session that goes on from where this one's conversation stands. */
  fork({ actor }: Slot, name?: string): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend((): Effect.Effect<Session, RuntimeError> => {
      const { spec, protocol, conversation } = actor.state
      const cannot = (detail: string) => Effect.fail(new Unsupported({ what: "session/fork", detail }))
      if (protocol.canFork !== true) return cannot(`the protocol ${protocol.name} has no way to fork a conversation`)
      if (conversation === null) return cannot(`session ${actor.name} has no conversation yet; ask it something first`)
      // A task belongs to one session.
      const forked = { spec: { ...spec, name: name ?? this.register.generateName(), task: null }, protocol }
      return Effect.uninterruptibleMask((restore) => this.#begin(forked, "fail", conversation, restore))
    })
  }

  /**
   * A session that has to be there: started where there is none of its name, brought back where it does not run. Where it
   * exists with another spec, this one counts from now on; what runs by the old one is replaced.
   */
  configure(input: SessionSpecInput): Effect.Effect<Session, RuntimeError> {
    return Effect.flatMap(this.#admit(input), (admitted) => Effect.gen(() => this.#configure(admitted)))
  }

  *#configure(admitted: Admitted): Effect.fn.Return<Session, RuntimeError> {
    const { spec, protocol } = admitted
    const found = yield* Effect.result(this.register.find(spec.name))
    if (found._tag === "Failure") {
      if (found.failure._tag !== "SessionNotFound") return yield* Effect.fail(found.failure)
      return yield* Effect.uninterruptibleMask((restore) => this.#begin(admitted, "return", null, restore))
    }
    const slot = found.success
    const { actor } = slot
    if (actor.name === spec.name && !sameSpec(spec, actor.state.spec)) {
      if (processOf(actor.state.phase) !== null) yield* actor.request((reply) => ({ type: "suspend", reply }))
      yield* this.register.rename(
        slot,
        spec,
        actor.request((reply) => ({ type: "respec", spec, protocol, reply })),
      )
    }
    return yield* this.bringBack(slot, "resume")
  }

  #begin(
    admitted: Admitted,
    ifExists: "fail" | "return",
    forkedFrom: string | null,
    restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>,
  ): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend(() => {
      // From the look at the names to their taking, nothing else may come between.
      const prior = this.#admission(admitted, ifExists)
      if (prior !== undefined) {
        if ("_tag" in prior) return Effect.fail(prior)
        if (!isEnding(prior)) return restore(standing(prior))
        return Effect.andThen(restore(prior.actor.recorded), this.#begin(admitted, ifExists, forkedFrom, restore))
      }
      const { spec, protocol } = admitted
      const state = initialState(this.#options.ids.session(), spec, protocol, this.now(), this.clock.skewMs())
      const slot = this.register.seat({ ...state, forkedFrom }, noHistory)
      const { actor } = slot
      this.register.giveName(slot)
      return restore(actor.request((reply) => ({ type: "start", reply }))).pipe(
        Effect.tap(() => Effect.sync(() => this.#options.log.started(actor))),
        // A caller that goes away must not leave a session behind that it never learnt of.
        Effect.onInterrupt(() => Effect.ignore(actor.request((reply) => ({ type: "remove", reply })))),
        Effect.onError(() => whenRemoved(slot)),
      )
    })
  }

  /** The session that is there already and was asked for; undefined: the way is free. */
  #admission(admitted: Admitted, ifExists: "fail" | "return"): Slot | RuntimeError | undefined {
    if (this.draining) return new Draining({ detail: "the runtime is shutting down; it starts nothing more" })
    const taken = this.register.taken(admitted.spec)
    const { supervisor, name } = admitted.spec
    if (taken === undefined) return this.supervisors.refusal(supervisor, name)
    if (ifExists === "fail") return taken.error
    const { spec } = taken.slot.actor.state
    return this.supervisors.refusal(spec.supervisor, spec.name) ?? taken.slot
  }

  /** Brings a session back, also one that was over with: its name may be another's by now. */
  bringBack(slot: Slot, wish: "resume" | "restart"): Effect.Effect<Session, RuntimeError> {
    return Effect.uninterruptibleMask((restore): Effect.Effect<Session, RuntimeError> => {
      if (this.draining) return Effect.fail(new Draining({ detail: "the runtime is shutting down" }))
      const { spec } = slot.actor.state
      const taken = this.register.taken(spec, slot)
      if (taken !== undefined) return Effect.fail(taken.error)
      const refusal = this.supervisors.refusal(spec.supervisor, spec.name)
      if (refusal !== undefined) return Effect.fail(refusal)
      this.register.giveName(slot)
      // Its supervisor may have been started anew since.
      this.register.tree.join(slot)
      slot.finished = false
      return broughtBack(slot, (reply) => ({ type: wish, reply }), restore)
    })
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
    slot.finished = decision._tag === "Done" && spec.restart === "transient" && report.normal
    if (decision._tag !== "Restart") return decision
    counters.restarts++
    this.#options.log.restarts(slot.actor, decision.attempt, decision.delayMs)
    return this.supervisors.crashed(slot, decision)
  }

  /** A client ends it: nobody but a client starts it again. */
  stop(slot: Slot, mode: "graceful" | "kill"): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend(() => {
      const stays = () => {
        slot.finished = false
      }
      stays()
      const stopped = slot.actor.request((reply) => ({ type: "stop", brutal: mode === "kill", reply }))
      // It may have finished by itself before it heard of the stop.
      return Effect.tap(stopped, () => Effect.sync(stays))
    })
  }

  /** The session is gone: nothing of it stays. */
  gone(session: HostedSession, cause: "startFailed" | "removed"): void {
    const { id } = session.state
    if (cause === "removed") this.#options.log.removed(session)
    const { config, directories, store, run } = this.#options
    const slot = this.register.byId(id)
    if (slot === undefined) return
    this.register.leave(slot)
    this.#storeTroubles.delete(id)
    this.#listeners.forEach((listener) => listener(id, true))
    const removed = (slot.removed = Deferred.makeUnsafe<void>())
    this.#removing.add(slot)
    run(
      // A caller that gave up its start hears last, and from the actor itself.
      Effect.yieldNow.pipe(
        Effect.andThen(Effect.suspend(() => Effect.all(slot.farewells ?? [], { discard: true }))),
        Effect.andThen(Effect.ignore(untilAnswered(store.remove(id), { isOver: () => this.hurried }))),
        Effect.andThen(directories.remove(config.dataDirectory, id)),
        Effect.andThen(slot.actor.close()),
        Effect.ensuring(
          Effect.sync(() => {
            this.register.forgotten(id)
            this.#removing.delete(slot)
            Deferred.doneUnsafe(removed, Effect.void)
          }),
        ),
      ),
    )
  }

  /** Ends the actors of a runtime whose sessions have all been stopped, once those that are being removed are gone. */
  close(): Effect.Effect<void> {
    const together = { concurrency: "unbounded", discard: true } as const
    return Effect.suspend(() => {
      const removed = Effect.forEach([...this.#removing], whenRemoved, together)
      // A store that does not answer keeps nobody.
      return this.#removing.size === 0 ? Effect.void : Effect.asVoid(Effect.timeoutOption(removed, storePatienceMs))
    }).pipe(
      Effect.andThen(
        Effect.suspend(() => Effect.forEach(this.register.close(), ({ actor }) => actor.close(), together)),
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
