/**
 * `session/event`: what goes out without being asked for each time. A subscription is a cursor that is pulled
 * only while its client reads; entries that it does not take stay in the transcript. Also the entries of one
 * turn for `session/ask` with `stream`. Called by the handlers.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { LimitReached, type RuntimeError, type StoreUnavailable, SubscriptionNotFound } from "../domain/Errors.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { Runtime, Subscription, SubscribeRequest, SubscriptionBatch } from "../supervisor/Runtime.ts"
import type { Call, Peer } from "./Dispatcher.ts"
import { firstLimit, nextLimit } from "./PullSize.ts"
import { type MissedRange, wireEntry } from "./Wire.ts"

export const maxSubscriptions = 1000

/** Subscribes for the calling connection. The first event follows the answer, never precedes it. */
export const subscribe = Effect.fnUntraced(function* (
  runtime: Runtime["Service"],
  request: SubscribeRequest,
  call: Call,
  id: string,
): Effect.fn.Return<{ readonly subscription: string }, RuntimeError> {
  const { subscriptions } = call.peer
  if (subscriptions.size >= maxSubscriptions) {
    return yield* new LimitReached({ limit: "subscriptions of a connection", value: maxSubscriptions })
  }
  const services = yield* Effect.context<never>()
  const scope = Scope.makeUnsafe()
  const end = () => {
    subscriptions.delete(id)
    Effect.runForkWith(services)(Scope.close(scope, Exit.void))
  }
  subscriptions.set(id, end)
  const subscription = yield* runtime.subscribe(request).pipe(
    Scope.provide(scope),
    Effect.onExit((exit) => (Exit.isFailure(exit) ? Effect.sync(end) : Effect.void)),
  )
  call.afterAnswer(() => {
    if (!subscriptions.has(id)) return
    const pump = Effect.runForkWith(services)(forward(subscription, call.peer, id))
    Effect.runSync(Scope.addFinalizer(scope, Fiber.interrupt(pump)))
    pump.addObserver(() => end())
  })
  return { subscription: id }
})

export const unsubscribe = (peer: Peer, id: string): Effect.Effect<Record<string, never>, SubscriptionNotFound> =>
  Effect.suspend(() => {
    const end = peer.subscriptions.get(id)
    if (end === undefined) return new SubscriptionNotFound({ subscription: id })
    end()
    return Effect.succeed({})
  })

const forward = Effect.fnUntraced(function* (
  subscription: Subscription,
  peer: Peer,
  id: string,
): Effect.fn.Return<void, StoreUnavailable> {
  let limit = firstLimit
  while (true) {
    const before = peer.written?.() ?? 0
    const { entries, missed, ended } = yield* subscription.pull(limit)
    for (const range of missed) peer.notify({ subscription: id, missed: range })
    for (const entry of entries) peer.notify({ subscription: id, entry: wireEntry(entry) })
    if (ended === true) return peer.notify({ subscription: id, ended })
    yield* peer.room
    // A client that keeps up would else have the thread until the transcript is through.
    if (entries.length >= limit) yield* Effect.yieldNow
    limit = nextLimit(limit, entries.length, (peer.written?.() ?? 0) - before)
  }
})

/** How long the entries of an ended turn may fail to come before the session is taken to be removed. */
const removedAfterMs = 1000

/** Sends the entries of a turn that was told, from its first to its `turn/ended`, then gives the ended turn. */
export const streamTurn = Effect.fnUntraced(function* (
  runtime: Runtime["Service"],
  told: Turn,
  call: Call,
): Effect.fn.Return<Turn, RuntimeError, Scope.Scope> {
  const { peer, id } = call
  const request = id ?? null
  const turn = told.id
  const subscription = yield* runtime.subscribe({
    session: told.session,
    after: Math.max(0, told.firstSeq - 1),
    turn,
  })
  const removed = runtime.wait(turn).pipe(Effect.exit, Effect.andThen(Effect.sleep(removedAfterMs)))
  let limit = firstLimit
  while (true) {
    const before = peer.written?.() ?? 0
    const batch: SubscriptionBatch | void = yield* Effect.raceFirst(subscription.pull(limit), removed)
    if (batch === undefined) break
    for (const missed of batch.missed) peer.notify({ request, turn, missed })
    let ended = false
    for (const entry of batch.entries) {
      if (entry.turn !== turn) continue
      peer.notify({ request, turn, entry: wireEntry(entry) })
      if (entry.type === "turn/ended") ended = true
    }
    // The answer follows at once, and goes out with the last entries.
    if (ended) break
    yield* peer.room
    limit = nextLimit(limit, batch.entries.length, (peer.written?.() ?? 0) - before)
    if (batch.ended === true || (batch.missed.length > 0 && (yield* isPast(runtime, turn, batch.missed)))) break
  }
  return yield* runtime.wait(turn)
}, Effect.scoped)

/** Whether the end of a turn was among the entries that were missed. */
const isPast = (runtime: Runtime["Service"], turn: string, missed: ReadonlyArray<MissedRange>) =>
  Effect.map(
    runtime.turn(turn),
    (now) => isTerminal(now) && missed.some((range) => range.session === now.session && range.through >= now.lastSeq),
  )
