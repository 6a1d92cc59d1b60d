/**
 * Restarts that concern more than one session: of groups, by the strategy of their supervisor, and of supervisors that gave
 * up. A crash is decided at once, up to the supervisor that answers for it; what follows is done by a worker of that
 * supervisor, one group restart after the other, a newer crash taking over from the one before. Sessions are held meanwhile:
 * they keep their mailboxes. What clients wish for in between stands.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Decision } from "../actors/SessionEvent.ts"
import { RestartIntensityReached } from "../domain/Errors.ts"
import type { SupervisorRecord } from "../domain/SupervisorStore.ts"
import { endMembers, endTree, isUp, orderedEndMs, type Ending } from "./EndingOrder.ts"
import { charge, noCharges } from "./RestartIntensity.ts"
import { groupRestart, startedWith } from "./RestartStrategy.ts"
import { answering, type Slot } from "./Slot.ts"
import { isNode, type Member, type SupervisorNode } from "./SupervisorTree.ts"

type Restart = Extract<Decision, { readonly _tag: "Restart" }>

type Job =
  /** A child of this one crashed, and is to be started again, with whom the strategy says. */
  | { readonly type: "group"; readonly crashed: Member; readonly delayMs: number }
  /** This one as a whole: ended, and started anew. */
  | { readonly type: "restart"; readonly delayMs: number }
  /** Whoever of its children is held is started. */
  | { readonly type: "start"; readonly done: Deferred.Deferred<void> }
  | { readonly type: "fall" }

interface Worker {
  readonly jobs: Array<Job>
  /** What it does now. */
  job: Job | undefined
  fiber: Fiber.Fiber<unknown> | undefined
  /** Settles with the next job. */
  news: Deferred.Deferred<void>
  /** Settles when it has nothing more to do. */
  readonly over: Deferred.Deferred<void>
}

/** The supervisor of sessions, as far as it matters here. */
export interface House {
  now(): number
  run(effect: Effect.Effect<unknown>): Fiber.Fiber<unknown>
  /** Whether the session's name is still its own, or nobody's: then it has it again. */
  reclaim(slot: Slot): boolean
  /** Keeps what has become of a supervisor. */
  keep(record: SupervisorRecord): Effect.Effect<void>
  gaveUp(node: SupervisorNode): void
}

const reached = (node: SupervisorNode, session: string): RestartIntensityReached => {
  const { by, intensity } = node.givenUp!
  return new RestartIntensityReached({ session, supervisor: by, ...intensity })
}

const request = ({ actor }: Slot, type: "park" | "release"): Effect.Effect<void> =>
  Effect.ignore(actor.request((reply) => ({ type, reply })))

export class GroupRestarts {
  readonly #house: House
  readonly #workers = new Map<SupervisorNode, Worker>()

  constructor(house: House) {
    this.#house = house
  }

  /** What becomes of a session that ended and whose own policy wants it back after `restart.delayMs`. */
  crashed(node: SupervisorNode, slot: Slot, restart: Restart): Decision {
    const { delayMs, attempt } = restart
    const park: Decision = { _tag: "Park", delayMs, attempt }
    if (node.held || node.givenUp !== null) return park
    if (!this.#charge(node)) {
      if (!node.isOrdered) return restart
      this.#add(node, { type: "group", crashed: slot, delayMs })
      return park
    }
    let top = node
    this.#house.gaveUp(top)
    // A parent without a limit of its own would restart it for ever: there it stays as it is.
    for (let parent = top.parent; parent?.intensity != null; parent = parent.parent) {
      if (!this.#charge(parent)) {
        this.hold(top)
        top.restarts++
        if (parent.isOrdered) this.#add(parent, { type: "group", crashed: top, delayMs })
        else this.#add(top, { type: "restart", delayMs })
        return park
      }
      top = parent
      this.#house.gaveUp(top)
    }
    this.#giveUp(top)
    return { _tag: "GiveUp", error: reached(top, slot.actor.name) }
  }

  /** Takes note of one restart. True: it is one too many. */
  #charge(node: SupervisorNode): boolean {
    if (node.intensity === null) return false
    const charged = charge(node.charges, node.intensity, this.#house.now())
    node.charges = charged.history
    return charged.reached
  }

  /** The supervisor and all below it are failed from now on; their processes end after that. */
  #giveUp(top: SupervisorNode): void {
    this.hold(top)
    const intensity = top.intensity!
    const reason = `more than ${intensity.maxRestarts} restarts within ${intensity.withinMs} ms`
    for (const node of top.nodes()) {
      if (node.givenUp !== null) continue
      const ids = (is: (slot: Slot) => boolean) =>
        node
          .slots()
          .filter(is)
          .map(({ actor }) => actor.id)
      const running = ids((slot) => isUp(slot) && isWanted(slot))
      const asleep = ids(({ actor }) => actor.state.phase._tag === "Suspended")
      node.givenUp = {
        reason: node === top ? reason : `supervisor ${top.path} has given up: ${reason}`,
        by: top.path,
        intensity,
        running,
        asleep,
      }
    }
    this.#add(top, { type: "fall" })
  }

  /** Nothing below it restarts by itself any more. */
  hold(top: SupervisorNode): void {
    for (const node of top.nodes()) {
      node.held = true
      this.#dismiss(node)
    }
  }

  /** Starts whoever below it is held, in start order; answers once that is through, or something newer took over. */
  start(node: SupervisorNode): Effect.Effect<void> {
    return Effect.suspend(() => {
      const done = Deferred.makeUnsafe<void>()
      node.held = false
      node.charges = noCharges
      this.#add(node, { type: "start", done })
      return Deferred.await(done)
    })
  }

  /** What a runtime before this one left half done. */
  finishFall(node: SupervisorNode): void {
    this.#add(node, { type: "fall" })
  }

  /** Waits until nothing is under way at this supervisor. */
  settled(node: SupervisorNode): Effect.Effect<void> {
    return Effect.suspend(() => {
      const worker = this.#workers.get(node)
      return worker === undefined ? Effect.void : Deferred.await(worker.over)
    })
  }

  /** Ends what is under way: the runtime ends. */
  close(): void {
    for (const node of [...this.#workers.keys()]) this.#dismiss(node)
  }

  // Workers

  #add(node: SupervisorNode, job: Job): void {
    const working = this.#workers.get(node)
    if (working !== undefined) {
      working.jobs.push(job)
      Deferred.doneUnsafe(working.news, Effect.void)
      return
    }
    const worker: Worker = {
      jobs: [job],
      job: undefined,
      fiber: undefined,
      news: Deferred.makeUnsafe(),
      over: Deferred.makeUnsafe(),
    }
    this.#workers.set(node, worker)
    // The step of the session that crashed comes first.
    const fiber = this.#house.run(
      Effect.andThen(
        Effect.yieldNow,
        Effect.gen(() => this.#work(node, worker)),
      ),
    )
    if (this.#workers.get(node) === worker) worker.fiber = fiber
  }

  *#work(node: SupervisorNode, worker: Worker): Effect.fn.Return<void> {
    while (true) {
      const job = worker.jobs.shift()
      if (job === undefined) return this.#retire(node, worker)
      worker.job = job
      worker.news = Deferred.makeUnsafe()
      yield* this.#perform(node, worker, job)
      settle(job)
    }
  }

  #retire(node: SupervisorNode, worker: Worker): void {
    this.#workers.delete(node)
    Deferred.doneUnsafe(worker.over, Effect.void)
  }

  #dismiss(node: SupervisorNode): void {
    const worker = this.#workers.get(node)
    if (worker === undefined) return
    this.#retire(node, worker)
    worker.fiber?.interruptUnsafe()
    if (worker.job !== undefined) settle(worker.job)
    worker.jobs.forEach(settle)
    worker.jobs.length = 0
  }

  #perform(node: SupervisorNode, worker: Worker, job: Job): Effect.Effect<void> {
    switch (job.type) {
      case "group":
        return this.#restartGroup(node, worker, job.crashed, job.delayMs)
      case "restart":
        return Effect.all([Effect.sleep(job.delayMs), endTree(node, this.#ending())], { concurrency: 2 }).pipe(
          Effect.andThen(Effect.suspend(() => this.#begin(node, worker))),
        )
      case "start":
        return this.#begin(node, worker)
      case "fall":
        return Effect.gen(() => this.#fall(node))
    }
  }

  #restartGroup(node: SupervisorNode, worker: Worker, crashed: Member, delayMs: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { end, start } = groupRestart(node.strategy, node.children(), crashed)
      for (const member of end) if (isNode(member)) this.hold(member)
      const ending = this.#ending()
      const crashedEnds = isNode(crashed) ? endTree(crashed, ending) : Effect.void
      // `end` is in reverse order already.
      const othersEnd = endMembers(end.toReversed(), true, ending)
      return Effect.all([Effect.sleep(delayMs), Effect.andThen(crashedEnds, othersEnd)], { concurrency: 2 }).pipe(
        // A crash in the middle of another group restart took over from it: who that one held is started here, in its place, and
        // who that one was starting is waited for.
        Effect.andThen(
          Effect.suspend(() => {
            const members = [...node.members.values()]
            return this.#bringUp(
              node,
              worker,
              members.filter((member) => start.includes(member) || isHeld(member) || this.#isRising(member)),
            )
          }),
        ),
      )
    })
  }

  /** A supervisor that begins anew has an empty window. */
  #begin(node: SupervisorNode, worker: Worker): Effect.Effect<void> {
    return Effect.suspend(() => {
      node.held = false
      node.charges = noCharges
      return this.#bringUp(node, worker, startedWith(node.children()))
    })
  }

  /** In start order, each up before the next; without an order all together. A newer crash ends it: what is still held, that one starts. */
  #bringUp(node: SupervisorNode, worker: Worker, members: ReadonlyArray<Member>): Effect.Effect<void> {
    if (!node.isOrdered) {
      return Effect.forEach(members, (member) => this.#raise(member), { concurrency: "unbounded", discard: true })
    }
    return Effect.gen(() => this.#bringUpInOrder(worker, members))
  }

  *#bringUpInOrder(worker: Worker, members: ReadonlyArray<Member>): Effect.fn.Return<void> {
    for (const member of members) {
      if (worker.jobs.length > 0) return
      yield* Effect.raceFirst(this.#raise(member), Deferred.await(worker.news))
    }
  }

  /** It is being started: it will be up, or has failed. */
  #isRising(member: Member): boolean {
    return isNode(member) ? this.#startOf(member) !== undefined : member.actor.state.phase._tag === "Starting"
  }

  #startOf(node: SupervisorNode): Deferred.Deferred<void> | undefined {
    const worker = this.#workers.get(node)
    const job = worker?.job?.type === "start" ? worker.job : worker?.jobs.find(({ type }) => type === "start")
    return job?.type === "start" ? job.done : undefined
  }

  #raise(member: Member): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (isNode(member)) {
        const rising = this.#startOf(member)
        return rising === undefined ? this.start(member) : Deferred.await(rising)
      }
      if (!member.finished) return request(member, "release")
      member.finished = false
      // Its name may be another session's by now.
      if (!this.#house.reclaim(member)) return Effect.void
      // A newer crash may end the waiting, and not the rise.
      member.rising = true
      const rise = member.actor.request((reply) => ({
        type: "rise",
        asleep: false,
        reply: answering(reply, () => (member.rising = false)),
      }))
      return Effect.andThen(Effect.ignore(rise), request(member, "release"))
    })
  }

  #ending(): Ending {
    const now = () => this.#house.now()
    return { session: (slot) => (isUp(slot) ? parkSession(slot) : Effect.void), until: now() + orderedEndMs, now }
  }

  *#fall(top: SupervisorNode): Effect.fn.Return<void> {
    const nodes = [...top.nodes()]
    // A store that does not answer keeps no process alive.
    const kept = Effect.forEach(nodes, ({ record }) => this.#house.keep(record), { discard: true })
    yield* Effect.all([kept, endTree(top, this.#ending())], { concurrency: 2 })
    const falling = nodes.flatMap((node) => node.slots().map((slot) => ({ node, slot })))
    yield* Effect.forEach(
      falling,
      ({ node, slot: { actor } }) =>
        Effect.ignore(actor.request((reply) => ({ type: "fall", error: reached(node, actor.name), reply }))),
      { concurrency: "unbounded", discard: true },
    )
  }
}

const isHeld = (member: Member): boolean =>
  isNode(member)
    ? member.held && member.givenUp === null && member.stopping === undefined
    : member.actor.state.phase._tag === "Parked"

const settle = (job: Job): void => {
  if (job.type === "start") Deferred.doneUnsafe(job.done, Effect.void)
}

/** Temporary ones end with their group and do not come back with it. */
const parkSession = (slot: Slot): Effect.Effect<void> =>
  slot.actor.state.spec.restart === "temporary"
    ? Effect.ignore(slot.actor.request((reply) => ({ type: "stop", brutal: false, reply })))
    : request(slot, "park")

/** Nobody has asked for its end. */
const isWanted = ({ actor }: Slot): boolean => {
  const { phase, spec } = actor.state
  const ends = phase._tag === "Ending" && (phase.aim === "stop" || phase.aim === "remove" || phase.aim === "suspend")
  return !ends && spec.restart !== "temporary"
}
