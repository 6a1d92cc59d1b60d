/**
 * A mailbox with a behaviour behind it. The behaviour is handed everything that waits, as one batch in order, and never
 * two batches at once. An idle actor is no fiber: mail that finds it idle is taken in on the sender's stack, and only a
 * batch that has to wait for something gets a fiber. A behaviour that dies is begun anew with the same mailbox, if its
 * owner says so. It knows nothing of sessions.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { MailboxFull } from "../domain/Errors.ts"
import type { MailboxSpec } from "../domain/SessionSpec.ts"
import { ActorDown, type ActorRef, type ReplyTo } from "./ActorRef.ts"
import * as Mailbox from "./Mailbox.ts"
import { type Down, type DownReason, Monitors } from "./Monitor.ts"

/** What a behaviour answers to a batch. */
export type Verdict = "continue" | "stop"

/** Takes a batch in: at once, or as an effect; mail that comes meanwhile waits for the next batch. */
export type Receive<M> = (batch: ReadonlyArray<M>) => Verdict | Effect.Effect<Verdict>

export interface ActorOptions<M> {
  readonly name: string
  readonly mailbox: MailboxSpec
  /** Begins an incarnation: whatever state the behaviour keeps is made here. Called again after a crash. */
  begin(incarnation: number): Receive<M>
  /** Decides about a behaviour that died. Default: `stop`. */
  onCrash?(defect: unknown, incarnation: number): "restart" | "stop"
  /** Told before everybody else that the actor is down for good. */
  onDown?(down: Down): void
}

/** Starts a fiber, at once and on the caller's stack. */
export type Run = (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>

type Failure = (error: ActorDown | MailboxFull) => void

interface Envelope<M> {
  readonly message: M
  /** Tells an ask that no answer will come. */
  readonly fail: Failure | undefined
  /** Resumes a `tell` that waited for room, or that was displaced. */
  readonly settled: ((accepted: boolean) => void) | undefined
}

/** Starts an actor in the scope; closing the scope interrupts it, and every ask under way fails with `ActorDown`. */
export const start = Effect.fnUntraced(function* <M>(
  options: ActorOptions<M>,
): Effect.fn.Return<ActorRef<M>, never, Scope.Scope> {
  const run = Effect.runForkWith(yield* Effect.context<never>())
  return yield* Effect.acquireRelease(
    Effect.sync(() => new Actor(options, run)),
    (actor) => actor.interrupt(),
  )
})

/** An idle actor takes mail in on its sender's stack; this many within one another, and no more. */
const deepest = 16
let depth = 0

/** After so many batches without a pause it is others' turn. */
const batchesAtOnce = 1024

export class Actor<M> implements ActorRef<M> {
  readonly #options: ActorOptions<M>
  readonly #run: Run
  /** Without a bound there is nothing to decide, and the mailbox is a plain array. */
  readonly #unbounded: boolean
  #mailbox: Mailbox.Mailbox<Envelope<M>> | undefined
  #arrived: Array<Envelope<M>> | undefined
  readonly #monitors = new Monitors()
  #incarnation = 0
  /** None between a crash and the next incarnation. */
  #receive: Receive<M> | undefined
  /** A batch is under way, or the next one is waited for; idle, its mailbox is empty. */
  #busy = true
  /** What a batch, or the actor between two, waits for. */
  #fiber: Fiber.Fiber<unknown> | undefined
  #interrupting = false
  /** Asks handed to the behaviour and not answered yet. */
  #open: Set<Failure> | undefined

  constructor(options: ActorOptions<M>, run: Run) {
    this.#options = options
    this.#run = run
    this.#unbounded = options.mailbox.capacity === Infinity
    if (this.#begin()) this.#work()
  }

  get name(): string {
    return this.#options.name
  }

  // Life

  /** False: it could not even begin. */
  #begin(): boolean {
    this.#incarnation++
    try {
      this.#receive = this.#options.begin(this.#incarnation)
      return true
    } catch (defect) {
      return this.#crashed(defect)
    }
  }

  /** Batch after batch until the mailbox is empty, or until one has to wait. */
  #work(first?: ReadonlyArray<M>): void {
    depth++
    try {
      let batch = first ?? this.#next()
      for (let left = batchesAtOnce; batch !== undefined; left--) {
        if (!this.#hand(batch)) return
        if (left <= 0) return this.#later()
        batch = this.#next()
      }
      this.#busy = false
    } finally {
      depth--
    }
  }

  /** False: the batch, or the actor's end, decides when it goes on. */
  #hand(batch: ReadonlyArray<M>): boolean {
    let answer: Verdict | Effect.Effect<Verdict>
    try {
      answer = this.#receive!(batch)
    } catch (defect) {
      return this.#crashed(defect)
    }
    if (typeof answer === "string") return this.#judged(answer)
    const fiber = this.#run(answer) as Fiber.Fiber<Verdict>
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.#ended(exit)
    this.#fiber = fiber
    fiber.addObserver((late) => {
      this.#fiber = undefined
      if (this.#ended(late)) this.#work()
    })
    return false
  }

  #ended(exit: Exit.Exit<Verdict>): boolean {
    if (Exit.isSuccess(exit)) return this.#judged(exit.value)
    if (this.#interrupting || Cause.hasInterrupts(exit.cause)) return this.#goDown({ _tag: "Interrupted" })
    return this.#crashed(Cause.squash(exit.cause))
  }

  #judged(verdict: Verdict): boolean {
    if (this.#monitors.down !== undefined) return false
    if (verdict === "stop") return this.#goDown({ _tag: "Stopped" })
    return this.#interrupting ? this.#goDown({ _tag: "Interrupted" }) : true
  }

  #crashed(defect: unknown): false {
    if (this.#monitors.down !== undefined) return false
    this.#receive = undefined
    // The asks of the batch that killed it get no answer from its successor, who never saw them.
    const reason: DownReason = { _tag: "Crashed", defect }
    this.#failOpen({ actor: this.name, reason })
    let decision: "restart" | "stop" = "stop"
    try {
      decision = this.#options.onCrash?.(defect, this.#incarnation) ?? "stop"
    } catch {
      // An owner that cannot even decide has its actor stopped for the first reason.
    }
    if (decision === "stop") return this.#goDown(reason)
    // One that crashes as soon as it begins must not hold up everybody else.
    this.#later()
    return false
  }

  /** Goes on when others have had their turn. */
  #later(): void {
    const pause = this.#run(Effect.yieldNow)
    this.#fiber = pause
    pause.addObserver(() => {
      this.#fiber = undefined
      if (this.#monitors.down !== undefined) return
      if (this.#interrupting) this.#goDown({ _tag: "Interrupted" })
      else if (this.#receive !== undefined || this.#begin()) this.#work()
    })
  }

  /** Ends it from outside; waits for a batch under way to be interrupted. */
  interrupt(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#interrupting = true
      const fiber = this.#fiber
      return Effect.andThen(
        fiber === undefined ? Effect.void : Fiber.interrupt(fiber),
        Effect.sync(() => this.#goDown({ _tag: "Interrupted" })),
      )
    })
  }

  /** The first reason wins. */
  #goDown(reason: DownReason): false {
    if (this.#monitors.down !== undefined) return false
    this.#busy = true
    const down: Down = { actor: this.name, reason }
    this.#monitors.close(down)
    this.#options.onDown?.(down)
    this.#monitors.tell()
    this.#failOpen(down)
    const left = this.#arrived ?? (this.#mailbox === undefined ? [] : Mailbox.everything(this.#mailbox))
    this.#arrived = undefined
    this.#mailbox = undefined
    for (const envelope of left) {
      envelope.fail?.(new ActorDown({ actor: this.name, down }))
      envelope.settled?.(false)
    }
    return false
  }

  #failOpen(down: Down): void {
    if (this.#open === undefined) return
    const unanswered = [...this.#open]
    this.#open = undefined
    for (const fail of unanswered) fail(new ActorDown({ actor: this.name, down }))
  }

  #answered(fail: Failure): void {
    if (this.#open?.delete(fail) === true && this.#open.size === 0) this.#open = undefined
  }

  // Mail

  /** Everything that waits; undefined: nothing does. */
  #next(): ReadonlyArray<M> | undefined {
    let items: ReadonlyArray<Envelope<M>>
    if (this.#unbounded) {
      if (this.#arrived === undefined) return undefined
      items = this.#arrived
      this.#arrived = undefined
    } else {
      if (this.#mailbox === undefined || Mailbox.isEmpty(this.#mailbox)) return undefined
      const drained = Mailbox.drain(this.#mailbox)
      items = drained.items
      let mailbox: Mailbox.Mailbox<Envelope<M>> = drained.mailbox
      const accepted: Array<Envelope<M>> = []
      for (const envelope of drained.waiting) {
        const offered = Mailbox.offer(mailbox, envelope)
        if (offered._tag === "Accepted" || offered._tag === "Waits") mailbox = offered.mailbox
        if (offered._tag === "Accepted") accepted.push(envelope)
      }
      this.#mailbox = mailbox
      // Whom this resumes may have mail at once.
      for (const envelope of accepted) envelope.settled?.(true)
    }
    return items.map(({ message, fail }) => {
      if (fail !== undefined) (this.#open ??= new Set()).add(fail)
      return message
    })
  }

  /** Undefined: it is in. Otherwise why not, or that it waits (`settled` will tell). */
  #post(envelope: Envelope<M>): MailboxFull | ActorDown | "waits" | undefined {
    const { down } = this.#monitors
    if (down !== undefined) return new ActorDown({ actor: this.name, down })
    if (this.#unbounded) {
      if (this.#arrived === undefined) this.#arrived = [envelope]
      else this.#arrived.push(envelope)
      this.#wake()
      return undefined
    }
    const offered = Mailbox.offer((this.#mailbox ??= Mailbox.empty(this.#options.mailbox)), envelope)
    const full = () => new MailboxFull({ session: this.name, capacity: this.#options.mailbox.capacity })
    if (offered._tag === "Refused") return full()
    this.#mailbox = offered.mailbox
    if (offered._tag === "Waits") return "waits"
    if (offered._tag === "Displaced") {
      if (!offered.accepted) return full()
      offered.victim.fail?.(full())
    }
    this.#wake()
    return undefined
  }

  #wake(): void {
    if (this.#busy) return
    this.#busy = true
    if (depth < deepest) this.#work()
    else this.#later()
  }

  /** Takes out an envelope whose sender went away; room that this makes goes to those that wait. */
  #withdraw(envelope: Envelope<M>): void {
    if (this.#mailbox === undefined) return
    const { mailbox, promoted } = Mailbox.remove(this.#mailbox, (other) => other === envelope)
    this.#mailbox = mailbox
    for (const moved of promoted) moved.settled?.(true)
  }

  tell(message: M): Effect.Effect<void, MailboxFull | ActorDown> {
    return Effect.callback((resume) => {
      const down = () => new ActorDown({ actor: this.name, down: this.#monitors.down! })
      const envelope: Envelope<M> = {
        message,
        fail: undefined,
        settled: (accepted) => resume(accepted ? Effect.void : Effect.fail(down())),
      }
      const refusal = this.#post(envelope)
      if (refusal === undefined) resume(Effect.void)
      else if (refusal !== "waits") resume(Effect.fail(refusal))
      else {
        return Effect.sync(() => this.#withdraw(envelope))
      }
      return undefined
    })
  }

  tellUnsafe(message: M): MailboxFull | ActorDown | undefined {
    if (!this.#busy && this.#unbounded && depth < deepest) {
      this.#busy = true
      this.#work([message])
      return undefined
    }
    const refusal = this.#post({ message, fail: undefined, settled: undefined })
    return refusal === "waits" ? undefined : refusal
  }

  ask<A, E = never>(message: (replyTo: ReplyTo<A, E>) => M): Effect.Effect<A, E | MailboxFull | ActorDown> {
    return Effect.callback((resume) => {
      const fail: Failure = (error) => resume(Effect.fail(error))
      const envelope: Envelope<M> = {
        message: message((exit) => {
          this.#answered(fail)
          resume(exit)
        }),
        fail,
        settled: undefined,
      }
      const refusal = this.#post(envelope)
      if (refusal !== undefined && refusal !== "waits") resume(Effect.fail(refusal))
      return Effect.sync(() => {
        this.#answered(fail)
        if (refusal === "waits") this.#withdraw(envelope)
      })
    })
  }

  monitor(onDown: (down: Down) => void): () => void {
    return this.#monitors.watch(onDown)
  }

  get down(): Effect.Effect<Down> {
    return Effect.callback((resume) => {
      const unwatch = this.#monitors.watch((down) => resume(Effect.succeed(down)))
      return Effect.sync(unwatch)
    })
  }
}
