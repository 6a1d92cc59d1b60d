/**
 * Judges the order of group restarts by what supervisors ask of sessions: under a strategy with an order each session is gone
 * before the next is told to end, and up before the next is started, in start order. It listens and changes nothing.
 */
import { SessionActor } from "../../src/actors/SessionActor.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import type { Clients } from "./Clients.ts"
import type { Records, SessionRecord } from "./Records.ts"
import { replace } from "./Replacement.ts"
import type { SimulatedSpawner } from "./SimulatedSpawner.ts"
import type { World } from "./World.ts"

/** After so long those that are left are told together (ms). */
const orderedEndMs = 10_000

type Asked = "park" | "release"

interface Group {
  /** Told to end, and not gone yet. */
  readonly parking: Set<SessionRecord>
  /** When the first of those was told to end that are told one after the other. */
  endsSince: number
  /** When the last of them was gone. */
  goneAt: number
  /** Started, and neither up nor failed. */
  readonly rising: Set<SessionRecord>
  readonly actors: Map<SessionRecord, SessionActor>
}

export class GroupOrder {
  readonly #world: World
  readonly #records: Records
  readonly #spawner: SimulatedSpawner
  readonly #clients: Clients
  #groups = new Map<string, Group>()
  #isThere = false
  #startsNothing = false
  /** In which order sessions took their places: at once with their first start. */
  readonly #places = new Map<SessionId, number>()

  constructor(world: World, records: Records, spawner: SimulatedSpawner, clients: Clients) {
    this.#world = world
    this.#spawner = spawner
    this.#records = records
    this.#clients = clients
  }

  /** Listens to every request that a session gets; what comes back ends that. */
  listen(): () => void {
    const asked = (actor: SessionActor, type: Asked) => this.#asked(actor, type)
    const places = this.#places
    return replace(
      SessionActor.prototype,
      "request",
      (request) =>
        function (this: SessionActor, event) {
          return request.call(this, (reply) => {
            const { type } = event(reply)
            if (type === "start") places.set(this.id, places.size)
            if (type !== "park" && type !== "release") return event(reply)
            const answered = asked(this, type)
            return event((exit) => {
              answered()
              reply(exit)
            })
          })
        },
    )
  }

  /** A runtime was told to end: it starts nothing any more, and whoever is told to come up stays down. */
  runtimeEnds(): void {
    this.#startsNothing = true
  }

  /** It is dead, or there is none yet: what its supervisors still say in that moment does nothing to the world. */
  runtimeEnded(): void {
    this.#isThere = false
  }

  runtimeBegins(): void {
    this.#groups = new Map()
    this.#startsNothing = false
    this.#isThere = true
  }

  #asked(actor: SessionActor, type: Asked): () => void {
    const record = this.#records.sessions.get(actor.id)
    const { supervisor } = actor.state.spec
    const plan = this.#world.plan.supervisors.find(({ path }) => path === supervisor)
    const nothing = () => {}
    if (!this.#isThere) return nothing
    if (type === "release" && this.#startsNothing) return nothing
    if (record === undefined || plan === undefined || plan.strategy === "one_for_one") return nothing
    // Who comes back to a supervisor that was stopped stands at its end, whenever it was made.
    if (this.#clients.hasStopped(supervisor)) return nothing
    // Where fibers pause at every turn, a newer crash may come between the look and the word.
    if (this.#world.plan.world.yieldAfter < 2_048) return nothing
    let group = this.#groups.get(supervisor)
    if (group === undefined)
      this.#groups.set(
        supervisor,
        (group = { parking: new Set(), endsSince: 0, goneAt: -1, rising: new Set(), actors: new Map() }),
      )
    const { parking, rising, actors } = group
    actors.set(record, actor)
    const { now } = this.#world
    this.#world.say(`${supervisor} tells ${record.name} to ${type}`)
    const wrong = (what: string) =>
      this.#world.broke("group-order", `${record.name} of ${supervisor} is told to ${type} ${what}`)
    const lives = ({ id }: SessionRecord) => this.#spawner.of(id).some(({ survives }) => !survives)
    const placeOf = ({ id }: SessionRecord) => this.#places.get(id) ?? 0
    // Between two that came at the same time a runtime that comes back goes by the record.
    const isBefore = (other: SessionRecord) => other.storedAs < record.storedAs && placeOf(other) < placeOf(record)
    const inOrder = now - group.endsSince < orderedEndMs
    // One that stands before this one ends after it: it was told by a restart that a newer crash, or the supervisor's fall, cut short.
    const late = inOrder
      ? [...parking].filter((other) => other !== record && lives(other) && (type === "release" || !isBefore(other)))
      : []
    // What has ended already is only joined.
    if (late.length > 0 && (type === "release" || hasProcess(actor)))
      wrong(`while ${late.map(({ name }) => name).join(", ")} is not gone`)
    if (type === "park") {
      rising.delete(record)
      if (parking.size === 0 && group.goneAt !== now) group.endsSince = now
      parking.add(record)
      return () => {
        parking.delete(record)
        group.goneAt = this.#world.now
      }
    }
    for (const other of rising) {
      const starts = actors.get(other)?.state.phase._tag === "Starting"
      // One that stands after this one was started by an earlier restart, or by a client meanwhile.
      if (other !== record && starts && isBefore(other)) wrong(`while ${other.name} is not up`)
    }
    for (const other of this.#records.below(supervisor)) {
      if (!isBefore(other)) continue
      if (actors.get(other)?.state.phase._tag === "Parked") wrong(`before ${other.name}`)
    }
    rising.add(record)
    return () => rising.delete(record)
  }
}

const hasProcess = ({ state: { phase } }: SessionActor): boolean =>
  phase._tag === "Starting" || phase._tag === "Ready" || phase._tag === "Busy"
