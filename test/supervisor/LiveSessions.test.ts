import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { SessionId } from "../../src/domain/Ids.ts"
import { nextMove, type IdleSession, type Standing } from "../../src/supervisor/AdmissionPolicy.ts"
import { LiveSessions, type Occupancy, type Resident } from "../../src/supervisor/LiveSessions.ts"
import type { AdmissionSpec } from "../../src/supervisor/RuntimeConfig.ts"
import { checked, checkedTimes } from "../support/Property.ts"

const three: AdmissionSpec = { maxLiveSessions: 3, maxLiveProcesses: null, whenFull: "wait" }

describe("the next move", () => {
  const idle = (...since: ReadonlyArray<number>): ReadonlyArray<IdleSession> =>
    since.map((at) => ({ id: `s${at}` as SessionId, since: at }))
  const move = (spec: Partial<AdmissionSpec>, standing: Partial<Omit<Standing, "residents">>, residents = {}) => {
    const { live = 0 } = standing
    const given = { live, processes: live, waiting: 1, ...standing }
    return nextMove({ ...three, ...spec }, { ...given, residents: () => ({ idle: [], leaving: 0, ...residents }) })
  }

  it("lets in as many as there is room for, those that wait longest first", () => {
    expect(move({}, { live: 1, waiting: 5 })).toMatchObject({ admit: 2, suspend: [], refuse: 0 })
    expect(move({}, { live: 2, waiting: 1 })).toEqual({ admit: 1, suspend: [], refuse: 0, error: null })
  })

  it("suspends the least recently used, one for each that has to wait", () => {
    const residents = { idle: idle(30, 10, 20) }
    expect(move({}, { live: 3, waiting: 1 }, residents).suspend).toEqual(["s10"])
    expect(move({}, { live: 3, waiting: 2 }, residents).suspend).toEqual(["s10", "s20"])
    expect(move({}, { live: 3, waiting: 9 }, residents).suspend).toEqual(["s10", "s20", "s30"])
  })

  it("suspends nobody for whom a place becomes free anyway", () => {
    expect(move({}, { live: 3, waiting: 1 }, { idle: idle(1), leaving: 1 })).toMatchObject({ admit: 0, suspend: [] })
    expect(move({}, { live: 3, waiting: 2 }, { idle: idle(1, 2), leaving: 1 }).suspend).toEqual(["s1"])
  })

  it("refuses only where it is told so, and only those for whom nobody leaves", () => {
    expect(move({}, { live: 3, waiting: 4 })).toMatchObject({ admit: 0, suspend: [], refuse: 0 })
    const refused = move({ whenFull: "refuse" }, { live: 3, waiting: 4 }, { idle: idle(1), leaving: 1 })
    expect(refused).toMatchObject({ admit: 0, suspend: ["s1"], refuse: 2 })
    expect(refused.error).toMatchObject({ limit: "maxLiveSessions", value: 3 })
  })

  it("looks at processes too, and names the limit that was reached", () => {
    const spec = { maxLiveSessions: 10, maxLiveProcesses: 5, whenFull: "refuse" } as const
    expect(move(spec, { live: 2, processes: 4, waiting: 2 })).toMatchObject({ admit: 1, refuse: 1 })
    expect(move(spec, { live: 2, processes: 9 }).error).toMatchObject({ limit: "maxLiveProcesses", value: 5 })
    expect(move({ ...spec, maxLiveSessions: 2 }, { live: 2, processes: 3 }).error).toMatchObject({
      limit: "maxLiveSessions",
    })
  })

  it("does not look at the residents where there is room for all", () => {
    const residents = () => expect.fail("looked")
    nextMove(three, { live: 2, processes: 2, waiting: 1, residents })
    nextMove({ ...three, maxLiveSessions: null }, { live: 1e6, processes: 1e6, waiting: 1e6, residents })
  })

  it("never lets in more than fit, and leaves nobody waiting without a reason", () => {
    const small = fc.nat({ max: 8 })
    const limit = fc.option(fc.integer({ min: 1, max: 6 }))
    const spec = fc.record({
      maxLiveSessions: limit,
      maxLiveProcesses: limit,
      whenFull: fc.constantFrom("wait" as const, "refuse" as const),
    })
    checked(spec, small, small, small, fc.array(small), small, (given, live, more, waiting, times, leaving) => {
      const idleOnes = times.map((since, index) => ({ id: `s${index}` as SessionId, since }))
      const { admit, suspend, refuse, error } = nextMove(given, {
        live,
        processes: live + more,
        waiting,
        residents: () => ({ idle: idleOnes, leaving }),
      })
      const room = Math.min(
        (given.maxLiveSessions ?? Infinity) - live,
        (given.maxLiveProcesses ?? Infinity) - live - more,
      )
      expect(admit).toBe(Math.min(waiting, Math.max(0, room)))
      const left = waiting - admit - refuse
      expect(left).toBeGreaterThanOrEqual(0)
      expect(suspend.length).toBeLessThanOrEqual(Math.max(0, waiting - admit - leaving))
      // Whoever waits has somebody who leaves for it, or nobody is idle.
      if (left > suspend.length + leaving) expect([suspend.length, given.whenFull]).toEqual([times.length, "wait"])
      expect(error === null).toBe(refuse === 0)
      const since = (id: string) => idleOnes.find((one) => one.id === id)!.since
      const kept = idleOnes.filter(({ id }) => !suspend.includes(id))
      for (const id of suspend) for (const one of kept) expect(since(id)).toBeLessThanOrEqual(one.since)
    })
  })
})

/**
 * A session as far as the gate is concerned. `none` → `asking` → `starting` → `idle` ⇄ `busy` → `leaving` → `none`; a crash
 * may lead to `asking` in place.
 */
type Stage = "none" | "asking" | "starting" | "idle" | "busy" | "leaving"

class Session implements Resident {
  readonly id: SessionId
  stage: Stage = "none"
  since = 0
  processes = 1
  /** What came of the last start. */
  outcome: "admitted" | "LimitReached" | "gaveUp" | undefined
  /** A message on its way to it. */
  message: (() => void) | undefined
  #fiber: Fiber.Fiber<unknown> | undefined
  readonly #world: World

  constructor(world: World, index: number) {
    this.#world = world
    this.id = `s${index}` as SessionId
  }

  get occupancy(): Occupancy {
    if (this.stage === "idle") return { _tag: "Idle", since: this.since }
    return this.stage === "leaving" ? { _tag: "Leaving" } : { _tag: "Busy" }
  }

  get leader(): number | null {
    return Number(this.id.slice(1))
  }

  /** It does not hear of it at once: it has a mailbox. */
  makeRoom(passedOver: () => void): void {
    expect(this.message, "is asked once").toBeUndefined()
    expect(this.#world.gate.size.waiting, "for somebody").toBeGreaterThan(0)
    this.message = () => {
      if (this.stage === "idle") this.stage = "leaving"
      else passedOver()
    }
  }

  deliver(): void {
    const { message } = this
    this.message = undefined
    message?.()
  }

  ask(): void {
    if (this.stage !== "none") return
    this.stage = "asking"
    this.outcome = undefined
    const world = this.#world
    const arrived = ++world.arrivals
    this.#fiber = Effect.runFork(
      world.gate.acquire(this).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            this.#fiber = undefined
            if (Exit.isSuccess(exit)) {
              this.outcome = "admitted"
              this.stage = "starting"
              world.admitted(arrived, this.#kept)
            } else {
              this.outcome = Cause.hasInterruptsOnly(exit.cause) ? "gaveUp" : "LimitReached"
              this.stage = "none"
              world.gate.release(this.id)
            }
            this.#kept = false
          }),
        ),
        Effect.exit,
      ),
    )
  }

  giveUp(): void {
    if (this.stage === "asking") this.#fiber?.interruptUnsafe()
  }

  ready(): void {
    if (this.stage === "starting") this.rest()
  }

  submit(): void {
    if (this.stage === "idle") this.stage = "busy"
  }

  rest(): void {
    if (this.stage !== "starting" && this.stage !== "busy") return
    this.stage = "idle"
    this.since = ++this.#world.now
    this.#world.gate.rested()
  }

  /** A client wants it to sleep. */
  leave(): void {
    if (this.stage === "idle" || this.stage === "busy" || this.stage === "starting") this.stage = "leaving"
  }

  /** Its process is gone, and nothing follows. */
  end(): void {
    if (this.stage === "none" || this.stage === "asking") return
    this.stage = "none"
    this.processes = 1
    this.#world.gate.release(this.id)
  }

  #kept = false
  /** Its process is gone, and the next incarnation is wanted at once. */
  replace(): void {
    if (this.stage === "none" || this.stage === "asking") return
    this.stage = "none"
    this.#kept = true
    this.ask()
  }
}

class World {
  readonly gate: LiveSessions
  readonly sessions: ReadonlyArray<Session>
  readonly spec: AdmissionSpec
  now = 0
  arrivals = 0
  recount: (() => void) | undefined
  #lastAdmitted = 0

  constructor(spec: AdmissionSpec, count: number) {
    this.spec = spec
    this.gate = new LiveSessions({
      admission: spec,
      countProcesses: (leaders) => [...leaders].reduce<number>((sum, pid) => sum + this.sessions[pid!]!.processes, 0),
      isClosed: () => false,
      later: (_, callback) => {
        expect(this.recount, "one at a time").toBeUndefined()
        this.recount = callback
      },
    })
    this.sessions = Array.from({ length: count }, (_, index) => new Session(this, index))
  }

  /** `kept`: it may have stayed where it was, and so overtaken nobody. */
  admitted(arrived: number, kept: boolean): void {
    if (kept && arrived === this.arrivals) return
    expect(arrived, "nobody is overtaken").toBeGreaterThan(this.#lastAdmitted)
    this.#lastAdmitted = arrived
  }

  in(...stages: ReadonlyArray<Stage>): ReadonlyArray<Session> {
    return this.sessions.filter(({ stage }) => stages.includes(stage))
  }

  tick(): void {
    const { recount } = this
    this.recount = undefined
    recount?.()
  }

  check(): void {
    const { maxLiveSessions, maxLiveProcesses, whenFull } = this.spec
    const live = this.in("starting", "idle", "busy", "leaving")
    const { waiting, live: places } = this.gate.size
    expect(places, "who is live has a place, who is not has none").toBe(live.length)
    expect(waiting, "who asks waits").toBe(this.in("asking").length)
    if (maxLiveSessions !== null) expect(live.length).toBeLessThanOrEqual(maxLiveSessions)
    if (waiting === 0) return
    const leaving = live.filter(({ stage, message }) => stage === "leaving" || message !== undefined).length
    const idle = live.filter(({ stage, message }) => stage === "idle" && message === undefined).length
    if (leaving < waiting) expect(idle, "nobody waits while another is idle").toBe(0)
    if (whenFull === "refuse") expect(leaving, "who may not wait waits only for one that leaves").toBeGreaterThan(0)
    if (maxLiveProcesses === null) expect(places, "no place is empty while somebody waits").toBe(maxLiveSessions)
    else expect(this.recount, "somebody looks again").toBeDefined()
  }

  /** Everybody does what is asked of it and nothing else, until nobody waits. */
  settle(): void {
    for (let i = 0; i < 1000 && this.gate.size.waiting > 0; i++) {
      for (const session of this.sessions) {
        session.deliver()
        session.processes = 1
        if (session.stage === "leaving") session.end()
        else session.rest()
      }
      this.tick()
      this.check()
    }
    expect(this.gate.size.waiting, "everybody gets in").toBe(0)
  }
}

type Command = readonly [name: string, run: (world: World) => void]
const on = (name: string, run: (session: Session) => void): fc.Arbitrary<Command> =>
  fc.nat({ max: 7 }).map((index) => [`${name} ${index}`, ({ sessions }) => run(sessions[index]!)])
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: on("ask", (session) => session.ask()) },
  { weight: 1, arbitrary: on("give up", (session) => session.giveUp()) },
  { weight: 3, arbitrary: on("ready", (session) => session.ready()) },
  { weight: 2, arbitrary: on("submit", (session) => session.submit()) },
  { weight: 3, arbitrary: on("rest", (session) => session.rest()) },
  { weight: 1, arbitrary: on("leave", (session) => session.leave()) },
  { weight: 2, arbitrary: on("end", (session) => session.end()) },
  { weight: 1, arbitrary: on("replace", (session) => session.replace()) },
  { weight: 4, arbitrary: on("deliver", (session) => session.deliver()) },
)
const forks = on("fork", (session) => (session.processes = 1 + (session.processes % 4)))
const tick: fc.Arbitrary<Command> = fc.constant(["tick", (world) => world.tick()])
const commandsOf = (one: fc.Arbitrary<Command>) =>
  fc.array(
    one.map((it) => Object.assign(it, { [fc.toStringMethod]: () => it[0] })),
    { maxLength: 60 },
  )

describe("the gate, whatever happens in whatever order", () => {
  const whenFull = fc.constantFrom("wait" as const, "refuse" as const)

  it("lets no more live than may, overtakes nobody, loses no place, and lets everybody in at last", () => {
    checkedTimes(3000, fc.integer({ min: 1, max: 4 }), whenFull, commandsOf(command), (max, when, commands) => {
      const world = new World({ maxLiveSessions: max, maxLiveProcesses: null, whenFull: when }, 8)
      for (const [, run] of commands) {
        run(world)
        world.check()
      }
      world.settle()
      for (const session of world.sessions) session.end()
      expect(world.gate.size).toEqual({ live: 0, waiting: 0 })
      // All places are there again.
      for (const session of world.sessions.slice(0, max)) {
        session.ask()
        expect(session.outcome).toBe("admitted")
      }
    })
  })

  it("does the same by processes, which come and go by themselves", () => {
    const limits = fc.tuple(fc.option(fc.integer({ min: 1, max: 4 })), fc.integer({ min: 1, max: 6 }))
    const commands = commandsOf(
      fc.oneof({ weight: 26, arbitrary: command }, { weight: 3, arbitrary: forks }, { weight: 2, arbitrary: tick }),
    )
    checkedTimes(3000, limits, whenFull, commands, ([maxLiveSessions, maxLiveProcesses], when, steps) => {
      const world = new World({ maxLiveSessions, maxLiveProcesses, whenFull: when }, 8)
      for (const [, run] of steps) {
        const before = world.in("starting").length
        run(world)
        world.check()
        const { live } = world.gate.size
        if (world.in("starting").length > before) expect(live).toBeLessThanOrEqual(maxLiveProcesses)
      }
      world.settle()
      for (const session of world.sessions) session.end()
      expect(world.gate.size).toEqual({ live: 0, waiting: 0 })
    })
  })
})

describe("the gate", () => {
  const full = (spec: Partial<AdmissionSpec> = {}, count = 8) => {
    const world = new World({ ...three, ...spec }, count)
    for (const session of world.sessions.slice(0, 3)) {
      session.ask()
      session.ready()
      session.submit()
    }
    return { world, sessions: world.sessions }
  }

  it("without limits lets everybody in and keeps nothing", () => {
    const world = new World({ maxLiveSessions: null, maxLiveProcesses: null, whenFull: "refuse" }, 1000)
    for (const session of world.sessions) session.ask()
    expect(world.in("starting").length).toBe(1000)
    expect(world.gate.size).toEqual({ live: 0, waiting: 0 })
  })

  it("suspends the first that becomes idle for the first that waits", () => {
    const { world, sessions } = full()
    sessions[5]!.ask()
    sessions[4]!.ask()
    sessions[2]!.rest()
    sessions[2]!.deliver()
    expect(sessions[2]!.stage).toBe("leaving")
    expect(world.in("asking").length).toBe(2)
    sessions[2]!.end()
    expect([sessions[5]!.stage, sessions[4]!.stage]).toEqual(["starting", "asking"])
  })

  it("chooses another when the one it chose has become busy meanwhile", () => {
    const { sessions } = full()
    sessions[0]!.rest()
    sessions[1]!.rest()
    sessions[3]!.ask()
    sessions[0]!.submit()
    sessions[0]!.deliver()
    sessions[1]!.deliver()
    expect([sessions[0]!.stage, sessions[1]!.stage]).toEqual(["busy", "leaving"])
  })

  it("gives the place of one that was asked to leave to the one it was asked for, also when it is wanted again at once", () => {
    const { world, sessions } = full()
    sessions[0]!.rest()
    sessions[3]!.ask()
    sessions[0]!.deliver()
    sessions[0]!.replace()
    expect([sessions[3]!.stage, sessions[0]!.stage]).toEqual(["starting", "asking"])
    world.check()
  })

  it("lets a session that is replaced in place keep it, whoever waits", () => {
    const { sessions } = full()
    sessions[3]!.ask()
    sessions[0]!.replace()
    expect([sessions[0]!.stage, sessions[3]!.stage]).toEqual(["starting", "asking"])
  })

  it("finds another for a start that counted on one that leaves, when that one comes back in place", () => {
    const { world, sessions } = full()
    sessions[1]!.rest()
    sessions[0]!.leave()
    sessions[3]!.ask()
    expect(sessions[1]!.message).toBeUndefined()
    sessions[0]!.replace()
    sessions[1]!.deliver()
    expect([sessions[0]!.stage, sessions[1]!.stage]).toEqual(["starting", "leaving"])
    world.check()
  })

  it("refuses the newest when the one that was to leave stays", () => {
    const { sessions } = full({ whenFull: "refuse" })
    sessions[4]!.ask()
    expect([sessions[4]!.outcome, sessions[4]!.stage]).toEqual(["LimitReached", "none"])
    sessions[0]!.rest()
    sessions[1]!.rest()
    sessions[3]!.ask()
    sessions[4]!.ask()
    expect([sessions[3]!.stage, sessions[4]!.stage]).toEqual(["asking", "asking"])
    sessions[1]!.submit()
    sessions[1]!.deliver()
    expect([sessions[3]!.stage, sessions[4]!.outcome]).toEqual(["asking", "LimitReached"])
  })

  it("counts processes again while somebody waits for some, and not after", () => {
    const { world, sessions } = full({ maxLiveSessions: null, maxLiveProcesses: 6 })
    sessions[0]!.processes = 4
    sessions[3]!.ask()
    expect(sessions[3]!.stage).toBe("asking")
    world.tick()
    expect(sessions[3]!.stage).toBe("asking")
    sessions[0]!.processes = 2
    world.tick()
    expect([sessions[3]!.stage, world.recount]).toEqual(["starting", undefined])
  })
})
