/**
 * Runs what one connection asks: each request in a fiber of its own, answers in any order, batches answered
 * together, notifications never. Holds the pending requests, so that `$/cancelRequest` finds them and no client
 * can pile up more than `maxPending`. Knows neither bytes nor sessions. Used by every JSON-RPC transport.
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { placesOf } from "../domain/Defect.ts"
import { InvalidParams, LimitReached, type RuntimeError } from "../domain/Errors.ts"
import { isRuntimeError } from "./ErrorCodes.ts"
import * as JsonRpc from "./JsonRpc.ts"
import type { SessionEvent } from "./Wire.ts"

/** The connection, as a handler sees it. */
export interface Peer {
  readonly notify: (event: SessionEvent) => void
  /** Waits until what was sent is on its way: before making more than was asked for. */
  readonly room: Effect.Effect<void>
  /** Characters of text that were made for it so far; left out where nobody counts. */
  readonly written?: () => number
  /** The live subscriptions of this connection, by id, and how each is ended. */
  readonly subscriptions: Map<string, () => void>
}

/** One request under way, as its handler sees it. */
export interface Call {
  /** Undefined for a notification. */
  readonly id: JsonRpc.Id | undefined
  readonly peer: Peer
  /** Runs after the answer has been sent, and not at all where the request failed. */
  readonly afterAnswer: (then: () => void) => void
}

export interface Method {
  /** The params, or what is wrong with them. */
  readonly decode: (params: unknown) => unknown
  readonly run: (params: any, call: Call) => Effect.Effect<unknown, RuntimeError>
  /** Given up when the client is gone; other requests are carried out. */
  readonly waits: boolean
  /** Whoever has this table may not call it, whatever the params. */
  readonly isDenied?: true
}

export type Methods = ReadonlyMap<string, Method>

export const defaultMaxPending = 1000
export const maxBatch = 10_000
const cancelMethod = "$/cancelRequest"

export interface DispatcherOptions {
  readonly methods: Methods
  readonly services: Context.Context<never>
  readonly peer: Peer
  readonly send: (message: JsonRpc.Outgoing) => void
  readonly maxPending?: number
}

interface Batch {
  open: number
  readonly answers: Array<JsonRpc.Answer>
  readonly after: Array<() => void>
}

class Pending implements Call {
  readonly id: JsonRpc.Id | undefined
  readonly peer: Peer
  readonly waits: boolean
  readonly batch: Batch | undefined
  fiber: Fiber.Fiber<unknown, RuntimeError> | undefined = undefined
  after: Array<() => void> | undefined = undefined

  constructor(id: JsonRpc.Id | undefined, peer: Peer, waits: boolean, batch: Batch | undefined) {
    this.id = id
    this.peer = peer
    this.waits = waits
    this.batch = batch
  }

  afterAnswer(then: () => void): void {
    ;(this.after ??= []).push(then)
  }
}

export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #maxPending: number
  readonly #run: (effect: Effect.Effect<unknown, RuntimeError>) => Fiber.Fiber<unknown, RuntimeError>
  readonly #pending = new Set<Pending>()
  #idle: Array<() => void> = []

  constructor(options: DispatcherOptions) {
    this.#options = options
    this.#maxPending = options.maxPending ?? defaultMaxPending
    this.#run = Effect.runForkWith(options.services)
  }

  /** Requests whose answers are owed. */
  get pending(): number {
    return this.#pending.size
  }

  /** One received message. */
  receive(text: string): void {
    const incoming = JsonRpc.parse(text)
    if (incoming.type === "unreadable") {
      this.refuse(JsonRpc.unreadable(incoming.detail))
    } else if (incoming.type === "batch") {
      this.#receiveBatch(incoming.members)
    } else {
      this.#receiveMember(incoming, undefined)
    }
  }

  /** Answers what could not even be read as a message. */
  refuse(error: JsonRpc.ErrorObject): void {
    this.#options.send(JsonRpc.failure(null, error))
  }

  /** The client is gone: gives up its waiting requests, lets the others run to their end. */
  abandon(): void {
    for (const call of this.#pending) if (call.waits) call.fiber?.interruptUnsafe()
  }

  /** Calls back once nothing is pending. */
  whenIdle(then: () => void): void {
    if (this.#pending.size === 0) then()
    else this.#idle.push(then)
  }

  #receiveBatch(members: ReadonlyArray<unknown>): void {
    if (members.length > maxBatch) {
      return this.refuse(JsonRpc.runtimeError(new LimitReached({ limit: "members of a batch", value: maxBatch })))
    }
    const batch: Batch = { open: 1, answers: [], after: [] }
    for (const member of members) {
      batch.open++
      this.#receiveMember(JsonRpc.classify(member), batch)
    }
    this.#finishOne(batch)
  }

  #finishOne(batch: Batch): void {
    if (--batch.open > 0) return
    if (batch.answers.length > 0) this.#options.send(batch.answers)
    for (const next of batch.after) next()
  }

  #receiveMember(member: JsonRpc.Member, batch: Batch | undefined): void {
    switch (member.type) {
      case "request":
        return this.#start(member.id, member.method, member.params, batch)
      case "notification":
        return this.#start(undefined, member.method, member.params, batch)
      case "response":
        return this.#answer(undefined, undefined, batch)
      case "invalid":
        return this.#answer(member.id, JsonRpc.failure(member.id, JsonRpc.invalidRequest(member.detail)), batch)
    }
  }

  #answer(id: JsonRpc.Id | undefined, answer: JsonRpc.Answer | undefined, batch: Batch | undefined): void {
    if (batch !== undefined) {
      if (id !== undefined && answer !== undefined) batch.answers.push(answer)
      this.#finishOne(batch)
    } else if (id !== undefined && answer !== undefined) this.#options.send(answer)
  }

  #start(id: JsonRpc.Id | undefined, name: string, given: unknown, batch: Batch | undefined): void {
    const fail = (error: JsonRpc.ErrorObject) =>
      this.#answer(id, id === undefined ? undefined : JsonRpc.failure(id, error), batch)
    const method = this.#options.methods.get(name)
    if (method === undefined) {
      if (name !== cancelMethod) return fail(JsonRpc.methodNotFound(name))
      const error = this.#cancel(given)
      return error === undefined
        ? this.#answer(id, id === undefined ? undefined : JsonRpc.success(id, null), batch)
        : fail(JsonRpc.runtimeError(error))
    }
    let effect: Effect.Effect<unknown, RuntimeError>
    const call = new Pending(id, this.#options.peer, method.waits, batch)
    try {
      const params = method.decode(given)
      if (params instanceof InvalidParams) return fail(JsonRpc.runtimeError(params))
      if (this.#pending.size >= this.#maxPending) {
        const limit = new LimitReached({ limit: "pending requests of a connection", value: this.#maxPending })
        return fail(JsonRpc.runtimeError(limit))
      }
      effect = method.run(params, call)
    } catch (defect) {
      effect = Effect.die(defect)
    }
    this.#pending.add(call)
    const fiber = this.#run(effect)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.#settle(call, exit)
    call.fiber = fiber
    fiber.addObserver((exit) => this.#settle(call, exit))
  }

  #settle(call: Pending, exit: Exit.Exit<unknown, RuntimeError>): void {
    this.#pending.delete(call)
    const { id, batch } = call
    const succeeded = exit._tag === "Success"
    const after = succeeded ? call.after : undefined
    if (succeeded) {
      if (batch !== undefined && after !== undefined) batch.after.push(...after)
      this.#answer(id, id === undefined ? undefined : JsonRpc.success(id, exit.value), batch)
    } else {
      const error = this.#errorOf(exit.cause)
      this.#answer(id, id === undefined ? undefined : JsonRpc.failure(id, error), batch)
    }
    if (batch === undefined && after !== undefined) for (const next of after) next()
    if (this.#pending.size === 0 && this.#idle.length > 0) {
      const idle = this.#idle
      this.#idle = []
      for (const next of idle) next()
    }
  }

  #errorOf(cause: Cause.Cause<unknown>): JsonRpc.ErrorObject {
    for (const reason of cause.reasons) {
      if (reason._tag === "Fail" && isRuntimeError(reason.error)) return JsonRpc.runtimeError(reason.error)
    }
    if (cause.reasons.every((reason) => reason._tag === "Interrupt")) return JsonRpc.requestCancelled
    // The client learns that it was a defect, and nothing of the stack.
    this.#run(Effect.logError(`a request met a defect: ${placesOf(cause)}`))
    return JsonRpc.internalError
  }

  #cancel(params: unknown): InvalidParams | undefined {
    const id = typeof params === "object" && params !== null ? (params as { readonly id?: unknown }).id : undefined
    if (id !== null && typeof id !== "string" && typeof id !== "number") {
      const message = "is required: the id of the request to cancel, a string, a number or null"
      return new InvalidParams({ issues: [{ path: "id", message }] })
    }
    for (const call of this.#pending) if (call.id === id) call.fiber?.interruptUnsafe()
    return undefined
  }
}
