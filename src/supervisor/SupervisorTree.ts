/**
 * Who stands below whom: the supervisors by path, and below each its sessions and supervisors in start order. `root` is always
 * there, has no limit, and its sessions are not kept here: their order matters to nobody. Starts and stops nothing.
 */
import type * as Deferred from "effect/Deferred"
import type { Draining, StoreUnavailable } from "../domain/Errors.ts"
import type { IntensitySpec } from "../domain/SessionSpec.ts"
import { type GivenUp, parentPath, type RestartStrategy, type SupervisorRecord } from "../domain/SupervisorStore.ts"
import { isOver, type Slot } from "./Slot.ts"
import { noCharges, type ChargeHistory } from "./RestartIntensity.ts"
import type { Child, Standing } from "./RestartStrategy.ts"

/** A child of a supervisor. */
export type Member = Slot | SupervisorNode

export class SupervisorNode {
  readonly path: string
  readonly parent: SupervisorNode | null
  readonly createdAt: number
  strategy: RestartStrategy
  intensity: IntensitySpec | null
  givenUp: GivenUp | null = null
  charges: ChargeHistory = noCharges
  /** How often its parent restarted it. */
  restarts = 0
  /** Its own, by session id or by path. */
  readonly members = new Map<string, Member>()
  /** It is being ended as a whole: what ends below it then is no crash. */
  held = false
  /** Settles when it is gone, with the pids that could not be killed. */
  stopping: Deferred.Deferred<ReadonlyArray<number>, StoreUnavailable | Draining> | undefined

  constructor({ path, strategy, intensity, createdAt, givenUp }: SupervisorRecord, parent: SupervisorNode | null) {
    this.path = path
    this.parent = parent
    this.strategy = strategy
    this.intensity = intensity
    this.createdAt = createdAt
    this.givenUp = givenUp
  }

  /** Each gone before the next is told, each up before the next is started. */
  get isOrdered(): boolean {
    return this.strategy !== "one_for_one"
  }

  get record(): SupervisorRecord {
    const { path, strategy, intensity, createdAt, givenUp } = this
    return { path, strategy, intensity, createdAt, givenUp }
  }

  /** In start order. */
  children(): ReadonlyArray<Child<Member>> {
    return Array.from(this.members.values(), (member) => ({
      key: member,
      restart: isNode(member) ? "permanent" : member.actor.state.spec.restart,
      standing: standingOf(member),
    }))
  }

  /** Itself and all below it, parents first. */
  *nodes(): Iterable<SupervisorNode> {
    yield this
    for (const member of this.members.values()) if (isNode(member)) yield* member.nodes()
  }

  /** Its own sessions, in start order. */
  slots(): ReadonlyArray<Slot> {
    return [...this.members.values()].filter((member): member is Slot => !isNode(member))
  }
}

export const isNode = (member: Member): member is SupervisorNode => "path" in member

const keyOf = (member: Member): string => (isNode(member) ? member.path : member.actor.id)

export const standingOf = (member: Member): Standing => {
  if (isNode(member)) return member.givenUp === null && member.stopping === undefined ? "up" : "resting"
  const { phase } = member.actor.state
  if (member.rising) return "up"
  if (phase._tag === "Stopped" && member.finished) return "finished"
  return isOver(member) || phase._tag === "Suspended" || phase._tag === "Stopped" ? "resting" : "up"
}

const rootRecord: SupervisorRecord = {
  path: "root",
  strategy: "one_for_one",
  intensity: null,
  createdAt: 0,
  givenUp: null,
}

export class SupervisorTree {
  readonly root = new SupervisorNode(rootRecord, null)
  readonly #nodes = new Map<string, SupervisorNode>([["root", this.root]])

  find(path: string): SupervisorNode | undefined {
    return this.#nodes.get(path)
  }

  /** Its parent must be there. */
  add(record: SupervisorRecord): SupervisorNode {
    const parent = this.#nodes.get(parentPath(record.path) ?? "")
    if (parent === undefined) throw new Error(`the parent of ${record.path} is not there`)
    const node = new SupervisorNode(record, parent)
    this.#nodes.set(node.path, node)
    parent.members.set(node.path, node)
    return node
  }

  /** With all supervisors below it; sessions stay where they are registered. */
  remove(node: SupervisorNode): void {
    for (const { path } of node.nodes()) this.#nodes.delete(path)
    node.parent?.members.delete(node.path)
  }

  /** The supervisor of a session; undefined where it is gone, and for sessions of `root`. */
  above({ actor }: Slot): SupervisorNode | undefined {
    const { supervisor } = actor.state.spec
    return supervisor === "root" ? undefined : this.#nodes.get(supervisor)
  }

  /** It has a place below a supervisor, and ends in its turn. */
  hasPlace(slot: Slot): boolean {
    return this.above(slot)?.members.has(slot.actor.id) === true
  }

  /** At the end of the start order, unless it has a place already. */
  join(slot: Slot): void {
    const node = this.above(slot)
    if (node !== undefined && !node.members.has(slot.actor.id)) node.members.set(slot.actor.id, slot)
  }

  leave(slot: Slot): void {
    this.above(slot)?.members.delete(slot.actor.id)
  }

  /** Takes these in this order instead of in that of their joining. */
  reorder(node: SupervisorNode, members: ReadonlyArray<Member>): void {
    node.members.clear()
    for (const member of members) node.members.set(keyOf(member), member)
  }
}
