/**
 * The supervisor of sessions: one_for_one, any number, each with an intensity of its own. It owns the slots (restart
 * history, names) and starts, finds and stops actors; what a session does is the actor's business. Starting or stopping
 * one never waits for another.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { Registry } from "../actors/Registry.ts"
import { SessionActor } from "../actors/SessionActor.ts"
import type { Decision, ExitReport } from "../actors/SessionEvent.ts"
import type { HostedSession, SessionHost } from "../actors/SessionHost.ts"
import { isOpen, storedState } from "../actors/SessionRecovery.ts"
import { initialState, processOf, resumptionOf, statusOf, type SessionState } from "../actors/SessionState.ts"
import { untilAnswered } from "../actors/StoreRetry.ts"
import {
  Draining,
  type LimitReached,
  SessionNotFound,
  SpawnFailed,
  type StoreUnavailable,
  Unsupported,
  type RuntimeError,
} from "../domain/Errors.ts"
import type { Ids, SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionSpecInput } from "../domain/SessionSpec.ts"
import type { RecoverableSession, SessionStore } from "../domain/SessionStore.ts"
import type { TerminalTurnStatus, Turn } from "../domain/Turn.ts"
import type { Command } from "../process/Command.ts"
import { childEnvironment } from "../process/Environment.ts"
import { ProcessCount } from "../process/ProcessCount.ts"
import type { Spawner } from "../process/Subprocess.ts"
import { protocolFor } from "../protocols/ProtocolFor.ts"
import { keep, takeUp } from "./KeptHistory.ts"
import { LiveSessions, residentOf } from "./LiveSessions.ts"
import { neverBegan, sameSpec, withTextSoFar } from "./Recovery.ts"
import { decide, noHistory, wantsRestart, type RestartHistory } from "./RestartPolicy.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import { SessionNames } from "./SessionNames.ts"
import type { Slot } from "./Slot.ts"
import { fullBucket, takeToken, type SpawnBucket } from "./SpawnBucket.ts"
import { TurnDurations } from "./TurnDurations.ts"
import * as SessionDirectories from "./SessionDirectories.ts"
import { admit, type Admitted } from "./SpecAdmission.ts"

/** How long the last stop goes strictly one after the other, before the rest are told all at once (ms). */
const orderedStopMs = 5_000

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
  readonly spawner: Spawner["Service"]
  readonly ids: Ids
  readonly clock: Clock.Clock
  readonly random: () => number
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
  /** Of completed turns. */
  readonly durations = new TurnDurations()
  draining = false
  readonly store: SessionStore["Service"]
  readonly spawner: Spawner["Service"]
  readonly #options: SupervisorOptions
  readonly #slots = new Registry<SessionId, Slot>()
  readonly #names = new SessionNames()
  readonly #listeners = new Set<Listener>()
  readonly #live: LiveSessions
  /** Brings the steady clock near the wall clock, so that its times mean something to a reader. */
  readonly #origin: number
  #stoppingSince: number | undefined
  /** Removed, and not yet from the store. */
  readonly #leaving = new Set<SessionId>()
  #bucket: SpawnBucket

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.store = options.store
    this.spawner = options.spawner
    this.#origin = 0
    this.#origin = this.wall() - this.now()
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

  /** A clock that no correction of the wall clock moves (ms): for everything that has to pass. */
  now(): number {
    return this.#origin + Math.floor(Number(this.#options.clock.monotonicTimeNanosUnsafe()) / 1e6)
  }

  /** The time of day, for the record. */
  wall(): number {
    return this.#options.clock.currentTimeMillisUnsafe()
  }

  /** In order of their creation. */
  slots(): ReadonlyArray<Slot> {
    return [...this.#slots.values()]
  }

  /** By id, or else by name: the newest session that has it. */
  whereIs(ref: string): Slot | undefined {
    return this.#slots.whereIs(ref as SessionId) ?? this.#names.whereIs(ref)
  }

  /** The same, also for one that is only on record: it was over with before this runtime began, or had lent its name. */
  find(ref: string): Effect.Effect<Slot, RuntimeError> {
    return Effect.suspend(() => {
      const slot = this.whereIs(ref)
      return slot === undefined ? this.#recall(ref) : Effect.succeed(slot)
    })
  }

  #recall(ref: string): Effect.Effect<Slot, RuntimeError> {
    const { store } = this
    return Effect.gen({ self: this }, function* () {
      const found = (yield* store.session(ref as SessionId)) ?? (yield* store.find(ref))
      const record = found === undefined ? undefined : yield* store.recover(found.id)
      // What came between the questions counts.
      const slot = this.whereIs(ref) ?? (record === undefined ? undefined : this.#slots.whereIs(record.session.id))
      if (slot !== undefined) {
        this.#names.giveFree(slot)
        return slot
      }
      if (record === undefined || this.#leaving.has(record.session.id)) {
        return yield* new SessionNotFound({ session: ref })
      }
      return this.#seat(yield* this.#stateOf(record), takeUp(record.history, this.wall() - this.now()))
    })
  }

  #stateOf({ session }: RecoverableSession): Effect.Effect<SessionState, Unsupported> {
    return Effect.suspend(() => {
      const protocol = protocolFor(session.spec.protocol)
      const now = this.now()
      if (protocol !== undefined) return Effect.succeed(storedState(session, protocol, now, this.wall() - now))
      const detail = `session ${session.name} was made by a build that speaks ${session.spec.protocol.type}; this one does not`
      return Effect.fail(new Unsupported({ what: "protocol", detail }))
    })
  }

  #seat(state: SessionState, history: RestartHistory): Slot {
    const actor = new SessionActor(this, state)
    const slot = { actor, history, returning: 0, farewells: undefined, removed: undefined }
    this.#slots.register(actor.id, slot)
    this.#names.giveFree(slot)
    return slot
  }

  /**
   * Takes up what the runtime before this one left: every session that should live, as it was; what its end left open is
   * settled, and what has to run is started. Returns when all of that is on record, not when it runs.
   */
  recover(): Effect.Effect<void, StoreUnavailable> {
    const { store } = this
    return Effect.gen({ self: this }, function* () {
      this.#names.goOnFrom((yield* store.counts(this.wall())).created)
      const open: Array<Effect.Effect<void>> = []
      for (const record of yield* store.recoverable) {
        const { session, openTurns, history } = record
        if (neverBegan(record)) {
          yield* store.remove(session.id)
          continue
        }
        const state = yield* Effect.result(this.#stateOf(record))
        if (state._tag === "Failure") {
          yield* Effect.logError(state.failure.message)
          continue
        }
        const { actor } = this.#seat(state.success, takeUp(history, this.wall() - this.now()))
        if (isOpen(state.success, openTurns)) open.push(this.#settle(actor, record))
        else if (state.success.expiresAt !== null) actor.post({ type: "tick" })
      }
      yield* Effect.forEach(open, (settle) => settle, { concurrency: "unbounded", discard: true })
    })
  }

  #settle(actor: SessionActor, { session, openTurns }: RecoverableSession): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const turns = yield* Effect.forEach(openTurns, (turn) => withTextSoFar(this.store, turn))
      const starts = session.spec.restart === "permanent" || turns.some(({ status }) => status === "queued")
      const delayMs = starts ? this.#queueForSpawn() : 0
      yield* Effect.ignore(
        actor.request((reply) => ({ type: "recover", record: session, openTurns: turns, delayMs, reply })),
      )
    })
  }

  /** A place in the queue for spawns, and how long it is (ms). */
  #queueForSpawn(): number {
    const { bucket, delayMs } = takeToken(this.#bucket, this.#options.config.restarts, this.now())
    this.#bucket = bucket
    return delayMs
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  start(input: SessionSpecInput, ifExists: "fail" | "return"): Effect.Effect<Session, RuntimeError> {
    return Effect.gen({ self: this }, function* () {
      const admitted = yield* admit(input, () => this.#names.generate())
      // A caller that goes away between the taking of the name and the reply must not leave a session behind.
      return yield* Effect.uninterruptibleMask((restore) => this.#begin(admitted, ifExists, null, restore))
    })
  }

  /** A new session that goes on from where this one's conversation stands. */
  fork({ actor }: Slot, name?: string): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend((): Effect.Effect<Session, RuntimeError> => {
      const { spec, protocol, conversation } = actor.state
      const cannot = (detail: string) => Effect.fail(new Unsupported({ what: "session/fork", detail }))
      if (protocol.canFork !== true) return cannot(`the protocol ${protocol.name} has no way to fork a conversation`)
      if (conversation === null) return cannot(`session ${actor.name} has no conversation yet; ask it something first`)
      // A task belongs to one session.
      const forked = { spec: { ...spec, name: name ?? this.#names.generate(), task: null }, protocol }
      return Effect.uninterruptibleMask((restore) => this.#begin(forked, "fail", conversation, restore))
    })
  }

  /**
   * A session that has to be there: started where there is none of its name, brought back where it does not run. Where it
   * exists with another spec, this one counts from now on; what runs by the old one is replaced.
   */
  configure(input: SessionSpecInput): Effect.Effect<Session, RuntimeError> {
    return Effect.gen({ self: this }, function* () {
      const { spec, protocol } = yield* admit(input, () => this.#names.generate())
      const found = yield* Effect.result(this.find(spec.name))
      if (found._tag === "Failure") {
        if (found.failure._tag !== "SessionNotFound") return yield* Effect.fail(found.failure)
        return yield* this.start(input, "return")
      }
      const slot = found.success
      const { actor } = slot
      if (actor.name === spec.name && !sameSpec(spec, actor.state.spec)) {
        if (processOf(actor.state.phase) !== null) yield* actor.request((reply) => ({ type: "suspend", reply }))
        this.#names.takeBack(slot)
        yield* Effect.ensuring(
          actor.request((reply) => ({ type: "respec", spec, protocol, reply })),
          Effect.sync(() => this.#names.giveFree(slot)),
        )
      }
      return yield* this.bringBack(slot, "resume")
    })
  }

  #begin(
    admitted: Admitted,
    ifExists: "fail" | "return",
    forkedFrom: string | null,
    restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>,
  ): Effect.Effect<Session, RuntimeError> {
    return Effect.gen({ self: this }, function* () {
      // From the look at the names to their taking, nothing else may come between.
      const prior = this.#admission(admitted, ifExists)
      if (prior !== undefined) {
        if ("_tag" in prior) return yield* Effect.fail(prior)
        return yield* restore(standing(prior))
      }
      const now = this.now()
      const state = initialState(this.#options.ids.session(), admitted.spec, admitted.protocol, now, this.wall() - now)
      const slot = this.#seat({ ...state, forkedFrom }, noHistory)
      const { actor } = slot
      this.#names.give(slot)
      return yield* restore(actor.request((reply) => ({ type: "start", reply }))).pipe(
        // A caller that goes away must not leave a session behind that it never learnt of.
        Effect.onInterrupt(() => Effect.ignore(actor.request((reply) => ({ type: "remove", reply })))),
        Effect.onError(() => Effect.promise(() => slot.removed ?? Promise.resolve())),
      )
    })
  }

  /** The session that is there already and was asked for; undefined: the way is free. */
  #admission(admitted: Admitted, ifExists: "fail" | "return"): Slot | RuntimeError | undefined {
    if (this.draining) return new Draining({ detail: "the runtime is shutting down; it starts nothing more" })
    const taken = this.#names.taken(admitted.spec, this.#slots)
    if (taken === undefined) return undefined
    return ifExists === "fail" ? taken.error : taken.slot
  }

  /** Brings a session back, also one that was over with: its name may be another's by now. */
  bringBack(slot: Slot, wish: "resume" | "restart"): Effect.Effect<Session, RuntimeError> {
    return Effect.suspend((): Effect.Effect<Session, RuntimeError> => {
      if (this.draining) return Effect.fail(new Draining({ detail: "the runtime is shutting down" }))
      const taken = this.#names.taken(slot.actor.state.spec, this.#slots, slot)
      if (taken !== undefined) return Effect.fail(taken.error)
      this.#names.give(slot)
      slot.returning++
      return Effect.ensuring(
        slot.actor.request((reply) => ({ type: wish, reply })),
        Effect.sync(() => slot.returning--),
      )
    })
  }

  command(session: HostedSession): Effect.Effect<Command, SpawnFailed | LimitReached> {
    const { config } = this.#options
    const slot = this.#slots.whereIs(session.state.id)
    const place = slot === undefined ? Effect.void : this.#live.acquire(residentOf(slot.actor))
    return Effect.flatMap(place, () => {
      // As it is by now: it may have waited long.
      const { state } = session
      const { id, spec, protocol } = state
      const from = resumptionOf(state)
      const resumeArgs = from === null ? undefined : protocol.resumeArgs?.(from)
      let directories: SessionDirectories.OwnDirectories
      try {
        directories = SessionDirectories.make(config.dataDirectory, id, spec.cwd)
      } catch (error) {
        const { code = "EIO", message } = error as NodeJS.ErrnoException
        const detail = `the session's own directory cannot be made: ${message}`
        return Effect.fail(new SpawnFailed({ command: spec.command, field: "cwd", errno: code, detail }))
      }
      return Effect.succeed({
        session: id,
        command: spec.command,
        args: resumeArgs === undefined ? spec.args : [...spec.args, ...resumeArgs],
        cwd: directories.cwd,
        env: childEnvironment(spec.inheritEnv, spec.env, config.environment, {
          CRECHE_RUNTIME: config.marker,
          CRECHE_SESSION: id,
          TMPDIR: directories.temporary,
        }),
        shutdown: spec.shutdown,
        containment: spec.containment,
      })
    })
  }

  run(effect: Effect.Effect<unknown>): Fiber.Fiber<unknown> {
    return this.#options.run(effect)
  }

  history({ state: { id, skewMs } }: HostedSession): unknown {
    return keep(this.#slots.whereIs(id)?.history ?? noHistory, skewMs)
  }

  forgive({ state: { id } }: HostedSession): void {
    const slot = this.#slots.whereIs(id)
    if (slot !== undefined) slot.history = noHistory
  }

  vacated({ state: { id } }: HostedSession): void {
    this.#live.release(id)
  }

  rested(): void {
    this.#live.rested()
  }

  spawning(): void {
    this.counters.spawns++
  }

  turnEnded(_session: HostedSession, turn: Turn): void {
    const { status, startedAt, endedAt } = turn
    this.counters.turns[status as TerminalTurnStatus]++
    if (status === "completed" && startedAt !== null && endedAt !== null) this.durations.add(endedAt - startedAt)
  }

  committed({ state: { id } }: HostedSession): void {
    if (this.#listeners.size === 0 || this.#slots.whereIs(id) === undefined) return
    for (const listener of this.#listeners) listener(id, false)
  }

  supervise({ state: { id } }: HostedSession, report: ExitReport): Decision {
    const slot = this.#slots.whereIs(id)
    if (slot === undefined) return { _tag: "Done" }
    const { counters } = this
    const { config, random } = this.#options
    const now = this.now()
    if (!report.normal) counters.crashes++
    const { spec } = slot.actor.state
    if (this.draining) return { _tag: config.durable && wantsRestart(spec.restart, report.normal) ? "Leave" : "Done" }
    const { history, decision } = decide(spec, slot.history, report, now, random(), () => this.#queueForSpawn())
    slot.history = history
    if (decision._tag === "GiveUp") counters.gaveUp++
    if (decision._tag === "Restart") counters.restarts++
    return decision
  }

  /** The session is gone: nothing of it stays. */
  gone({ state: { id } }: HostedSession): void {
    const { store, run } = this.#options
    const slot = this.#slots.whereIs(id)
    if (slot === undefined) return
    this.#slots.unregister(id, slot)
    this.#names.takeBack(slot)
    this.#leaving.add(id)
    this.#listeners.forEach((listener) => listener(id, true))
    const directories = () => SessionDirectories.remove(this.#options.config.dataDirectory, id)
    slot.removed = new Promise((resolve) => {
      run(
        // A caller that gave up its start hears last, and from the actor itself.
        Effect.yieldNow.pipe(
          Effect.andThen(Effect.suspend(() => Effect.all(slot.farewells ?? [], { discard: true }))),
          Effect.andThen(Effect.ignore(untilAnswered(store.remove(id), { isOver: () => this.hurried }))),
          Effect.andThen(Effect.ignore(Effect.tryPromise(directories))),
          Effect.andThen(slot.actor.close()),
          Effect.ensuring(
            Effect.sync(() => {
              this.#leaving.delete(id)
              resolve()
            }),
          ),
        ),
      )
    })
  }

  /** Waits until no turn runs any more, at most `drainMs`. */
  drained(drainMs: number): Effect.Effect<void> {
    const busy = () => this.slots().some(({ actor }) => statusOf(actor.state.phase) === "busy")
    return Effect.callback<void>((resume) => {
      if (!busy()) return resume(Effect.void)
      const unlisten = this.listen(() => {
        if (!busy()) resume(Effect.void)
      })
      return Effect.sync(unlisten)
    }).pipe(Effect.timeoutOption(drainMs), Effect.asVoid)
  }

  /** Ends the actors of a runtime whose sessions have all been stopped. */
  close(): Effect.Effect<void> {
    return Effect.forEach(this.slots(), ({ actor }) => actor.close(), { concurrency: "unbounded", discard: true })
  }

  /**
   * Ends every session's process in reverse order of start, each gone before the next is told; once that has taken
   * `orderedStopMs`, the rest are told together. A durable runtime's sessions are suspended, others stopped. Returns the
   * pids that could not be killed.
   */
  stopAll(): Effect.Effect<ReadonlyArray<number>> {
    return Effect.gen({ self: this }, function* () {
      this.draining = true
      this.#stoppingSince = this.now()
      const { durable } = this.#options.config
      const until = this.now() + orderedStopMs
      const rest = this.slots().toReversed()
      const stop = ({ actor }: Slot) =>
        Effect.ignore(
          actor.request((reply) => (durable ? { type: "leave", reply } : { type: "stop", brutal: false, reply })),
        )
      while (rest.length > 0) {
        const left = until - this.now()
        if (left <= 0) break
        // An unfinished stop goes on by itself and is joined below.
        const done = yield* stop(rest[0]!).pipe(Effect.timeoutOption(left))
        if (done._tag === "Some") rest.shift()
      }
      yield* Effect.forEach(rest, stop, { concurrency: "unbounded", discard: true })
      return this.slots().flatMap(({ actor }) => actor.state.survivors)
    })
  }
}
