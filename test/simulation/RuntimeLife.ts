/**
 * One life of the runtime under test: the real Runtime service with fibers, clock and chance of the world's own. It dies
 * between two of the things that it does to the world: what it would do after that does not happen any more.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import { SessionStore } from "../../src/domain/SessionStore.ts"
import { TemplateStore, makeMemory as makeTemplates } from "../../src/domain/TemplateStore.ts"
import { SupervisorStore } from "../../src/domain/SupervisorStore.ts"
import { Spawner } from "../../src/process/Subprocess.ts"
import { Chance } from "../../src/supervisor/Chance.ts"
import { CurrentMeters, Meters } from "../../src/supervisor/Meters.ts"
import { Runtime } from "../../src/supervisor/Runtime.ts"
import { defaultOptions, RuntimeConfig } from "../../src/supervisor/RuntimeConfig.ts"
import * as RuntimeLive from "../../src/supervisor/RuntimeLive.ts"
import { SessionDirectories } from "../../src/supervisor/SessionDirectories.ts"
import type { Owner } from "./Agenda.ts"
import type { World } from "./World.ts"

/** Fibers that want to go on, in order. */
export class Tasks implements Scheduler.Scheduler {
  readonly executionMode = "async"
  #waiting: Array<() => void> = []
  #at = 0
  readonly #dispatcher: Scheduler.SchedulerDispatcher = {
    scheduleTask: (task) => void this.#waiting.push(task),
    flush: () => {
      while (this.size > 0) this.next()
    },
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this.#dispatcher
  }

  get size(): number {
    return this.#waiting.length - this.#at
  }

  next(): void {
    const task = this.#waiting[this.#at++]!
    if (this.#at === this.#waiting.length) {
      this.#waiting = []
      this.#at = 0
    }
    task()
  }
}

const fresh = Context.empty()

/** Errors in the log that are no bugs. */
const expected = ["the store does not answer", "retention does not work", "gave up restarting", "supervisor gave up"]

class VirtualClock implements Clock.Clock {
  readonly #world: World
  readonly #life: Owner
  /** The steady clock of every life begins elsewhere. */
  readonly #origin: number
  #sleeps = 0
  sleeping = 0

  constructor(world: World, life: Owner, origin: number) {
    this.#world = world
    this.#life = life
    this.#origin = origin
  }

  currentTimeMillisUnsafe(): number {
    return this.#world.now + this.#world.wallMs
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.currentTimeMillisUnsafe()) * 1_000_000n
  }
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  monotonicTimeNanosUnsafe(): bigint {
    return BigInt((this.#origin + this.#world.now) * 1_000_000)
  }
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const ms = Duration.toMillis(duration)
    if (ms <= 0) return Effect.yieldNow
    if (!Number.isFinite(ms)) return Effect.never
    const world = this.#world
    return Effect.callback((resume) => {
      const { lateMs } = world.plan.world
      const late = lateMs === 0 ? 0 : Math.floor(world.lot("late", ++this.#sleeps) * (lateMs + 1))
      this.sleeping++
      const entry = world.in(
        ms + late,
        () => {
          this.sleeping--
          resume(Effect.void)
        },
        this.#life,
      )
      return Effect.sync(() => {
        if (!entry.cancelled) this.sleeping--
        entry.cancelled = true
      })
    })
  }
}

export class RuntimeLife implements Owner {
  alive = true
  /** It was told to end. */
  ending = false
  readonly number: number
  readonly tasks = new Tasks()
  readonly #world: World
  readonly #clock: VirtualClock
  readonly #context: Context.Context<Spawner | SessionStore | SupervisorStore | TemplateStore | RuntimeConfig>
  readonly #scope = Scope.makeUnsafe()
  readonly #onDeath: () => void
  #closing: Fiber.Fiber<void> | undefined
  /** Of what it does to the world, before it dies. */
  #left = Infinity
  /** What it did to the world so far. */
  deeds = 0
  service: Runtime["Service"] | undefined

  constructor(
    world: World,
    number: number,
    parts: {
      readonly spawner: (life: RuntimeLife) => Spawner["Service"]
      readonly store: (life: RuntimeLife) => SessionStore["Service"]
      readonly supervisors: (life: RuntimeLife) => SupervisorStore["Service"]
      readonly onDeath: () => void
    },
  ) {
    this.#world = world
    this.number = number
    this.#onDeath = parts.onDeath
    const clock = (this.#clock = new VirtualClock(world, this, number * 1_000_000))
    const { durable, restarts, admission, retentionMs, yieldAfter } = world.plan.world
    let fractions = 0
    let uuids = 0
    this.#context = fresh.pipe(
      Context.add(Scheduler.Scheduler, this.tasks),
      Context.add(Scheduler.MaxOpsBeforeYield, yieldAfter),
      Context.add(Clock.Clock, clock),
      Context.add(Logger.CurrentLoggers, new Set([Logger.make((options) => this.#heard(options))])),
      Context.add(References.MinimumLogLevel, "Error"),
      Context.add(Chance, {
        fraction: () => world.lot("fraction", number, ++fractions),
        origin: () => `r${number}x`,
        uuid: () => `u${number}-${++uuids}`,
      }),
      // Those of the process would keep every runtime that died.
      Context.add(CurrentMeters, new Meters()),
      Context.add(SessionDirectories, {
        make: (_, session, cwd) => ({ cwd: cwd ?? `/${session}`, temporary: `/tmp/${session}` }),
        remove: () => Effect.void,
        sweep: () => Effect.void,
      }),
      Context.add(RuntimeConfig, {
        ...defaultOptions,
        version: "0",
        marker: `r${number}`,
        dataDirectory: "/data",
        environment: {},
        durable,
        restarts,
        admission,
        retention: retentionMs === null ? null : { maxAgeMs: retentionMs },
      }),
      Context.add(SessionStore, parts.store(this)),
      Context.add(SupervisorStore, parts.supervisors(this)),
      Context.add(Spawner, parts.spawner(this)),
      Context.add(TemplateStore, makeTemplates()),
    )
  }

  /** Timers that it has set. */
  get timers(): number {
    return this.#clock.sleeping
  }

  run<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.#context)(effect)
  }

  /** Calls back with the reason where it cannot start. */
  start(then: (trouble: unknown) => void): void {
    const built = Effect.runForkWith(this.#context)(Layer.buildWithScope(RuntimeLive.layer, this.#scope))
    built.addObserver((exit) => {
      if (Exit.isSuccess(exit)) this.service = Context.get(exit.value, Runtime)
      then(Exit.isSuccess(exit) ? undefined : exit.cause)
    })
  }

  /** Closes it once, for however many ask: a scope that is being closed already would say at once that it is. */
  close(then: () => void): void {
    this.#closing ??= this.run(Scope.close(this.#scope, Exit.void))
    this.#closing.addObserver(then)
  }

  /** Asked before everything that it does to the world: false, and it is dead. */
  does(what: string): boolean {
    if (!this.alive) return false
    if (this.#left <= 0) {
      this.die(`before ${what}`)
      return false
    }
    this.#left--
    this.deeds++
    return true
  }

  /** It will die after so many deeds. */
  doom(after: number): void {
    this.#left = Math.min(this.#left, after)
  }

  get doomed(): boolean {
    return this.#left !== Infinity
  }

  die(when: string): void {
    if (!this.alive) return
    this.alive = false
    this.#world.say(`runtime ${this.number} dies ${when}`)
    this.#onDeath()
  }

  #heard({ message, cause, logLevel }: Logger.Options<unknown>): void {
    const text = [message].flat().map(String).join(" ")
    // A store that dies is the plan's own doing, and so is one that is down.
    if (expected.some((beginning) => text.startsWith(beginning))) return
    if (logLevel === "Error" || logLevel === "Fatal") {
      this.#world.broke("no-defect", `${text} ${cause.reasons.length > 0 ? String(cause) : ""}`.trim())
    }
  }
}
