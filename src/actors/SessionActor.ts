/**
 * The actor of one session: takes in events in batches, lets the pure transition decide, makes the outcome
 * durable, and only then acts on it. It lives as long as the session; processes come and go under it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import {
  Draining,
  SessionNotRunning,
  type RuntimeError,
  type SpawnFailed,
  type StoreUnavailable,
} from "../domain/Errors.ts"
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
import * as Mailbox from "./Mailbox.ts"
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
import { TurnWaiters } from "./TurnWaiters.ts"

export interface SessionActorOptions {
  readonly id: SessionId
  readonly spec: SessionSpec
  readonly protocol: Protocol
  readonly store: SessionStore["Service"]
  readonly spawner: Spawner["Service"]
  readonly command: Effect.Effect<Command, SpawnFailed>
  /** A clock that no correction moves (ms), for everything that has to pass; `wall` is for the record. */
  readonly now: () => number
  readonly wall: () => number
  /** The runtime is shutting down: nothing is started any more. */
  readonly draining: () => boolean
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
  readonly #accepting = new TurnWaiters()
  readonly #ending = new TurnWaiters()
  /** Turns handed in under a key and not looked up yet: each may turn out to be an earlier one again. */
  #keyed: Map<TurnId, { turn: TurnId }> | undefined
  #drainWaiters: Array<SessionReply> = []
  #listeners: Set<() => void> | undefined

  private constructor(options: SessionActorOptions, run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>) {
    this.id = options.id
    this.#options = options
    this.#run = run
    const now = options.now()
    this.#state = initialState(options.id, options.spec, options.protocol, now, options.wall() - now)
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
    actor.#ref.monitor(() => actor.#abandon())
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
    return Effect.fail(error._tag === "ActorDown" ? this.#notRunning() : (error as unknown as RuntimeError))
  }

  #notRunning(): SessionNotRunning {
    return new SessionNotRunning({ session: this.name, status: "stopped", exit: this.#state.exit })
  }

  /** The actor is down for good: nobody waits for it in vain. */
  #abandon(): void {
    this.#disarm()
    this.#accepting.settleAll(Exit.fail(this.#notRunning()))
    this.#ending.settleAll(Exit.fail(this.#notRunning()))
    this.#drained()
  }

  /** Hands a turn in; answers when it is durable (`accepted`) or when it ended (`ended`). */
  submit(pending: PendingTurn, until: "accepted" | "ended"): Effect.Effect<Turn, RuntimeError> {
    return Effect.callback<Turn, RuntimeError>((resume) => {
      const { id, idempotencyKey } = pending.turn
      const handed = { turn: id }
      if (idempotencyKey !== null) (this.#keyed ??= new Map()).set(id, handed)
      // One that waits for the end waits to be taken in as well, so that it can be withdrawn until then.
      const accepted: TurnReply = until === "accepted" ? resume : () => {}
      this.#accepting.add(id, accepted)
      if (until === "ended") this.#ending.add(id, resume)
      if (this.#ref.tellUnsafe({ type: "submit", pending }) !== undefined) this.#abandon()
      return Effect.sync(() => {
        this.#keyed?.delete(id)
        this.#ending.remove(handed.turn, resume)
        if (this.#accepting.remove(handed.turn, accepted)) this.post({ type: "withdraw", turn: handed.turn })
      })
    })
  }

  /** Waits for the end of a turn; `TurnNotFound` where it is not open any more: then the store has its outcome. */
  awaitEnd(turn: TurnId): Effect.Effect<Turn, RuntimeError> {
    return Effect.suspend(() => {
      let waiting: TurnReply | undefined
      return this.#ref
        .ask<Turn, RuntimeError>((reply) => {
          waiting = reply
          return { type: "await", turn, reply }
        })
        .pipe(
          // Who asks with a timeout again and again must not pile up.
          Effect.onInterrupt(() => Effect.sync(() => waiting !== undefined && this.#ending.remove(turn, waiting))),
          Effect.catch((error) => this.#gone(error)),
        )
    })
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
    return untilAnswered(this.#options.store.turnByKey(this.id, idempotencyKey!)).pipe(
      Effect.map((stored) => {
        const handed = this.#keyed?.get(id)
        this.#keyed?.delete(id)
        const unaccepted = Mailbox.everything(this.#state.queue).find(
          ({ turn }) => turn.firstSeq === 0 && turn.idempotencyKey === idempotencyKey,
        )
        const first = stored ?? unaccepted?.turn
        if (first === undefined) return [event]
        if (stored !== undefined) this.#accepting.settle(id, Exit.succeed(stored))
        else this.#accepting.move(id, first.id)
        if (isTerminal(first)) this.#ending.settle(id, Exit.succeed(first))
        else this.#ending.move(id, first.id)
        if (handed !== undefined) handed.turn = first.id
        return []
      }),
    )
  }

  #take(batch: ReadonlyArray<SessionEvent>): Effect.Effect<Actor.Verdict> {
    const now = this.#options.now()
    const skewMs = this.#options.wall() - now
    if (Math.abs(skewMs - this.#state.skewMs) > noticedSkewMs) this.#state = { ...this.#state, skewMs }
    const actions = batch.length === 1 ? this.#step(batch[0]!, now) : batch.flatMap((event) => this.#step(event, now))
    const entries: Array<TranscriptEntry> = []
    const turns: Array<Turn> = []
    for (const action of actions) {
      if (action.type === "append") entries.push(action.entry)
      else if (action.type === "save") {
        // What a turn was for a moment within the batch, nobody has seen.
        if (turns.at(-1)?.id === action.turn.id) turns[turns.length - 1] = action.turn
        else turns.push(action.turn)
      }
    }
    if (entries.length === 0 && turns.length === 0) return Effect.sync(() => this.#perform(actions, false))
    // Nothing is acknowledged that is not stored: a session whose store does not answer holds still.
    return Effect.map(untilAnswered(this.#options.store.commit({ session: this.snapshot(), entries, turns })), () =>
      this.#perform(actions, true),
    )
  }

  /** Takes the next state over and asks the supervisor where the step wants its word; the rest is for `#perform`. */
  #step(event: SessionEvent, now: number): ReadonlyArray<SessionAction> {
    if (this.#options.draining() && (event.type === "start" || event.type === "resume" || event.type === "restart")) {
      event.reply(Exit.fail(new Draining({ detail: "the runtime is shutting down; it starts nothing more" })))
      return []
    }
    const [state, actions] = this.#decide(event, now)
    this.#state = state
    for (const action of actions) {
      if (action.type === "forgive") this.#options.forgive()
      else if (action.type === "supervise") {
        return [...actions, ...this.#step({ type: "decision", decision: this.#options.supervise(action.report) }, now)]
      }
    }
    return actions
  }

  /** A step that throws has changed nothing: its asker hears of the bug, and what else the batch holds is not lost. */
  #decide(event: SessionEvent, now: number): ReturnType<typeof transition> {
    try {
      return transition(this.#state, event, now)
    } catch (defect) {
      this.#run(Effect.logError("session step failed", defect))
      if ("reply" in event) event.reply(Exit.die(defect))
      if (event.type === "submit") {
        this.#accepting.settle(event.pending.turn.id, Exit.die(defect))
        this.#ending.settle(event.pending.turn.id, Exit.die(defect))
      }
      return transition(this.#state, { type: "defect", detail: String(defect) }, now)
    }
  }

  #perform(actions: ReadonlyArray<SessionAction>, committed: boolean): Actor.Verdict {
    let input = ""
    let verdict: Actor.Verdict = "continue"
    for (const action of actions) {
      if (action.type === "append" || action.type === "save") continue
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
      case "accepted":
        return this.#accepting.settle(action.turn.id, Exit.succeed(action.turn))
      case "refused":
        this.#accepting.settle(action.turn, Exit.fail(action.error))
        return this.#ending.settle(action.turn, Exit.fail(action.error))
      case "ended":
        this.#options.onTurnEnded(action.turn)
        return this.#ending.settle(action.turn.id, Exit.succeed(action.turn))
      case "await":
        return this.#ending.add(action.turn, action.reply)
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

/** setTimeout holds 31 bits; a longer one would fire at once. */
const longestTimerMs = 2 ** 31 - 1

/** A wall clock that was set differently; smaller differences are the clocks' own. */
const noticedSkewMs = 100

const storeRetryMs = 200

/** Asks a store until it answers, also where it dies instead of failing. */
const untilAnswered = <A>(effect: Effect.Effect<A, StoreUnavailable>): Effect.Effect<A> =>
  Effect.catchCause(effect, (cause) =>
    Cause.hasInterrupts(cause)
      ? Effect.interrupt
      : Effect.andThen(
          Effect.andThen(Effect.logError("the store does not answer; asking again", cause), Effect.sleep(storeRetryMs)),
          Effect.suspend(() => untilAnswered(effect)),
        ),
  )
