/**
 * A fiber with a mailbox. It hands its behaviour everything that waits, as one batch in order; a behaviour
 * that dies is begun anew with the same mailbox, if its owner says so. It knows nothing of sessions.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { MailboxFull } from "../domain/Errors.ts"
import type { MailboxSpec } from "../domain/SessionSpec.ts"
import { ActorDown, type ActorRef, type ReplyTo } from "./ActorRef.ts"
import * as Mailbox from "./Mailbox.ts"
import { type Down, type DownReason, Monitors } from "./Monitor.ts"

/** What a behaviour answers to a batch. */
export type Verdict = "continue" | "stop"

export interface ActorOptions<M> {
  readonly name: string
  readonly mailbox: MailboxSpec
  /** Begins an incarnation: whatever state the behaviour keeps is made here. Called again after a crash. */
  readonly begin: (incarnation: number) => (batch: ReadonlyArray<M>) => Effect.Effect<Verdict>
  /** Decides about a behaviour that died. Default: `stop`. */
  readonly onCrash?: (defect: unknown, incarnation: number) => "restart" | "stop"
}

interface Envelope<M> {
  readonly message: M
  /** Tells an ask that no answer will come. */
  readonly fail: ((error: ActorDown | MailboxFull) => void) | undefined
  /** Resumes a `tell` that waited for room, or that was displaced. */
  readonly settled: ((accepted: boolean) => void) | undefined
}

/** Starts an actor in the scope; closing the scope interrupts it, and every ask under way fails with `ActorDown`. */
export const start = Effect.fnUntraced(function* <M>(
  options: ActorOptions<M>,
): Effect.fn.Return<ActorRef<M>, never, Scope.Scope> {
  const { name } = options
  const monitors = new Monitors()
  let mailbox = Mailbox.empty<Envelope<M>>(options.mailbox)
  /** Without a bound there is nothing to decide, and the mailbox is a plain array. */
  const unbounded = options.mailbox.capacity === Infinity
  let arrived: Array<Envelope<M>> = []
  let wake: (() => void) | undefined
  /** Asks handed to the behaviour and not answered yet. */
  const open = new Set<(error: ActorDown | MailboxFull) => void>()

  const nextBatch = Effect.callback<ReadonlyArray<Envelope<M>>>((resume) => {
    const deliver = () => {
      wake = undefined
      if (unbounded) {
        const batch = arrived
        arrived = []
        return resume(Effect.succeed(batch))
      }
      const { items, waiting } = Mailbox.drain(mailbox)
      mailbox = Mailbox.empty(options.mailbox)
      for (const envelope of waiting) {
        const offered = Mailbox.offer(mailbox, envelope)
        if (offered._tag === "Accepted" || offered._tag === "Waits") mailbox = offered.mailbox
        if (offered._tag === "Accepted") envelope.settled?.(true)
      }
      resume(Effect.succeed(items))
    }
    if (arrived.length === 0 && Mailbox.isEmpty(mailbox)) wake = deliver
    else deliver()
    return Effect.sync(() => {
      wake = undefined
    })
  })

  const failOpen = (down: Down) => {
    const unanswered = [...open]
    open.clear()
    unanswered.forEach((fail) => fail(new ActorDown({ actor: name, down })))
  }

  const life = Effect.gen(function* () {
    for (let incarnation = 1; ; incarnation++) {
      const exit = yield* Effect.exit(
        Effect.gen(function* () {
          const receive = options.begin(incarnation)
          while (true) {
            const batch = yield* nextBatch
            for (const { fail } of batch) if (fail !== undefined) open.add(fail)
            if ((yield* receive(batch.map((envelope) => envelope.message))) === "stop") return
          }
        }),
      )
      if (Exit.isSuccess(exit)) return { _tag: "Stopped" } satisfies DownReason
      if (Cause.hasInterrupts(exit.cause)) return { _tag: "Interrupted" } satisfies DownReason
      const defect = Cause.squash(exit.cause)
      // The asks of the batch that killed it get no answer from its successor, who never saw them.
      const crashed: Down = { actor: name, reason: { _tag: "Crashed", defect } }
      failOpen(crashed)
      if ((options.onCrash?.(defect, incarnation) ?? "stop") === "stop") return crashed.reason
      // One that crashes as soon as it begins must not hold up everybody else.
      yield* Effect.yieldNow
    }
  })

  const goDown = (reason: DownReason) => {
    const down: Down = { actor: name, reason }
    monitors.tell(down)
    const { items, waiting } = Mailbox.drain(mailbox)
    mailbox = Mailbox.empty(options.mailbox)
    failOpen(down)
    for (const envelope of [...arrived.splice(0), ...items, ...waiting]) {
      envelope.fail?.(new ActorDown({ actor: name, down }))
      envelope.settled?.(false)
    }
  }

  yield* Effect.forkScoped(
    Effect.onExit(life, (exit) =>
      Effect.sync(() =>
        goDown(
          Exit.isSuccess(exit)
            ? exit.value
            : Cause.hasInterrupts(exit.cause)
              ? { _tag: "Interrupted" }
              : { _tag: "Crashed", defect: Cause.squash(exit.cause) },
        ),
      ),
    ),
    { startImmediately: true },
  )

  /** Undefined: it is in. Otherwise why not, or that it waits (`settled` will tell). */
  const post = (envelope: Envelope<M>): MailboxFull | ActorDown | "waits" | undefined => {
    if (monitors.down !== undefined) return new ActorDown({ actor: name, down: monitors.down })
    if (unbounded) {
      arrived.push(envelope)
      wake?.()
      return undefined
    }
    const offered = Mailbox.offer(mailbox, envelope)
    const full = () => new MailboxFull({ session: name, capacity: options.mailbox.capacity })
    if (offered._tag === "Refused") return full()
    mailbox = offered.mailbox
    if (offered._tag === "Waits") return "waits"
    if (offered._tag === "Displaced") {
      if (!offered.accepted) return full()
      offered.victim.fail?.(full())
    }
    wake?.()
    return undefined
  }

  /** Takes out an envelope whose sender went away; room that this makes goes to those that wait. */
  const withdraw = (envelope: Envelope<M>) => {
    const { mailbox: rest, promoted } = Mailbox.remove(mailbox, (other) => other === envelope)
    mailbox = rest
    for (const moved of promoted) moved.settled?.(true)
  }

  const tell = (message: M): Effect.Effect<void, MailboxFull | ActorDown> =>
    Effect.callback((resume) => {
      const down = () => new ActorDown({ actor: name, down: monitors.down! })
      const envelope: Envelope<M> = {
        message,
        fail: undefined,
        settled: (accepted) => resume(accepted ? Effect.void : Effect.fail(down())),
      }
      const refusal = post(envelope)
      if (refusal === undefined) resume(Effect.void)
      else if (refusal !== "waits") resume(Effect.fail(refusal))
      else {
        return Effect.sync(() => withdraw(envelope))
      }
      return undefined
    })

  const ask = <A, E>(message: (replyTo: ReplyTo<A, E>) => M): Effect.Effect<A, E | MailboxFull | ActorDown> =>
    Effect.callback((resume) => {
      const fail = (error: ActorDown | MailboxFull) => resume(Effect.fail(error))
      const envelope: Envelope<M> = {
        message: message((exit) => {
          open.delete(fail)
          resume(exit)
        }),
        fail,
        settled: undefined,
      }
      const refusal = post(envelope)
      if (refusal !== undefined && refusal !== "waits") resume(Effect.fail(refusal))
      return Effect.sync(() => {
        open.delete(fail)
        if (refusal === "waits") withdraw(envelope)
      })
    })

  const tellUnsafe = (message: M) => {
    const refusal = post({ message, fail: undefined, settled: undefined })
    return refusal === "waits" ? undefined : refusal
  }

  return {
    name,
    tell,
    tellUnsafe,
    ask,
    monitor: (onDown) => monitors.watch(onDown),
    down: Effect.callback((resume) => {
      const unwatch = monitors.watch((down) => resume(Effect.succeed(down)))
      return Effect.sync(unwatch)
    }),
  }
})
