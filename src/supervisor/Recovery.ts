/**
 * A runtime comes back: every session that should live gets its slot again, what the end of the runtime before left open is
 * settled, and what has to run is started.
 */
import * as Effect from "effect/Effect"
import type { SessionActor } from "../actors/SessionActor.ts"
import { isOpen } from "../actors/SessionRecovery.ts"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { RecoverableSession, SessionPage, SessionStore } from "../domain/SessionStore.ts"
import type { Turn } from "../domain/Turn.ts"
import type { SessionRegister } from "./SessionRegister.ts"
import type { SteadyClock } from "./SteadyClock.ts"
import type { Supervisors } from "./Supervisors.ts"
import { isNode, type Member, type SupervisorNode } from "./SupervisorTree.ts"

/** Its first start was cut off: nobody was ever told that there is such a session, and nobody waits for it. */
export const neverBegan = ({ session, openTurns }: RecoverableSession): boolean =>
  session.incarnation <= 1 &&
  openTurns.length === 0 &&
  session.seq <= neverBegunEntries &&
  (session.status === "starting" || session.status === "authenticating")

/** `starting`, `process/spawned`, `authenticating`: one that was ready once, and is starting again, has more. */
const neverBegunEntries = 3

/** A turn that was running, with what was heard of its answer; the record of an open turn has none of it. */
export const withTextSoFar = Effect.fnUntraced(
  function* (store: SessionStore["Service"], turn: Turn): Effect.fn.Return<Turn, StoreUnavailable> {
    if (turn.status !== "running") return turn
    let text = ""
    let after = turn.firstSeq - 1
    while (true) {
      const { entries, nextAfter } = yield* store.transcript(turn.session, {
        turn: turn.id,
        types: ["turn/delta"],
        after,
      })
      for (const entry of entries) if (entry.type === "turn/delta") text += entry.text
      if (entries.length === 0 || nextAfter <= after) return { ...turn, text }
      after = nextAfter
    }
  },
  // The answer that is lost anyway is no reason not to come back.
  (soFar, _store, turn) => soFar.pipe(Effect.catch(() => Effect.succeed(turn))),
)

/** The supervisor of sessions, as far as it matters here. */
export interface House {
  readonly register: SessionRegister
  readonly store: SessionStore["Service"]
  readonly supervisors: Supervisors
  readonly clock: SteadyClock
  /** A place in the queue for spawns, and how long it is (ms). */
  queueForSpawn(): number
}

/** Returns when all of that is on record, not when it runs. Fails where the records cannot be read. */
export const recover = Effect.fnUntraced(function* (house: House): Effect.fn.Return<void, StoreUnavailable> {
  const { register, store, supervisors, clock } = house
  yield* supervisors.restore()
  register.goOnFrom((yield* store.counts(clock.wall())).created)
  const open: Array<Effect.Effect<void>> = []
  for (const record of yield* store.recoverable) {
    if (neverBegan(record)) {
      yield* store.remove(record.session.id)
      continue
    }
    const restored = yield* Effect.result(register.restore(record, yield* register.bearsName(record.session)))
    if (restored._tag === "Failure") {
      const { id, name } = record.session
      yield* Effect.annotateLogs(Effect.logError(restored.failure.message), { session: id, name })
      continue
    }
    const { actor } = restored.success
    if (isOpen(actor.state, record.openTurns)) open.push(settle(house, actor, record))
    else if (actor.state.expiresAt !== null) actor.post({ type: "tick" })
  }
  yield* Effect.forEach(open, (each) => each, { concurrency: "unbounded", discard: true })
  for (const node of register.tree.root.nodes()) {
    if (supervisors.parks(node.path)) yield* seatAll(house, node)
  }
  supervisors.resume()
})

/** Where the order of its sessions matters, or who fell with it, those that are over with are there as well, in order of creation. */
const seatAll = Effect.fnUntraced(function* (
  { register, store }: House,
  node: SupervisorNode,
): Effect.fn.Return<void, StoreUnavailable> {
  const members: Array<Member> = []
  const supervisors = [...node.members.values()].filter(isNode)
  let after: string | null = null
  do {
    const page: SessionPage = yield* store.list({
      supervisor: node.path,
      limit: 1000,
      ...(after === null ? {} : { after }),
    })
    for (const { id, createdAt } of page.sessions) {
      const record = register.byId(id) === undefined ? yield* store.recover(id) : undefined
      if (record !== undefined)
        yield* Effect.ignore(register.restore(record, yield* register.bearsName(record.session)))
      while (supervisors[0] !== undefined && supervisors[0].createdAt <= createdAt) members.push(supervisors.shift()!)
      const slot = register.byId(id)
      if (slot !== undefined) members.push(slot)
    }
    after = page.next
  } while (after !== null)
  register.tree.reorder(node, [...members, ...supervisors])
})

const settle = Effect.fnUntraced(function* (
  house: House,
  actor: SessionActor,
  { session, openTurns }: RecoverableSession,
): Effect.fn.Return<void> {
  const turns = yield* Effect.forEach(openTurns, (turn) => withTextSoFar(house.store, turn))
  const starts = session.spec.restart === "permanent" || turns.some(({ status }) => status === "queued")
  const delayMs = starts ? house.queueForSpawn() : 0
  const parked = house.supervisors.parks(session.supervisor, session.spec.restart)
  yield* Effect.ignore(
    actor.request((reply) => ({ type: "recover", record: session, openTurns: turns, delayMs, parked, reply })),
  )
})
