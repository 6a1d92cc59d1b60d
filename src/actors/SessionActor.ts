/**
 * The actor of one session: takes in events in batches, lets the pure transition decide, makes the outcome
 * durable, and only then acts on it. It lives as long as the session; processes come and go under it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { placeOf } from "../domain/Defect.ts"
import { Draining, SessionNotRunning, type RuntimeError, type StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { MailboxSpec } from "../domain/SessionSpec.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import { Alarm } from "./Alarm.ts"
import { Actor, type ActorOptions, type Receive, type Verdict } from "./Actor.ts"
import * as Mailbox from "./Mailbox.ts"
import type { SessionAction, SessionEvent } from "./SessionEvent.ts"
import type { SessionHost } from "./SessionHost.ts"
import {
  isIdle,
  toSession,
  type PendingTurn,
  type SessionReply,
  type SessionState,
  type TurnReply,
} from "./SessionState.ts"
import { nextDeadline } from "./SessionDeadlines.ts"
import { transition } from "./SessionTransition.ts"
import { CurrentProcess, type ProcessOwner } from "./CurrentProcess.ts"
import { HostCallQueue } from "./HostCallQueue.ts"
import { StepStore } from "./StepStore.ts"
import { StepCommit } from "./StepCommit.ts"
import { TurnDesk, type Handed, type Until } from "./TurnDesk.ts"

/** Turns are bounded by the session's own mailbox; what else comes is bounded by the process and by clients. */
const unbounded: MailboxSpec = { capacity: Infinity, overflow: "fail" }

/** Events whose cause is not the session's own process go through here; answers come by the reply in the event. */
export class SessionActor implements ActorOptions<SessionEvent>, ProcessOwner {
  readonly #host: SessionHost
  readonly #actor: Actor<SessionEvent>
  #state: SessionState
  /** The state that the store knows, or would if it wanted to. */
  #stored: SessionState
  readonly #alarm: Alarm
  readonly #turns = new TurnDesk()
  readonly #process: CurrentProcess
  #listeners: Set<() => void> | undefined
  #calls: HostCallQueue | undefined
  readonly #store: StepStore

  constructor(host: SessionHost, state: SessionState) {
    this.#host = host
    this.#state = state
    this.#stored = state
    this.#store = new StepStore(host, this)
    this.#process = new CurrentProcess(host, this)
    this.#alarm = new Alarm(host, () => this.post({ type: "tick" }))
    this.#actor = new Actor<SessionEvent>(this, (effect) => host.run(effect))
  }

  get id(): SessionId {
    return this.#state.id
  }

  get name(): string {
    return this.#state.spec.name
  }

  get mailbox(): MailboxSpec {
    return unbounded
  }

  begin(): Receive<SessionEvent> {
    return (batch) => this.#receive(batch)
  }

  onCrash(defect: unknown): "restart" {
    this.#report("session step failed", defect)
    this.post({ type: "defect", detail: String(defect) })
    return "restart"
  }

  #report(what: string, defect: unknown): void {
    const line = Effect.logError(`${what}: ${placeOf(defect)}`)
    this.#host.run(Effect.annotateLogs(line, { session: this.id, name: this.name }))
  }

  /** The actor is down for good: nobody waits for it in vain. */
  onDown(): void {
    this.#alarm.close()
    this.#turns.abandon(() => this.notRunning())
    this.#process.closeStdin()
  }

  /** Ends the actor, not the session's process: for a session that was stopped. */
  close(): Effect.Effect<void> {
    return this.#actor.interrupt()
  }

  /** Its process gets no more time; what follows from that comes as ever. */
  kill(): void {
    this.#process.terminate("brutal_kill")
  }

  get state(): SessionState {
    return this.#state
  }

  /** As it is on record; `state` may be ahead of it. */
  get stored(): SessionState {
    return this.#stored
  }

  /** Of the newest entry that is stored. */
  get seq(): number {
    return this.#stored.seq
  }

  /** As it is on record: nobody is told of a step that is not stored. */
  snapshot(): Session {
    return toSession(this.#stored)
  }

  post(event: SessionEvent): void {
    this.#actor.tellUnsafe(event)
  }

  /** Asks for something that is answered with the session. */
  request(event: (reply: SessionReply) => SessionEvent): Effect.Effect<Session, RuntimeError> {
    return this.#actor.ask<Session, RuntimeError>(event).pipe(Effect.catch((error) => this.#gone(error)))
  }

  cancel(turn: TurnId | null): Effect.Effect<Turn, RuntimeError> {
    return this.#actor
      .ask<Turn, RuntimeError>((reply) => ({ type: "cancel", turn, reply }))
      .pipe(Effect.catch((error) => this.#gone(error)))
  }

  /** A session that was removed under the caller's hands. */
  #gone<E extends { readonly _tag: string }>(error: E): Effect.Effect<never, RuntimeError> {
    return Effect.fail(error._tag === "ActorDown" ? this.notRunning() : (error as unknown as RuntimeError))
  }

  notRunning(): SessionNotRunning {
    return new SessionNotRunning({ session: this.name, status: "stopped", exit: this.#state.exit })
  }

  /** Hands a turn in; answers when it is durable (`accepted`) or when it ended (`ended`). */
  submit(pending: PendingTurn, until: Until): Effect.Effect<Turn, RuntimeError> {
    return Effect.callback<Turn, RuntimeError>((resume) => {
      const handed = this.hand(pending, until, resume)
      return Effect.sync(() => {
        const unwanted = this.#turns.remove(pending.turn.id, handed, until, resume)
        if (unwanted !== undefined) this.post({ type: "withdraw", turn: unwanted })
      })
    })
  }

  /** The same from outside of Effect, for a caller that does not go away. */
  hand(pending: PendingTurn, until: Until, reply: TurnReply): Handed | undefined {
    // What cannot be made durable is not taken in, and need not wait behind what waits for the store already.
    const refusal = this.#store.refusal
    if (refusal !== undefined) {
      reply(Exit.fail(refusal))
      return undefined
    }
    const handed = this.#turns.add(pending.turn, until, reply)
    if (this.#actor.tellUnsafe({ type: "submit", pending }) !== undefined) this.#turns.abandon(() => this.notRunning())
    return handed
  }

  /** Waits for the end of a turn; `TurnNotFound` where it is not open any more: then the store has its outcome. */
  awaitEnd(turn: TurnId): Effect.Effect<Turn, RuntimeError> {
    return Effect.suspend(() => {
      let waiting: TurnReply | undefined
      return this.#actor
        .ask<Turn, RuntimeError>((reply) => {
          waiting = reply
          return { type: "await", turn, reply }
        })
        .pipe(
          // Who asks with a timeout again and again must not pile up.
          Effect.onInterrupt(() => Effect.sync(() => waiting !== undefined && this.#turns.stopAwaiting(turn, waiting))),
          Effect.catch((error) => this.#gone(error)),
        )
    })
  }

  /** Waits until what it was told so far is on record. */
  get recorded(): Effect.Effect<void> {
    return Effect.ignore(this.awaitEnd("" as TurnId))
  }

  /** Calls back whenever entries were stored. */
  listen(listener: () => void): () => void {
    const listeners = (this.#listeners ??= new Set())
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  #receive(batch: ReadonlyArray<SessionEvent>): Verdict | Effect.Effect<Verdict> {
    const keyed = batch.findIndex((event) => event.type === "submit" && event.pending.turn.idempotencyKey !== null)
    if (keyed < 0) return this.#take(batch)
    // The look-up must see what came before it, so what came before is committed first.
    const event = batch[keyed] as Extract<SessionEvent, { readonly type: "submit" }>
    return Effect.suspend(() => asEffect(this.#take(batch.slice(0, keyed)))).pipe(
      Effect.flatMap(() => this.#admitOnce(event)),
      Effect.flatMap((events) => asEffect(this.#take(events))),
      Effect.flatMap((verdict) =>
        keyed + 1 < batch.length ? asEffect(this.#receive(batch.slice(keyed + 1))) : Effect.succeed(verdict),
      ),
    )
  }

  /** A second turn under the same key is the first one again. */
  #admitOnce(event: Extract<SessionEvent, { readonly type: "submit" }>): Effect.Effect<ReadonlyArray<SessionEvent>> {
    const { id, idempotencyKey } = event.pending.turn
    return this.#store.turnByKey(this.id, idempotencyKey!).pipe(
      Effect.match({
        onFailure: (trouble) => {
          this.#turns.refused(id, Exit.fail(trouble))
          return []
        },
        onSuccess: (stored) => {
          const unaccepted = Mailbox.everything(this.#state.queue).find(
            ({ turn }) => turn.firstSeq === 0 && turn.idempotencyKey === idempotencyKey,
          )
          return this.#turns.lookedUp(id, stored, unaccepted?.turn) === "new" ? [event] : []
        },
      }),
    )
  }

  #take(batch: ReadonlyArray<SessionEvent>): Verdict | Effect.Effect<Verdict> {
    const host = this.#host
    const now = host.now()
    const skewMs = host.wall() - now
    if (Math.abs(skewMs - this.#state.skewMs) > noticedSkewMs) this.#state = { ...this.#state, skewMs }
    const actions = batch.length === 1 ? this.#step(batch[0]!, now) : batch.flatMap((event) => this.#step(event, now))
    const entries: Array<TranscriptEntry> = []
    const turns: Array<Turn> = []
    let history: unknown
    for (const action of actions) {
      if (action.type === "append") {
        entries.push(action.entry)
        if (action.entry.type === "process/exited") host.exited(this, action.entry.exit)
      } else if (action.type === "forgive" || action.type === "supervise") history = host.history(this)
      else if (action.type === "save") {
        // What a turn was for a moment within the batch, nobody has seen.
        if (turns.at(-1)?.id === action.turn.id) turns[turns.length - 1] = action.turn
        else turns.push(action.turn)
      }
    }
    if (entries.length === 0 && turns.length === 0) return this.#perform(actions, false)
    // Nothing is acknowledged that is not stored: a session whose store does not answer holds still.
    return Effect.match(this.#store.commit(new StepCommit(this.#state, entries, turns, history)), {
      onFailure: (trouble) => this.#performUnstored(actions, trouble),
      onSuccess: () => this.#perform(actions, true),
    })
  }

  /** The runtime ends and the store takes nothing: processes are ended all the same, and nobody is told what is not stored. */
  #performUnstored(actions: ReadonlyArray<SessionAction>, trouble: StoreUnavailable): Verdict {
    const failed = Exit.fail(trouble)
    const untold = actions.flatMap((action): ReadonlyArray<SessionAction> => {
      switch (action.type) {
        case "accepted":
        case "ended":
          this.#turns.refused(action.turn.id, failed)
          return []
        case "reply":
        case "replyTurn":
        case "replyTurnFailed":
          action.to(failed)
          return []
        case "write":
          action.reply?.(failed)
          return []
        default:
          return [action]
      }
    })
    return this.#perform(untold, false)
  }

  /** Takes the next state over and asks the supervisor where the step wants its word; the rest is for `#perform`. */
  #step(event: SessionEvent, now: number): ReadonlyArray<SessionAction> {
    if (this.#host.draining && (event.type === "start" || event.type === "resume" || event.type === "restart")) {
      event.reply(Exit.fail(new Draining({ detail: "the runtime is shutting down; it starts nothing more" })))
      return []
    }
    if (this.#host.draining && event.type === "release") {
      event.reply(Exit.succeed(this.snapshot()))
      return []
    }
    const [state, actions] = this.#decide(event, now)
    const { conversation } = this.#state
    this.#state = state
    if (state.conversation !== conversation) this.#host.conversed(this)
    for (const action of actions) {
      if (action.type === "forgive") this.#host.forgive(this)
      else if (action.type === "supervise") {
        return [
          ...actions,
          ...this.#step({ type: "decision", decision: this.#host.supervise(this, action.report) }, now),
        ]
      }
    }
    return actions
  }

  /** A step that throws has changed nothing: its asker hears of the bug, and what else the batch holds is not lost. */
  #decide(event: SessionEvent, now: number): ReturnType<typeof transition> {
    try {
      return transition(this.#state, event, now)
    } catch (defect) {
      this.#report("session step failed", defect)
      if ("reply" in event) event.reply(Exit.die(defect))
      if (event.type === "submit") this.#turns.refused(event.pending.turn.id, Exit.die(defect))
      return transition(this.#state, { type: "defect", detail: String(defect) }, now)
    }
  }

  #perform(actions: ReadonlyArray<SessionAction>, committed: boolean): Verdict {
    if (this.#store.givenUp === undefined) this.#stored = this.#state
    let input = ""
    let verdict: Verdict = "continue"
    for (const action of actions) {
      if (action.type === "append" || action.type === "save") continue
      if (action.type === "write" && typeof action.data === "string") {
        // One write for all that a batch has to say.
        input += action.data
        continue
      }
      if (input !== "") {
        this.#process.write(input, null)
        input = ""
      }
      if (action.type === "gone") verdict = "stop"
      try {
        this.#act(action)
      } catch (defect) {
        // Whatever one of them runs into, the others are owed what is stored.
        this.#report(`session action ${action.type} failed`, defect)
      }
    }
    if (input !== "") this.#process.write(input, null)
    if (committed) {
      this.#host.committed(this)
      this.#listeners?.forEach((listener) => listener())
    }
    this.#process.taken()
    this.#alarm.set(nextDeadline(this.#state))
    if (!this.#process.isThere) this.#host.vacated(this)
    else if (isIdle(this.#state)) this.#host.rested(this)
    return verdict
  }

  #act(action: SessionAction): void {
    switch (action.type) {
      case "accepted":
        return this.#turns.accepted(action.turn)
      case "refused":
      case "postponed":
        return this.#turns.refused(action.turn, Exit.fail(action.error))
      case "ended":
        this.#host.turnEnded(this, action.turn)
        return this.#turns.ended(action.turn)
      case "await":
        return this.#turns.awaitEnd(action.turn, action.reply)
      case "reply":
        return action.to(action.error === null ? Exit.succeed(this.snapshot()) : Exit.fail(action.error))
      case "replyTurn":
        return action.to(Exit.succeed(action.turn))
      case "replyTurnFailed":
        return action.to(Exit.fail(action.error))
      case "spawn":
        this.#calls?.drop()
        return this.#process.spawn(
          () => this.#state,
          this.#host.launch(this),
          () => this.#host.spawning(this),
        )
      case "askToEnd":
        return this.#process.askToEnd(action.step)
      case "terminate":
        return this.#process.terminate(action.shutdown)
      case "write":
        return this.#process.write(action.data, action.reply)
      case "signal":
        return this.#process.signal(action.signal)
      case "call":
        this.#calls ??= new HostCallQueue(this.#host, (incarnation, call, answer) =>
          this.post({ type: "returned", incarnation, call, answer }),
        )
        return this.#calls.add(action)
      case "gone":
        return this.#host.gone(this, action.cause)
      case "append":
      case "save":
      case "forgive":
      case "supervise":
        return
    }
  }
}

/** A wall clock that was set differently; smaller differences are the clocks' own. */
const noticedSkewMs = 100

const asEffect = (verdict: Verdict | Effect.Effect<Verdict>): Effect.Effect<Verdict> =>
  typeof verdict === "string" ? Effect.succeed(verdict) : verdict
