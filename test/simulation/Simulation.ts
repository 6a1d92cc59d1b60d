/**
 * Carries out a plan: the real runtime over simulated processes, store, clients and time, one step after another, until it
 * has come to rest and was shut down, or until something does not hold. The same plan takes the same course every time.
 */
import type { Owner } from "./Agenda.ts"
import type { Detail } from "./EventLog.ts"
import { Clients } from "./Clients.ts"
import { GroupOrder } from "./GroupOrder.ts"
import type { Plan, Step } from "./Plan.ts"
import { Records } from "./Records.ts"
import { Restarts } from "./Restarts.ts"
import type { Violation } from "./Rules.ts"
import { RuntimeLife } from "./RuntimeLife.ts"
import { SimulatedSpawner } from "./SimulatedSpawner.ts"
import { SimulatedStore } from "./SimulatedStore.ts"
import { World } from "./World.ts"

export interface Outcome {
  /** The first thing that did not hold; undefined: all is well. */
  readonly violation: Violation | undefined
  /** Two runs with the same number took the same course. */
  readonly hash: string
  readonly log: ReadonlyArray<string> | undefined
  /** Steps of the simulation: after each of them everything was checked. */
  readonly steps: number
  readonly events: number
  readonly virtualMs: number
  readonly spawns: number
  readonly turns: number
  readonly answers: number
  /** Lives of the runtime. */
  readonly lives: number
}

/** Rest must be reached so soon after the last misfortune (virtual ms). */
const restMs = 120_000
/** So long after rest whatever was late has come (virtual ms). */
const quietMs = 1_000
/** A shutdown must be over within this. */
const shutdownMs = 60_000
/** A runtime that was to die after some deeds, and does nothing, dies after so long. */
const doomMs = 50
/** A runtime that waits for a dead one's processes looks again after so long. */
const againMs = 20
/** One that could not start is started again after so long. */
const failedStartMs = 300

export class Simulation {
  readonly #plan: Plan
  readonly #world: World
  readonly #records: Records
  readonly #spawner: SimulatedSpawner
  readonly #store: SimulatedStore
  readonly #clients: Clients
  readonly #restarts: Restarts
  readonly #order: GroupOrder
  #life: RuntimeLife | undefined
  #lives = 0
  #steps = 0
  #left: number
  /** Until when the next runtime waits. */
  #downMs = againMs
  #starting: Owner | undefined

  constructor(plan: Plan, detail: Detail) {
    this.#plan = plan
    const world = (this.#world = new World(plan, detail))
    this.#records = new Records(world)
    this.#spawner = new SimulatedSpawner(world, this.#records)
    this.#store = new SimulatedStore(world, this.#records)
    this.#clients = new Clients(world, this.#records, this.#spawner, this.#store)
    this.#restarts = new Restarts(world, this.#records, this.#spawner, this.#clients)
    this.#order = new GroupOrder(world, this.#records, this.#spawner, this.#clients)
    this.#left = plan.steps.length
  }

  run(): Outcome {
    const deaf = this.#order.listen()
    try {
      return this.#carryOut()
    } finally {
      deaf()
    }
  }

  #carryOut(): Outcome {
    const world = this.#world
    for (const step of this.#plan.steps) {
      world.in(step.at, () => {
        this.#left--
        this.#step(step)
      })
    }
    this.#begin()
    this.#go(() => this.#left === 0, Infinity)
    world.healed = true
    world.outageUntil = Math.min(world.outageUntil, world.now)
    world.say("misfortune is over")
    if (!this.#go(() => this.#isAtRest(), world.now + restMs)) this.#restless()
    const lengths = new Map(Array.from(this.#records.sessions, ([id, { entries }]) => [id, entries.length]))
    // What is told by a timer of its own, or late, is told by then.
    this.#go(() => false, world.now + quietMs)
    if (!this.#broken) for (const feed of this.#clients.feeds) feed.rests(lengths)
    this.#end()
    return {
      violation: world.violations[0],
      hash: world.log.hash,
      log: world.log.lines,
      steps: this.#steps,
      events: world.log.events,
      virtualMs: world.now,
      spawns: this.#spawner.spawns,
      turns: [...this.#records.sessions.values()].reduce((sum, { turns }) => sum + turns.size, 0),
      answers: this.#clients.answers,
      lives: this.#lives,
    }
  }

  get #broken(): boolean {
    return this.#world.violations.length > 0
  }

  /** One step after another until something holds; false: it does not by then. */
  #go(until: () => boolean, limit: number): boolean {
    const world = this.#world
    const { agenda } = world
    const drawn = this.#plan.world.ties === "lot"
    while (!this.#broken) {
      if (until()) return true
      const tasks = this.#life?.alive === true ? this.#life.tasks : undefined
      const next = agenda.peek()
      if (
        tasks !== undefined &&
        tasks.size > 0 &&
        (next === undefined || next.at > world.now || !drawn || world.lot("interleave", this.#steps) < 0.7)
      ) {
        tasks.next()
      } else if (next === undefined || next.at > limit) return false
      else agenda.take()!.act()
      world.settle()
      this.#steps++
    }
    return false
  }

  // ---- the runtime's lives ----

  #begin(): void {
    const world = this.#world
    // What a dead runtime left running is swept before the next one serves anybody.
    if (!this.#spawner.empty) return this.#beginIn(againMs)
    const number = ++this.#lives
    world.say(`runtime ${number} starts`)
    this.#restarts.runtimeBegins(this.#records.sessions)
    this.#order.runtimeBegins()
    const life: RuntimeLife = new RuntimeLife(world, number, {
      spawner: (life) => this.#spawner.open(life),
      store: (life) => this.#store.open(life),
      supervisors: (life) => this.#store.openSupervisors(life),
      onDeath: () => this.#died(life),
    })
    this.#life = life
    this.#downMs = againMs
    life.start((trouble) => {
      if (trouble !== undefined) {
        this.#downMs = failedStartMs
        return life.die("at its start")
      }
      world.say(`runtime ${number} is up`)
      this.#restarts.runtimeIsUp()
    })
  }

  #beginIn(ms: number): void {
    const owner = { alive: true }
    this.#starting = owner
    this.#world.in(
      ms,
      () => {
        this.#starting = undefined
        this.#begin()
      },
      owner,
    )
  }

  #died(life: RuntimeLife): void {
    this.#store.lose()
    this.#spawner.orphan(life)
    this.#clients.lose(life)
    this.#records.runtimeEnded()
    this.#order.runtimeEnded()
    if (!this.#plan.world.durable) this.#store.forget()
    this.#beginIn(this.#downMs)
  }

  #shutdown(life: RuntimeLife, drainMs: number, then: () => void): void {
    const world = this.#world
    const { service } = life
    if (service === undefined) return
    life.ending = true
    this.#order.runtimeEnds()
    life.run(service.shutdown(drainMs)).addObserver((exit) => {
      if (!life.alive) return
      if (exit._tag === "Failure") return world.broke("no-defect", `the shutdown failed: ${String(exit.cause)}`)
      world.say(`runtime ${life.number} is shut down`)
      const { survivors } = exit.value
      const left = [...this.#spawner.children()].filter(({ pid, survives }) => !survives || !survivors.includes(pid))
      if (left.length > 0) {
        world.broke(
          "stopped-means-gone",
          `a shutdown is answered while ${left.map(({ name }) => name).join(", ")} lives`,
        )
      }
      life.close(() => {
        if (!life.alive) return
        world.say(`runtime ${life.number} is closed`)
        // Its sockets are closed.
        life.service = undefined
        then()
      })
    })
  }

  // ---- steps ----

  #step(step: Step): void {
    const world = this.#world
    const life = this.#life
    switch (step.type) {
      case "disconnect":
        return this.#clients.disconnect(step.of)
      case "kill":
        if (life?.alive !== true) return
        world.say(`runtime ${life.number} will die after ${step.after} deeds`)
        this.#downMs = step.downMs
        life.doom(step.after)
        world.in(doomMs, () => life.die("doing nothing"), life)
        return
      case "shutdown":
        if (life?.alive !== true || life.service === undefined) return
        world.say(`runtime ${life.number} is told to end, with ${step.drainMs} ms`)
        this.#downMs = step.downMs
        return this.#shutdown(life, step.drainMs, () => {
          for (const feed of this.#clients.feeds) feed.leave()
          // Who waited for a read of the store is answered now.
          world.in(
            quietMs,
            () => {
              this.#nothingLeft(life)
              life.die("after its shutdown")
            },
            life,
          )
        })
      case "outage":
        world.say(`the store is away for ${step.forMs} ms`)
        world.outageUntil = Math.max(world.outageUntil, world.now + step.forMs)
        return
      case "clock":
        world.say(`the wall clock is set by ${step.byMs} ms`)
        world.wallMs += step.byMs
        world.wallWasSet = true
        this.#restarts.wallClockIsSet()
        return
      case "end": {
        const { name } = this.#plan.sessions[step.session]!.spec
        for (const { id } of this.#records.named(name)) for (const child of this.#spawner.of(id)) child.leave(step.end)
        return
      }
      default:
        return this.#clients.ask(step, life)
    }
  }

  // ---- rest and end ----

  #isAtRest(): boolean {
    const life = this.#life
    const isUp = life?.alive === true && !life.doomed && life.service !== undefined && !life.ending
    return (
      isUp && this.#clients.open.size === 0 && this.#records.openTurns === 0 && this.#records.onTheWay().length === 0
    )
  }

  #restless(): void {
    if (this.#broken) return
    const asked = Array.from(this.#clients.open, ({ step, session }) => `${step.type} ${step.n} of ${session}`)
    const turns = [...this.#records.sessions.values()].flatMap(({ name, status, turns }) =>
      Array.from(turns.values()).flatMap(({ id, phase }) =>
        phase === "ended" ? [] : [`${id} of ${name} (${status}) is ${phase}`],
      ),
    )
    const sessions = this.#records.onTheWay().map(({ name, status }) => `${name} is ${status}`)
    const runtime = this.#life?.service === undefined ? ["the runtime is not up"] : []
    this.#world.broke("comes-to-rest", [...runtime, ...asked, ...turns, ...sessions].join("; "))
  }

  #end(): void {
    const life = this.#life
    if (this.#broken || life === undefined) return
    const world = this.#world
    let over = false
    this.#shutdown(life, 0, () => (over = true))
    if (!this.#go(() => over, world.now + shutdownMs)) {
      if (!this.#broken) world.broke("comes-to-rest", "the shutdown does not end")
      return
    }
    for (const feed of this.#clients.feeds) feed.leave()
    this.#go(() => false, world.now + quietMs)
    this.#nothingLeft(life)
    if (this.#starting !== undefined) world.broke("nothing-left", "another runtime is about to start")
  }

  #nothingLeft(life: RuntimeLife): void {
    const world = this.#world
    if (this.#clients.open.size > 0) {
      const asked = Array.from(this.#clients.open, ({ step, session }) => `${step.type} ${step.n} of ${session}`)
      world.broke("nothing-left", `not answered at the end: ${asked.join(", ")}`)
    }
    if (life.timers > 0) world.broke("nothing-left", `${life.timers} timers are left at the end`)
    const left = [...this.#spawner.children()].filter(({ survives }) => !survives)
    if (left.length > 0) world.broke("nothing-left", `left at the end: ${left.map(({ name }) => name).join(", ")}`)
  }
}

/** Runs a plan. Errors get no stacks meanwhile: nobody reads them, and they cost most of the time. */
export const simulate = (plan: Plan, detail: Detail = "nothing"): Outcome => {
  const before = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return new Simulation(plan, detail).run()
  } finally {
    Error.stackTraceLimit = before
  }
}
