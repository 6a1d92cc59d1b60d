/**
 * The memory store behind a layer of delays and failures, as the plan has them for each session. What was committed outlives
 * a runtime that dies; a commit that was under way then is in it or is not. Every commit that arrives is judged by `Records`.
 */
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import type { Commit, SessionStore } from "../../src/domain/SessionStore.ts"
import { makeMemory as makeSupervisors, type SupervisorStore } from "../../src/domain/SupervisorStore.ts"
import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { calmStore, type StorePlan } from "./Plan.ts"
import type { Records, SessionRecord } from "./Records.ts"
import type { RuntimeLife } from "./RuntimeLife.ts"
import type { World } from "./World.ts"

type Store = SessionStore["Service"]

const unavailable = new StoreUnavailable({ detail: "as the plan says" })

type Fate = "works" | "fails" | "answerLost" | "dies"

export class SimulatedStore {
  readonly #world: World
  readonly #records: Records
  #inner = MemorySessionStore.make()
  /** The place in the plan of each name. */
  readonly #places: ReadonlyMap<string, number>
  #supervisors = makeSupervisors()
  #attempts = new Map<number, number>()
  #reads = 0
  /** Commits on their way, by the life that made them. */
  readonly #underWay = new Set<() => void>()

  constructor(world: World, records: Records) {
    this.#world = world
    this.#records = records
    // A function literal that is assigned to a property is made in the old generation, and would keep this world there.
    const isKept: Records["isKept"] = (turn) => this.look((store) => store.turn(turn)) !== undefined
    records.isKept = isKept
    this.#places = new Map(world.plan.sessions.map(({ spec }, place) => [spec.name, place]))
  }

  /** For a judge that wants to look without being held up. */
  look<A>(use: (store: Store) => Effect.Effect<A, unknown>): A {
    return Effect.runSync(Effect.orDie(use(this.#inner)))
  }

  /** Everything is forgotten: the store of a runtime that keeps nothing. */
  forget(): void {
    this.#inner = MemorySessionStore.make()
    this.#supervisors = makeSupervisors()
    for (const id of this.#records.sessions.keys()) this.#records.forgotten(id)
  }

  /** A runtime died: what it was committing has arrived or has not. */
  lose(): void {
    const lost = [...this.#underWay]
    this.#underWay.clear()
    lost.forEach((arrive, i) => {
      if (this.#world.lot("death", this.#world.now, i) < 0.5) arrive()
    })
  }

  open(life: RuntimeLife): Store {
    const inner = this.#inner
    const read = <A>(effect: Effect.Effect<A, StoreUnavailable>): Effect.Effect<A, StoreUnavailable> =>
      Effect.suspend(() => this.#read(effect, life))
    return {
      commit: (commit) => this.#commit(commit, life),
      remove: (session) => this.#remove(session, life),
      retain: (retention) => Effect.suspend(() => (life.does("retain") ? read(inner.retain(retention)) : Effect.never)),
      transcript: (session, query) => read(inner.transcript(session, query)),
      turn: (turn) => read(inner.turn(turn)),
      turnByKey: (session, key) => read(inner.turnByKey(session, key)),
      session: (session) => read(inner.session(session)),
      ids: read(inner.ids),
      find: (ref) => read(inner.find(ref)),
      turns: (session, query) => read(inner.turns(session, query)),
      counts: (now) => read(inner.counts(now)),
      recover: (session) => read(inner.recover(session)),
      list: (query) => read(inner.list(query)),
      recoverable: read(inner.recoverable),
      search: (query) => read(inner.search(query)),
      sizeBytes: read(inner.sizeBytes),
    }
  }

  /** The supervisors of clients: written at once, or not at all. */
  openSupervisors(life: RuntimeLife): SupervisorStore["Service"] {
    const inner = this.#supervisors
    const world = this.#world
    const write = (what: string, effect: Effect.Effect<void, StoreUnavailable>) =>
      Effect.suspend((): Effect.Effect<void, StoreUnavailable> => {
        if (!life.does(what)) return Effect.never
        if (world.now < world.outageUntil) return Effect.fail(unavailable)
        world.say(`store ${what}`)
        return effect
      })
    return {
      supervisors: Effect.suspend(() => this.#read(inner.supervisors, life)),
      put: (record) => {
        const { path, givenUp } = record
        return write(`${path} ${givenUp === null ? "runs" : "has given up"}`, inner.put(record))
      },
      remove: (paths) => write(`${paths.join(", ")} removed`, inner.remove(paths)),
    }
  }

  #planOf(record: SessionRecord): StorePlan {
    const place = this.#places.get(record.name)
    const plan = place === undefined ? calmStore : this.#world.plan.sessions[place]!.store
    return this.#world.healed ? { ...plan, fails: 0, answersLost: 0, dies: 0 } : plan
  }

  #commit(commit: Commit, life: RuntimeLife): Effect.Effect<void, StoreUnavailable> {
    const world = this.#world
    return Effect.callback((resume) => {
      if (!life.does("commit")) return
      const id = (commit.entries[0] ?? commit.turns[0])!.session
      const record = this.#records.of(id, () => commit.session.spec)
      this.#records.submitted(record, commit)
      const place = this.#places.get(record.name) ?? this.#places.size
      const attempt = (this.#attempts.get(place) ?? 0) + 1
      this.#attempts.set(place, attempt)
      const plan = this.#planOf(record)
      const fate = world.now < world.outageUntil ? "fails" : fateOf(plan, world.lot("commit", place, attempt))
      const arrive = () => {
        if (fate !== "works" && fate !== "answerLost") return
        if (world.log.listens) world.say(`store ${record.name} ${wordsOf(commit)}`)
        Effect.runSync(this.#inner.commit(commit))
        this.#records.stored(record, commit)
      }
      const answer = () => {
        if (fate === "works") return resume(Effect.void)
        world.say(`store ${record.name} ${fate}`)
        resume(
          fate === "dies" ? Effect.die(new Error("the store has a bug, as the plan says")) : Effect.fail(unavailable),
        )
      }
      if (plan.commits === "instant") {
        arrive()
        return answer()
      }
      // It arrives at one moment and is answered at another.
      const once = () => {
        if (this.#underWay.delete(once)) arrive()
      }
      this.#underWay.add(once)
      const ms = Math.floor(world.lot("commit", place, attempt, 1) * (plan.mostMs + 1))
      const back = Math.floor(world.lot("commit", place, attempt, 2) * (plan.mostMs + 1 - ms))
      world.in(
        ms,
        () => {
          once()
          world.in(back, answer, life)
        },
        life,
      )
    })
  }

  #remove(id: SessionId, life: RuntimeLife): Effect.Effect<void, StoreUnavailable> {
    const world = this.#world
    return Effect.suspend(() => {
      if (!life.does("remove")) return Effect.never
      const known = this.#records.sessions.get(id)
      if (world.now < world.outageUntil) return Effect.fail(unavailable)
      world.say(`store ${known?.name ?? id} is removed`)
      this.#records.removed(id, life.ending)
      return this.#inner.remove(id)
    })
  }

  #read<A>(effect: Effect.Effect<A, StoreUnavailable>, life: RuntimeLife): Effect.Effect<A, StoreUnavailable> {
    const world = this.#world
    if (!life.alive) return Effect.never
    if (world.now < world.outageUntil) return Effect.fail(unavailable)
    const { readMs, readFails } = world.plan.world
    if (readMs === 0 && readFails === 0) return effect
    const place = ++this.#reads
    if (!world.healed && world.lot("read", place) < readFails) return Effect.fail(unavailable)
    const ms = Math.floor(world.lot("read", place, 1) * (readMs + 1))
    if (ms === 0) return effect
    return Effect.callback((resume) => void world.in(ms, () => resume(effect), life))
  }
}

const fateOf = ({ fails, answersLost, dies }: StorePlan, fraction: number): Fate => {
  if (fraction < fails) return "fails"
  if (fraction < fails + answersLost) return "answerLost"
  return fraction < fails + answersLost + dies ? "dies" : "works"
}

const wordsOf = ({ entries, turns }: Commit): string => {
  let words = ""
  for (const entry of entries) {
    words += ` ${entry.seq}:${entry.type === "status" ? entry.status : entry.type}`
    if (entry.type === "turn/ended") words += `=${entry.status}`
    if (entry.type === "restart/scheduled") words += `+${entry.delayMs}`
  }
  for (const turn of turns) words += ` (${turn.id} ${turn.status})`
  return words.slice(1)
}
