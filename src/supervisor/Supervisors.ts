/**
 * The supervisors that clients start below `root`: started, stopped, kept for the next runtime, and asked what becomes of a
 * session that ended. How groups are restarted is `GroupRestarts`', who stands where is `SupervisorTree`'s.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import type { Decision } from "../actors/SessionEvent.ts"
import { untilAnswered } from "../actors/StoreRetry.ts"
import {
  Draining,
  InvalidParams,
  RestartIntensityReached,
  type RuntimeError,
  type StoreUnavailable,
  SupervisorAlreadyExists,
  SupervisorNotFound,
} from "../domain/Errors.ts"
import type { IntensitySpec, RestartType } from "../domain/SessionSpec.ts"
import {
  parentPath,
  type RestartStrategy,
  supervisorPathPattern,
  type SupervisorRecord,
  type SupervisorStore,
} from "../domain/SupervisorStore.ts"
import { endMembers, endTree, orderedEndMs, type Ending } from "./EndingOrder.ts"
import { GroupRestarts } from "./GroupRestarts.ts"
import type { SessionRegister } from "./SessionRegister.ts"
import { broughtBack, isDown, type Slot } from "./Slot.ts"
import { isNode, type SupervisorNode } from "./SupervisorTree.ts"

export interface SupervisorRequest {
  readonly path: string
  /** Default `one_for_one`; of one that gave up, what it had. */
  readonly strategy?: RestartStrategy
  /** With `withinMs`: a limit of its own. Default: none. */
  readonly maxRestarts?: number
  readonly withinMs?: number
}

export interface SupervisorsOptions {
  readonly store: SupervisorStore["Service"]
  readonly register: SessionRegister
  readonly now: () => number
  readonly wall: () => number
  readonly run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>
  /** The runtime ends: a store that does not answer is not waited for. */
  readonly hurried: () => boolean
  readonly gaveUp: (node: SupervisorNode) => void
}

const invalid = (path: string, message: string) => new InvalidParams({ issues: [{ path, message }] })

/** The limit that a request names; an error where it names half of one. */
export const limitOf = ({ maxRestarts, withinMs }: SupervisorRequest): IntensitySpec | null | InvalidParams => {
  if (maxRestarts !== undefined && withinMs !== undefined) return { maxRestarts, withinMs }
  if (maxRestarts !== undefined) return invalid("withinMs", "is missing: maxRestarts needs it, or leave out both")
  if (withinMs !== undefined) return invalid("maxRestarts", "is missing: withinMs needs it, or leave out both")
  return null
}

const sameLimit = (a: IntensitySpec | null, b: IntensitySpec | null): boolean =>
  a?.maxRestarts === b?.maxRestarts && a?.withinMs === b?.withinMs

const stopSession = ({ actor }: Slot): Effect.Effect<void> =>
  Effect.ignore(actor.request((reply) => ({ type: "stop", brutal: false, reply })))

export class Supervisors {
  readonly #options: SupervisorsOptions
  readonly groups: GroupRestarts
  /** Starts are registered one after the other: what one has found is still so when it is on record. */
  readonly #lock = Semaphore.makeUnsafe(1)

  constructor(options: SupervisorsOptions) {
    this.#options = options
    const { register, store, run, now, hurried, gaveUp } = options
    this.groups = new GroupRestarts({
      now,
      run,
      gaveUp,
      reclaim: (slot) => {
        if (register.taken(slot.actor.state.spec, slot) !== undefined) return false
        register.giveName(slot)
        return true
      },
      keep: (record) => Effect.ignore(untilAnswered(store.put(record), { isOver: hurried })),
    })
  }

  /** Undefined also while it ends, or one above it does, and takes it along. */
  #find(path: string): SupervisorNode | undefined {
    const found = this.#options.register.tree.find(path)
    for (let node = found ?? null; node !== null; node = node.parent) if (node.stopping !== undefined) return undefined
    return found
  }

  /** Why nothing can be started there. */
  refusal(path: string, session: string | null): RuntimeError | undefined {
    const node = this.#find(path)
    if (node === undefined) return new SupervisorNotFound({ supervisor: path })
    if (node.givenUp === null) return undefined
    const { by, intensity } = node.givenUp
    return new RestartIntensityReached({ session, supervisor: by, ...intensity })
  }

  /** What becomes of a session that its own policy wants back. */
  crashed(slot: Slot, restart: Extract<Decision, { readonly _tag: "Restart" }>): Decision {
    const { tree } = this.#options.register
    // It may have been brought back while its supervisor was stopped and started anew.
    tree.join(slot)
    const node = tree.above(slot)
    return node === undefined ? restart : this.groups.crashed(node, slot, restart)
  }

  /** Once it is on record; one that gave up, once the sessions that it took with it are up again, or asleep. */
  start(
    request: SupervisorRequest,
    whenOther: "fail" | "change" = "fail",
  ): Effect.Effect<SupervisorNode, RuntimeError> {
    return Effect.gen(() => this.#start(request, whenOther))
  }

  *#start(request: SupervisorRequest, whenOther: "fail" | "change"): Effect.fn.Return<SupervisorNode, RuntimeError> {
    const ending = () => this.#options.register.tree.find(request.path)?.stopping
    // Asked once it has the lock: a stop does not wait for that.
    const registered = yield* this.#lock.withPermits(1)(
      Effect.suspend(() =>
        ending() === undefined
          ? Effect.uninterruptible(Effect.gen(() => this.#register(request, whenOther)))
          : Effect.undefined,
      ),
    )
    if (registered === undefined) {
      const stopping = ending()
      if (stopping !== undefined) yield* Effect.ignore(Deferred.await(stopping))
      return yield* this.#start(request, whenOther)
    }
    const { node, anew } = registered
    // A stop that came in between has the last word.
    if (anew && this.#isWanted(node)) yield* this.groups.start(node)
    return node
  }

  *#register(
    request: SupervisorRequest,
    whenOther: "fail" | "change",
  ): Effect.fn.Return<{ readonly node: SupervisorNode; readonly anew: boolean }, RuntimeError> {
    const { register, store, wall } = this.#options
    const { path, strategy } = request
    const intensity = limitOf(request)
    if (intensity instanceof InvalidParams) return yield* intensity
    if (path === "root") return yield* invalid("path", "root is always there: give one below it, such as root/tenant-a")
    if (!supervisorPathPattern.test(path)) {
      return yield* invalid(
        "path",
        "must be root/NAME, or /NAME below another supervisor, with names as sessions have them",
      )
    }
    const refusal = this.refusal(parentPath(path)!, null)
    if (refusal !== undefined) return yield* Effect.fail(refusal)
    const there = this.#find(path)
    if (there === undefined) {
      const record = {
        path,
        strategy: strategy ?? "one_for_one",
        intensity,
        createdAt: wall(),
        givenUp: null,
      } as const
      yield* store.put(record)
      const late = this.refusal(parentPath(path)!, null)
      if (late !== undefined) {
        // The one above ended, or gave up, before this was on record.
        yield* store.remove([path])
        return yield* Effect.fail(late)
      }
      return { node: register.tree.add(record), anew: false }
    }
    const settings = {
      strategy: strategy ?? "one_for_one",
      intensity,
    } as const
    if (there.givenUp === null) {
      const { strategy: has, intensity: limit } = there
      if (has === settings.strategy && sameLimit(limit, intensity)) return { node: there, anew: false }
      if (whenOther === "change") {
        yield* store.put({ ...there.record, ...settings })
        Object.assign(there, settings)
        return { node: there, anew: false }
      }
      return yield* new SupervisorAlreadyExists({
        supervisor: path,
        strategy: has,
        maxRestarts: limit?.maxRestarts ?? null,
        withinMs: limit?.withinMs ?? null,
      })
    }
    const keeps = strategy === undefined && intensity === null
    yield* this.#revive(there, keeps ? there : settings)
    return { node: there, anew: true }
  }

  /** Nobody ends it. */
  #isWanted(node: SupervisorNode): boolean {
    return this.#find(node.path) === node
  }

  /**
   * It runs again, with those below it that it took along; their sessions wait for their turn to start, or sleep. A stop may
   * come at any moment of it: nobody rises any more whom that would not find.
   */
  *#revive(
    top: SupervisorNode,
    { strategy, intensity }: Pick<SupervisorRecord, "strategy" | "intensity">,
  ): Effect.fn.Return<void, RuntimeError> {
    const { register, store } = this.#options
    yield* this.groups.settled(top)
    const gone = new SupervisorNotFound({ supervisor: top.path })
    const nodes = [...top.nodes()].filter(({ givenUp }) => givenUp?.by === top.path)
    for (const node of nodes) {
      if (!this.#isWanted(top)) return yield* gone
      if (!this.#isWanted(node)) continue
      const settings = node === top ? { strategy, intensity } : undefined
      yield* store.put({ ...node.record, ...settings, givenUp: null })
    }
    if (!this.#isWanted(top)) return yield* gone
    top.strategy = strategy
    top.intensity = intensity
    for (const node of nodes) {
      const { running, asleep } = node.givenUp!
      node.givenUp = null
      for (const id of [...running, ...asleep]) {
        const found = yield* Effect.result(register.find(id))
        if (!this.#isWanted(top)) return yield* gone
        if (!this.#isWanted(node)) break
        if (found._tag === "Failure" || register.tree.above(found.success) !== node) continue
        const slot = found.success
        if (slot.actor.state.phase._tag !== "Failed" || register.taken(slot.actor.state.spec, slot)) continue
        register.giveName(slot)
        const sleeps = asleep.includes(id)
        // Until it has risen its name would be free for a start that comes in between.
        yield* Effect.ignore(broughtBack(slot, (reply) => ({ type: "rise", asleep: sleeps, reply })))
      }
    }
  }

  /** Ends everything below it, in reverse start order, and forgets it; the sessions stay on record. Pids that could not be killed. */
  stop(path: string): Effect.Effect<ReadonlyArray<number>, RuntimeError> {
    return Effect.suspend((): Effect.Effect<ReadonlyArray<number>, RuntimeError> => {
      const { register, store } = this.#options
      if (path === "root") return invalid("path", "root ends with the runtime: see runtime/shutdown")
      const node = register.tree.find(path)
      if (node === undefined) return Effect.fail(new SupervisorNotFound({ supervisor: path }))
      if (node.stopping !== undefined) return Deferred.await(node.stopping)
      const stopping = Deferred.makeUnsafe<ReadonlyArray<number>, StoreUnavailable | Draining>()
      node.stopping = stopping
      this.groups.hold(node)
      const slots = [...node.nodes()].flatMap((each) => each.slots())
      const paths = Array.from(node.nodes(), (each) => each.path).toReversed()
      // The end of the runtime suspends sessions: the next one would start those again, and nobody would stand above them.
      const cutShort = Effect.suspend(() =>
        slots.every(isDown)
          ? Effect.void
          : Effect.fail(new Draining({ detail: `the runtime is shut down; supervisor ${path} is not stopped` })),
      )
      return endTree(node, this.#ending(stopSession)).pipe(
        Effect.andThen(cutShort),
        Effect.andThen(store.remove(paths)),
        Effect.map(() => {
          register.tree.remove(node)
          return slots.flatMap(({ actor }) => actor.state.survivors)
        }),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (exit._tag === "Failure") {
              node.stopping = undefined
              for (const each of node.nodes()) each.held = false
            }
            Deferred.doneUnsafe(stopping, exit)
          }),
        ),
        // Half a stop would leave a supervisor that nobody can start or stop.
        Effect.uninterruptible,
      )
    })
  }

  /** Ends every session, each in its place: those of `root` together, those of a supervisor as its strategy has it. */
  endAll(session: (slot: Slot) => Effect.Effect<void>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { register } = this.#options
      this.groups.close()
      const ending = this.#ending(session)
      const loose = register.slots().filter((slot) => !register.tree.hasPlace(slot))
      return Effect.all(
        [endMembers(loose, false, ending), endMembers([...register.tree.root.members.values()], false, ending)],
        { concurrency: "unbounded", discard: true },
      )
    })
  }

  #ending(session: Ending["session"]): Ending {
    const { now } = this.#options
    return { session, until: now() + orderedEndMs, now }
  }

  // Coming back

  /** Those on record, without their sessions. */
  restore(): Effect.Effect<void, StoreUnavailable> {
    return Effect.gen(() => this.#restore())
  }

  *#restore(): Effect.fn.Return<void, StoreUnavailable> {
    const { register, store } = this.#options
    const orphans: Array<string> = []
    for (const record of yield* store.supervisors) {
      // It was put on record while one above it was stopped, and the runtime ended before it was taken back.
      if (register.tree.find(parentPath(record.path)!) === undefined) orphans.push(record.path)
      else register.tree.add(record)
    }
    if (orphans.length > 0) yield* store.remove(orphans)
  }

  /** Whether a session there waits for its supervisor to start it. */
  parks(path: string, restart: RestartType = "permanent"): boolean {
    for (let node = this.#options.register.tree.find(path) ?? null; node !== null; node = node.parent) {
      // A temporary one has no turn among the others: what it has taken in it answers by itself.
      if ((node.isOrdered && restart !== "temporary") || node.givenUp !== null) return true
    }
    return false
  }

  /** Starts whoever waits for it, in start order, and ends what a supervisor had left when its runtime ended while it fell. */
  resume(): void {
    const visit = (node: SupervisorNode, above: boolean): void => {
      if (node.givenUp !== null && node.givenUp.by === node.path) this.groups.finishFall(node)
      else if (node.isOrdered && !above) this.#options.run(this.groups.start(node))
      for (const member of node.members.values()) if (isNode(member)) visit(member, above || node.isOrdered)
    }
    visit(this.#options.register.tree.root, false)
  }
}
