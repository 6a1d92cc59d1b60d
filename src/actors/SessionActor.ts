/**
 * The actor of one session: takes in events in batches, lets the pure transition decide, makes the outcome
 * durable, and only then acts on it. It lives as long as the session; processes come and go under it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { SessionNotRunning, type RuntimeError, type SpawnFailed } from "../domain/Errors.ts"
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { SessionStore } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { Command } from "../process/Command.ts"
import type { Spawner } from "../process/Subprocess.ts"
import type { Protocol } from "../protocols/Protocol.ts"
import * as Actor from "./Actor.ts"
import type { ActorRef } from "./ActorRef.ts"
import type { Decision, ExitReport, SessionAction, SessionEvent } from "./SessionEvent.ts"
import {
  initialState,
  nextDeadline,
  toSession,
  type PendingTurn,
  type SessionReply,
  type SessionState,
  type TurnReply,
} from "./SessionState.ts"
import { transition } from "./SessionTransition.ts"
import { SubprocessLink } from "./SubprocessLink.ts"

export interface SessionActorOptions {
  readonly id: SessionId
  readonly spec: SessionSpec
  readonly protocol: Protocol
  readonly store: SessionStore["Service"]
  readonly spawner: Spawner["Service"]
  readonly command: Effect.Effect<Command, SpawnFailed>
  readonly now: () => number
  /** The supervisor's policies: consulted when a process ended that nobody had asked to end. */
  readonly supervise: (report: ExitReport) => Decision
  /** A client started it: past restarts count no more. */
  readonly forgive: () => void
  readonly onSpawn: () => void
  readonly onTurnEnded: (turn: Turn) => void
  /** Something new is stored. */
  readonly onCommit: () => void
  readonly onGone: (cause: "startFailed" | "removed") => void
}

/** Events whose cause is not the session's own process go through here; answers come by the reply in the event. */
export class SessionActor {
  readonly id: SessionId
  readonly #options: SessionActorOptions
  readonly #run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>
  #ref!: ActorRef<SessionEvent>
  #state: SessionState
  #link: SubprocessLink | undefined
  #timer: Fiber.Fiber<unknown> | undefined
  #timerAt = Infinity
  /** Who waits for a turn to be taken in, and who for its end. */
  readonly #accepting = new Map<TurnId, TurnReply>()
  readonly #ending = new Map<TurnId, TurnReply | Array<TurnReply>>()
  #drainWaiters: Array<SessionReply> = []
  #listeners: Set<() => void> | undefined

  private constructor(options: SessionActorOptions, run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>) {
    this.id = options.id
    this.#options = options
    this.#run = run
    this.#state = initialState(options.id, options.spec, options.protocol, options.now())
  }

  static readonly make = Effect.fnUntraced(function* (
    options: SessionActorOptions,
  ): Effect.fn.Return<SessionActor, never, Scope.Scope> {
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const actor = new SessionActor(options, run)
    actor.#ref = yield* Actor.start<SessionEvent>({
      name: options.spec.name,
      // Turns are bounded by the session's own mailbox; what else comes is bounded by the process and by clients.
      mailbox: { capacity: Infinity, overflow: "fail" },
      begin: () => (batch) => actor.#receive(batch),
      onCrash: (defect) => {
        run(Effect.logError("session step failed", defect))
        actor.post({ type: "defect", detail: String(defect) })
        return "restart"
      },
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => actor.#disarm()))
    return actor
  })

  get name(): string {
    return this.#options.spec.name
  }

  get state(): SessionState {
    return this.#state
  }

  snapshot(): Session {
    return toSession(this.#state)
  }

  post(event: SessionEvent): void {
    this.#ref.tellUnsafe(event)
  }

  /** Asks for something that is answered with the session. */
  request(event: (reply: SessionReply) => SessionEvent): Effect.Effect<Session, RuntimeError> {
    return this.#ref.ask<Session, RuntimeError>(event).pipe(Effect.catch((error) => this.#gone(error)))
  }

  cancel(turn: TurnId | null): Effect.Effect<Turn, RuntimeError> {
    return this.#ref
      .ask<Turn, RuntimeError>((reply) => ({ type: "cancel", turn, reply }))
      .pipe(Effect.catch((error) => this.#gone(error)))
  }

  /** A session that was removed under the caller's hands. */
  #gone<E extends { readonly _tag: string }>(error: E): Effect.Effect<never, RuntimeError> {
    return Effect.fail(
      error._tag === "ActorDown"
        ? new SessionNotRunning({ session: this.name, status: "stopped", exit: this.#state.exit })
        : (error as unknown as RuntimeError),
    )
  }

  /** Hands a turn in; answers when it is durable (`accepted`) or when it ended (`ended`). */
  submit(pending: PendingTurn, until: "accepted" | "ended"): Effect.Effect<Turn, RuntimeError> {
    return Effect.callback<Turn, RuntimeError>((resume) => {
      const { id } = pending.turn
      if (until === "ended") this.#ending.set(id, resume)
      this.#accepting.set(id, until === "accepted" ? resume : (exit) => Exit.isFailure(exit) && this.#fail(id, exit))
      this.post({ type: "submit", pending })
      return Effect.sync(() => {
        if (this.#accepting.delete(id)) this.post({ type: "withdraw", turn: id })
        this.#forget(id, resume)
      })
    })
  }

  /** Waits for the end of a turn; `TurnNotFound` where it is not open any more: then the store has its outcome. */
  awaitEnd(turn: TurnId): Effect.Effect<Turn, RuntimeError> {
    return this.#ref
      .ask<Turn, RuntimeError>((reply) => ({ type: "await", turn, reply }))
      .pipe(Effect.catch((error) => this.#gone(error)))
  }

  #awaitEnd(turn: TurnId, reply: TurnReply): void {
    const others = this.#ending.get(turn)
    if (others === undefined) this.#ending.set(turn, reply)
    else if (Array.isArray(others)) others.push(reply)
    else this.#ending.set(turn, [others, reply])
  }

  #forget(turn: TurnId, reply: TurnReply): void {
    const waiting = this.#ending.get(turn)
    if (waiting === reply) this.#ending.delete(turn)
    else if (Array.isArray(waiting)) {
      const index = waiting.indexOf(reply)
      if (index >= 0) waiting.splice(index, 1)
      if (waiting.length === 0) this.#ending.delete(turn)
    }
  }

  #settle(turn: TurnId, exit: Exit.Exit<Turn, RuntimeError>): void {
    const waiting = this.#ending.get(turn)
    if (waiting === undefined) return
    this.#ending.delete(turn)
    if (Array.isArray(waiting)) waiting.forEach((reply) => reply(exit))
    else waiting(exit)
  }

  #fail(turn: TurnId, exit: Exit.Failure<Turn, RuntimeError>): void {
    this.#settle(turn, exit)
  }

  /** Calls back whenever entries were stored. */
  listen(listener: () => void): () => void {
    const listeners = (this.#listeners ??= new Set())
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  #receive(batch: ReadonlyArray<SessionEvent>): Effect.Effect<Actor.Verdict> {
    const keyed = batch.findIndex((event) => event.type === "submit" && event.pending.turn.idempotencyKey !== null)
    if (keyed < 0) return this.#take(batch)
    // The look-up must see what came before it, so what came before is committed first.
    const event = batch[keyed] as Extract<SessionEvent, { readonly type: "submit" }>
    return this.#take(batch.slice(0, keyed)).pipe(
      Effect.flatMap(() => this.#admitOnce(event)),
      Effect.flatMap((events) => this.#take(events)),
      Effect.flatMap((verdict) =>
        keyed + 1 < batch.length ? this.#receive(batch.slice(keyed + 1)) : Effect.succeed(verdict),
      ),
    )
  }

  /** A second turn under the same key is the first one again. */
  #admitOnce(event: Extract<SessionEvent, { readonly type: "submit" }>): Effect.Effect<ReadonlyArray<SessionEvent>> {
    const { id, idempotencyKey } = event.pending.turn
    return this.#options.store.turnByKey(this.id, idempotencyKey!).pipe(
      Effect.retry(storeComesBack),
      Effect.orDie,
      Effect.map((first) => {
        if (first === undefined) return [event]
        const waiting = this.#ending.get(id)
        const accepting = this.#accepting.get(id)
        this.#ending.delete(id)
        this.#accepting.delete(id)
        if (waiting === undefined) accepting?.(Exit.succeed(first))
        else if (isTerminal(first)) [waiting].flat().forEach((reply) => reply(Exit.succeed(first)))
        else [waiting].flat().forEach((reply) => this.#awaitEnd(first.id, reply))
        return []
      }),
    )
  }

  #take(batch: ReadonlyArray<SessionEvent>): Effect.Effect<Actor.Verdict> {
    const plan: Plan = { entries: [], turns: [], actions: [] }
    for (const event of batch) this.#step(event, plan)
    if (plan.entries.length === 0 && plan.turns.length === 0) return Effect.sync(() => this.#perform(plan, false))
    const { store } = this.#options
    return store.commit({ session: this.snapshot(), entries: plan.entries, turns: plan.turns }).pipe(
      // Nothing is acknowledged that is not stored: a session whose store does not answer holds still.
      Effect.retry(storeComesBack),
      Effect.orDie,
      Effect.map(() => this.#perform(plan, true)),
    )
  }

  #step(event: SessionEvent, plan: Plan): void {
    const [state, actions] = transition(this.#state, event, this.#options.now())
    this.#state = state
    for (const action of actions) {
      switch (action.type) {
        case "append":
          plan.entries.push(action.entry)
          break
        case "save":
          plan.turns.push(action.turn)
          break
        case "forgive":
          this.#options.forgive()
          break
        case "supervise":
          this.#step({ type: "decision", decision: this.#options.supervise(action.report) }, plan)
          break
        default:
          plan.actions.push(action)
      }
    }
  }

  #perform(plan: Plan, committed: boolean): Actor.Verdict {
    let input = ""
    let verdict: Actor.Verdict = "continue"
    for (const action of plan.actions) {
      if (action.type === "write" && typeof action.data === "string") {
        // One write for all that a batch has to say.
        input += action.data
        continue
      }
      if (input !== "") {
        this.#link?.write(input)
        input = ""
      }
      if (action.type === "gone") verdict = "stop"
      this.#act(action)
    }
    if (input !== "") this.#link?.write(input)
    if (committed) {
      this.#options.onCommit()
      this.#listeners?.forEach((listener) => listener())
    }
    this.#link?.taken()
    this.#arm()
    return verdict
  }

  #act(action: SessionAction): void {
    switch (action.type) {
      case "accepted": {
        const reply = this.#accepting.get(action.turn.id)
        if (reply === undefined) return
        this.#accepting.delete(action.turn.id)
        return reply(Exit.succeed(action.turn))
      }
      case "refused": {
        const reply = this.#accepting.get(action.turn)
        this.#accepting.delete(action.turn)
        return reply?.(Exit.fail(action.error))
      }
      case "ended":
        this.#options.onTurnEnded(action.turn)
        return this.#settle(action.turn.id, Exit.succeed(action.turn))
      case "await":
        return this.#awaitEnd(action.turn, action.reply)
      case "reply":
        return action.to(action.error === null ? Exit.succeed(this.snapshot()) : Exit.fail(action.error))
      case "replyTurn":
        return action.to(Exit.succeed(action.turn))
      case "replyTurnFailed":
        return action.to(Exit.fail(action.error))
      case "spawn":
        return this.#spawn()
      case "terminate":
        return this.#link?.terminate(action.shutdown)
      case "write": {
        const flushed = this.#link?.write(action.data) ?? true
        if (action.reply === null) return
        if (flushed) action.reply(Exit.succeed(this.snapshot()))
        else this.#drainWaiters.push(action.reply)
        return
      }
      case "signal":
        return this.#link?.signal(action.signal)
      case "gone":
        return this.#options.onGone(action.cause)
      case "append":
      case "save":
      case "forgive":
      case "supervise":
        return
    }
  }

  #spawn(): void {
    const { spawner, command, protocol, spec, onSpawn } = this.#options
    onSpawn()
    this.#drained()
    const link: SubprocessLink = new SubprocessLink({
      spawner,
      command,
      framing: protocol.framing,
      lineBytes: spec.limits.lineBytes,
      // What a process that was replaced still says is nobody's.
      post: (event) => {
        if (this.#link !== link) return
        if (event.type === "closed" || event.type === "spawnFailed") {
          this.#link = undefined
          this.#drained()
        }
        this.post(event)
      },
      onDrain: () => this.#drained(),
      run: this.#run,
    })
    this.#link = link
    link.start()
  }

  #drained(): void {
    if (this.#drainWaiters.length === 0) return
    const waiters = this.#drainWaiters
    this.#drainWaiters = []
    for (const reply of waiters) reply(Exit.succeed(this.snapshot()))
  }

  #disarm(): void {
    this.#timer?.interruptUnsafe()
    this.#timer = undefined
    this.#timerAt = Infinity
  }

  /**
   * Keeps one timer at or before the next deadline. Deadlines mostly move later, so a timer is only replaced
   * by an earlier one; a tick that comes too early finds nothing due and arms the next.
   */
  #arm(): void {
    const due = nextDeadline(this.#state)
    if (due === null) return this.#disarm()
    if (due >= this.#timerAt) return
    this.#disarm()
    this.#timerAt = due
    const delay = Math.min(Math.max(0, due - this.#options.now()), longestTimerMs)
    this.#timer = this.#run(
      Effect.andThen(
        Effect.sleep(delay),
        Effect.sync(() => {
          this.#timer = undefined
          this.#timerAt = Infinity
          this.post({ type: "tick" })
        }),
      ),
    )
  }
}

interface Plan {
  readonly entries: Array<TranscriptEntry>
  readonly turns: Array<Turn>
  readonly actions: Array<SessionAction>
}

/** setTimeout holds 31 bits; a longer one would fire at once. */
const longestTimerMs = 2 ** 31 - 1

const storeComesBack = Schedule.spaced("200 millis")
