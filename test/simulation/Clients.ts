/**
 * Clients of the runtime: each request is made at its moment, by a fiber of its own or by the callback way, and its answer is
 * judged when it arrives. A client whose runtime dies hears nothing any more.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { RuntimeError } from "../../src/domain/Errors.ts"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { Session } from "../../src/domain/Session.ts"
import { isTerminal, type Turn } from "../../src/domain/Turn.ts"
import type { Runtime } from "../../src/supervisor/Runtime.ts"
import { Feed } from "./Feed.ts"
import type { SessionWish, Step, SupervisorWish } from "./Plan.ts"
import { wellName } from "./PlanMaker.ts"
import type { Records } from "./Records.ts"
import type { RuntimeLife } from "./RuntimeLife.ts"
import type { SimulatedChild } from "./SimulatedChild.ts"
import type { SimulatedSpawner } from "./SimulatedSpawner.ts"
import type { SimulatedStore } from "./SimulatedStore.ts"
import type { World } from "./World.ts"

export type ClientStep = Extract<Step, SessionWish | SupervisorWish | { readonly type: "list" | "watch" }>

export interface Request {
  readonly step: ClientStep
  /** What it is about; empty: all. */
  readonly session: string
  readonly askedAt: number
  readonly life: RuntimeLife
  /** Processes of the session when it was asked. */
  readonly before: ReadonlyArray<SimulatedChild>
  readonly fiber: { fiber: Fiber.Fiber<unknown, unknown> | undefined }
  /** The client went away. */
  abandoned: boolean
  answers: number
}

/** So long after an outage commits may still wait for their next try (ms). */
const afterOutageMs = 2_000

/** A wish whose client went away waits no longer in a mailbox (ms). */
const desertedMs = 10_000

/** One turn of the session that is well takes no longer (ms). */
const wellMs = 30

/** Requests that may start a session which is over with. */
const wakers: ReadonlySet<string> = new Set(["start", "configure", "resume", "restart", "fork"])

export class Clients {
  readonly #world: World
  readonly #records: Records
  readonly #spawner: SimulatedSpawner
  readonly #store: SimulatedStore
  /** By the number of its step. */
  readonly requests = new Map<number, Request>()
  /** Asked, not answered, and somebody waits. */
  readonly open = new Set<Request>()
  /** The turns that are known by the step that asked for them. */
  readonly #turns = new Map<number, TurnId>()
  readonly feeds = new Set<Feed>()
  /** Wishes for a start whose clients went away may be granted until then, by the session's name. */
  readonly #deserted = new Map<string, number>()
  /** Supervisors that somebody has wished to end. */
  readonly #ended = new Set<string>()
  /** When a client's stop was granted last. */
  readonly #stopped = new Map<SessionId, number>()
  answers = 0

  constructor(world: World, records: Records, spawner: SimulatedSpawner, store: SimulatedStore) {
    this.#world = world
    this.#records = records
    this.#spawner = spawner
    this.#store = store
  }

  /** Somebody has wished for a start of this session, and it may come to that yet. */
  isWoken(name: string): boolean {
    for (const { session, step } of this.open) if (session === name && wakers.has(step.type)) return true
    return this.#world.now < (this.#deserted.get(name) ?? 0)
  }

  /** Somebody wants its supervisor, or one above it, to run again. */
  isRevived(supervisor: string): boolean {
    for (const { session, step } of this.open) {
      if (step.type === "supervisorStart" && isBelow(supervisor, session)) return true
    }
    for (const [path, until] of this.#deserted) if (this.#world.now < until && isBelow(supervisor, path)) return true
    return false
  }

  /** Somebody has wished for the end of this supervisor, or of one above it. */
  hasStopped(supervisor: string): boolean {
    for (const path of this.#ended) if (isBelow(supervisor, path)) return true
    return false
  }

  /** Somebody has wished for its end, and that was granted, since `at`. */
  wasStopped(session: SessionId, at: number): boolean {
    return (this.#stopped.get(session) ?? -1) >= at
  }

  ask(step: ClientStep, life: RuntimeLife | undefined): void {
    const world = this.#world
    const name =
      "session" in step
        ? world.plan.sessions[step.session]!.spec.name
        : "supervisor" in step
          ? world.plan.supervisors[step.supervisor]!.path
          : ""
    const service = life?.alive === true ? life.service : undefined
    if (service === undefined || life === undefined)
      return world.say(`client ${step.n} ${step.type} ${name}: nobody is there`)
    const meant = "supervisor" in step ? this.#records.below(name) : this.#records.named(name)
    const before = meant.flatMap(({ id }) => this.#spawner.of(id))
    const request: Request = {
      step,
      session: name,
      askedAt: world.now,
      life,
      before,
      fiber: { fiber: undefined },
      abandoned: false,
      answers: 0,
    }
    world.say(`client ${step.n} ${step.type} ${name}`)
    if (step.type === "ask" && name === wellName) this.#inTime(request)
    if (step.type === "subscribe" || step.type === "watch") return this.#subscribe(request, service)
    if (step.type === "supervisorStop") this.#ended.add(name)
    this.requests.set(step.n, request)
    this.open.add(request)
    const answered = (exit: Exit.Exit<unknown, RuntimeError>) => this.#answered(request, exit)
    if (step.type === "submit") {
      const { key, timeoutMs } = step
      service.submit(this.#turnRequest(name, step.n, key, timeoutMs), "ended", answered)
      return
    }
    const fiber = life.run(this.#effectOf(step, name, service))
    request.fiber.fiber = fiber
    fiber.addObserver(answered)
  }

  /** What is well and up is answered soon, whatever becomes of others. */
  #inTime(request: Request): void {
    const world = this.#world
    const { life, session, step, askedAt } = request
    const status = this.#records.named(session)[0]?.status
    if (status !== "ready" && status !== "busy") return
    let before = 1
    for (const other of this.open) if (other.session === session) before++
    const boundMs = wellMs * before + 10 * world.plan.world.lateMs
    world.in(
      boundMs,
      () => {
        if (!this.open.has(request) || life.ending || world.outageUntil + afterOutageMs > askedAt) return
        world.broke("nobody-delays-another", `ask ${step.n} of ${session} has waited ${boundMs} ms`)
      },
      life,
    )
  }

  #turnRequest(session: string, n: number, key: string | undefined, timeoutMs: number | undefined) {
    return {
      session,
      // One key is one prompt, whoever asks.
      prompt: key === undefined ? `p${n}` : `p${key}`,
      ...(timeoutMs === undefined ? undefined : { timeoutMs }),
      ...(key === undefined ? undefined : { idempotencyKey: key }),
    }
  }

  #effectOf(
    step: Exclude<ClientStep, { readonly type: "subscribe" | "watch" | "submit" }>,
    name: string,
    runtime: Runtime["Service"],
  ): Effect.Effect<unknown, RuntimeError> {
    switch (step.type) {
      case "start":
        return runtime.start(this.#world.plan.sessions[step.session]!.spec, step.ifExists)
      case "configure": {
        const { spec } = this.#world.plan.sessions[step.session]!
        return runtime.configure(
          step.changed ? { ...spec, tags: { changed: "yes" }, mailbox: { ...spec.mailbox, capacity: 2 } } : spec,
        )
      }
      case "ask":
        return runtime.ask(this.#turnRequest(name, step.n, step.key, step.timeoutMs))
      case "tell":
        return runtime.tell(this.#turnRequest(name, step.n, step.key, step.timeoutMs))
      case "wait":
        return runtime.wait(this.#turns.get(step.of) ?? "turn_none", step.timeoutMs)
      case "cancel":
        return runtime.cancel(name, step.of === null ? undefined : (this.#turns.get(step.of) ?? "turn_none"))
      case "answer":
        return Effect.flatMap(runtime.get(name), ({ pendingRequests: [first] }) =>
          runtime.answer({ session: name, request: first?.request ?? "req0", outcome: step.outcome }),
        )
      case "write":
        return runtime.write(name, Buffer.from(""))
      case "signal":
        return runtime.signal(name, step.signal)
      case "suspend":
      case "resume":
      case "restart":
      case "remove":
      case "get":
        return runtime[step.type](name)
      case "fork":
        return runtime.fork(name, `f${step.n}`)
      case "stop":
        return runtime.stop(name, step.mode)
      case "extend":
        return runtime.extend(name, step.expiresInMs)
      case "list":
        return runtime.list({ limit: 3 })
      case "supervisorStart": {
        const { path, strategy, intensity } = this.#world.plan.supervisors[step.supervisor]!
        return runtime.startSupervisor({ path, strategy, ...intensity })
      }
      case "supervisorStop":
        return runtime.stopSupervisor(name)
    }
  }

  /** The client goes away. */
  disconnect(n: number): void {
    const request = this.requests.get(n)
    // A caller by callback does not go away.
    if (request === undefined || request.fiber.fiber === undefined || !this.open.has(request)) return
    this.#world.say(`client ${n} goes away`)
    request.abandoned = true
    if (wakers.has(request.step.type) || request.step.type === "supervisorStart")
      this.#deserted.set(request.session, this.#world.now + desertedMs)
    this.open.delete(request)
    request.fiber.fiber.interruptUnsafe()
  }

  /** The runtime is gone, and every connection with it. */
  lose(life: RuntimeLife): void {
    for (const request of this.open) if (request.life === life) this.open.delete(request)
    for (const feed of this.feeds) if (feed.life === life) this.feeds.delete(feed)
    this.#deserted.clear()
  }

  #subscribe(request: Request, service: Runtime["Service"]): void {
    const { step, life, session } = request
    const after = step.type === "subscribe" ? step.after : null
    const feed = new Feed(this.#world, this.#records, life, session)
    this.feeds.add(feed)
    feed.follow(
      service.subscribe(step.type === "watch" ? {} : after === null ? { session } : { session, after }),
      after,
      () => this.feeds.delete(feed),
    )
  }

  #answered(request: Request, exit: Exit.Exit<unknown, RuntimeError>): void {
    const world = this.#world
    const { step, session, life } = request
    if (!life.does("answer")) return
    request.answers++
    this.answers++
    if (request.answers > 1)
      world.broke("answered-once", `${step.type} ${step.n} was answered ${request.answers} times`)
    if (request.abandoned) return
    this.open.delete(request)
    if (Exit.isFailure(exit)) {
      const error = Cause.squash(exit.cause)
      const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : "a defect"
      world.say(`client ${step.n} ${step.type} ${session}: ${tag}`)
      if (tag === "Draining" && !life.ending) {
        world.broke("no-defect", `${step.type} ${step.n} of ${session} is told that the runtime ends, and it does not`)
      }
      if (Cause.hasDies(exit.cause) || Cause.hasInterrupts(exit.cause)) {
        world.broke("no-defect", `${step.type} ${step.n} of ${session} was answered with ${String(error)}`)
      }
      return
    }
    const { value } = exit
    if (world.log.listens) world.say(`client ${step.n} ${step.type} ${session}: ${wordsOf(value)}`)
    switch (step.type) {
      case "ask":
      case "submit":
        this.#turn(request, value as Turn, "ended")
        break
      case "tell":
        this.#turn(request, value as Turn, "accepted")
        break
      case "wait":
      case "cancel":
        this.#told(request, value as Turn)
        break
      case "stop":
      case "suspend":
        this.#stopped.set((value as Session).id, world.now)
        this.#gone(request)
        this.#snapshot(request, value as Session)
        break
      case "restart":
        this.#gone(request)
        this.#snapshot(request, value as Session)
        break
      case "remove":
      case "supervisorStop":
        this.#gone(request)
        break
      case "list":
      case "supervisorStart":
        break
      default:
        this.#snapshot(request, value as Session)
    }
  }

  /** A turn that the client asked for. */
  #turn(request: Request, turn: Turn, until: "accepted" | "ended"): void {
    this.#turns.set(request.step.n, turn.id)
    this.#told(request, turn)
    if (until === "ended" && !isTerminal(turn)) {
      this.#world.broke("ends-once", `ask ${request.step.n} was answered with a turn that is ${turn.status}`)
    }
  }

  #told({ step, session }: Request, turn: Turn): void {
    const record = this.#records.turn(turn.id)
    const lie = (what: string) =>
      this.#world.broke("acknowledged-is-stored", `${step.type} ${step.n} of ${session}: ${turn.id} ${what}`)
    if (record === undefined) return lie("is in no entry")
    if (isTerminal(turn) && (record.ended?.status !== turn.status || record.ended.text !== turn.text)) {
      return lie(`is told to have ended as ${turn.status}, on record it is ${record.ended?.status ?? record.phase}`)
    }
    const stored = this.#store.look((store) => store.turn(turn.id))
    // Removed, or over its limits, since.
    if (stored === undefined) return
    if (isTerminal(turn) && !isTerminal(stored)) lie("ended, and is open in the store")
  }

  #snapshot({ step, session }: Request, told: Session): void {
    const record = this.#records.sessions.get(told.id)
    if (told.seq > (record?.entries.length ?? 0)) {
      this.#world.broke(
        "acknowledged-is-stored",
        `${step.type} ${step.n} of ${session}: told seq ${told.seq}, stored ${record?.entries.length ?? 0}`,
      )
    }
  }

  /** What was there when it was asked is gone, or could not be killed. */
  #gone({ step, session, before }: Request): void {
    const left = before.filter(({ gone, survives }) => !gone && !survives)
    if (left.length > 0) {
      this.#world.broke(
        "stopped-means-gone",
        `${step.type} ${step.n} of ${session} is answered while ${left.map(({ name }) => name).join(", ")} lives`,
      )
    }
  }
}

const isBelow = (path: string, above: string): boolean => path === above || path.startsWith(`${above}/`)

const wordsOf = (value: unknown): string => {
  if (typeof value !== "object" || value === null) return "done"
  if ("prompt" in value) return `${(value as Turn).id} ${(value as Turn).status}`
  if ("spec" in value) return `${(value as Session).id} ${(value as Session).status} ${(value as Session).seq}`
  return "done"
}
