/**
 * Where the tools and resources of MCP get their answers: a port with the methods of the contract as promises. The client of
 * a runtime elsewhere is one as it is; `runtimeUpstream` makes one over the runtime of this process, `methodsUpstream` over what
 * a caller has of it. Decides nothing.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { placesOf } from "../domain/Defect.ts"
import { InvalidParams, type RuntimeError } from "../domain/Errors.ts"
import type { Runtime } from "../supervisor/Runtime.ts"
import type { Method, Params, Result } from "./Contract.ts"
import type { Call, Methods, Peer } from "./Dispatcher.ts"
import { isRuntimeError } from "./ErrorCodes.ts"
import { type HandlerOptions, makeMethods } from "./Handlers.ts"
import * as JsonRpc from "./JsonRpc.ts"
import type { MissedRange, SessionEvent, WireEntry, WireTurn } from "./Wire.ts"

export interface UpstreamOptions {
  /** Ends the waiting; the request then fails with the tag `RequestCancelled`. */
  readonly signal?: AbortSignal
}

/** Iterate it once; leaving the loop ends it. */
export interface UpstreamSubscription extends AsyncIterable<
  { readonly entry: WireEntry } | { readonly missed: MissedRange }
> {
  readonly close: () => Promise<void>
}

/** Params are checked on the other side. What fails rejects with `{code, message, data: {tag, …}}`. */
export interface McpUpstream {
  readonly request: <M extends Method>(method: M, params: Params<M>, options?: UpstreamOptions) => Promise<Result<M>>
  /** With `onEntry`, the entries of the turn come first; the next one waits for the promise that this one gave. */
  readonly ask: (
    params: Params<"session/ask">,
    options?: UpstreamOptions & { readonly onEntry?: (entry: WireEntry) => unknown },
  ) => Promise<WireTurn>
  readonly subscribe: (params: Params<"session/subscribe">, options?: UpstreamOptions) => Promise<UpstreamSubscription>
  /** Whether the caller may call the method at all; left out: all of them. */
  readonly permits?: (method: Method) => boolean
}

/** What a request fails with, as the client's errors are. */
export class UpstreamError extends Error {
  readonly code: number
  readonly data: { readonly tag: string; readonly [field: string]: unknown }
  constructor({ code, message, data = {} }: JsonRpc.ErrorObject) {
    super(message)
    this.name = "UpstreamError"
    this.code = code
    this.data = { tag: "Unknown", ...data }
  }
}

export const isUpstreamError = (error: unknown): error is UpstreamError =>
  error instanceof Error &&
  typeof (error as Partial<UpstreamError>).code === "number" &&
  typeof (error as Partial<UpstreamError>).data?.tag === "string"

/** Over the runtime in context; it lives as long as that. */
export const runtimeUpstream = Effect.fnUntraced(function* (
  options: HandlerOptions = {},
): Effect.fn.Return<McpUpstream, never, Runtime> {
  return methodsUpstream(yield* makeMethods(options), yield* Effect.context<never>())
})

/** Over a table of methods, which may be narrowed to what a caller may do. `admit` is asked before each request: a failure refuses it. */
export const methodsUpstream = (
  methods: Methods,
  services: Context.Context<never>,
  admit: () => RuntimeError | undefined = () => undefined,
): McpUpstream => {
  const runExit = Effect.runPromiseExitWith(services)

  const settle = <A>(exit: Exit.Exit<A, unknown>): A => {
    if (Exit.isSuccess(exit)) return exit.value
    for (const reason of exit.cause.reasons) {
      if (reason._tag === "Fail" && isRuntimeError(reason.error)) {
        throw new UpstreamError(JsonRpc.runtimeError(reason.error))
      }
    }
    if (Cause.hasInterruptsOnly(exit.cause)) throw new UpstreamError(JsonRpc.requestCancelled)
    Effect.runForkWith(services)(Effect.logError(`a request met a defect: ${placesOf(exit.cause)}`))
    throw new UpstreamError(JsonRpc.internalError)
  }

  const run = async <A>(name: Method, params: unknown, { signal }: UpstreamOptions, peer: Peer): Promise<A> => {
    const refused = admit()
    if (refused !== undefined) throw new UpstreamError(JsonRpc.runtimeError(refused))
    const method = methods.get(name)!
    const decoded = method.decode(params)
    if (decoded instanceof InvalidParams) throw new UpstreamError(JsonRpc.runtimeError(decoded))
    const after: Array<() => void> = []
    const call: Call = { id: undefined, peer, afterAnswer: (then) => void after.push(then) }
    const effect = Effect.suspend(() => method.run(decoded, call))
    const answer = settle(await runExit(effect, signal === undefined ? {} : { signal })) as A
    for (const then of after) then()
    return answer
  }

  return {
    request: (method, params, given = {}) => run(method, params, given, quietPeer()),
    ask: async (params, { onEntry, ...given } = {}) => {
      if (onEntry === undefined) return run("session/ask", params, given, quietPeer())
      let taken: Promise<unknown> = Promise.resolve()
      const peer: Peer = {
        notify: (event) => {
          if ("request" in event && "entry" in event) taken = taken.then(() => onEntry(event.entry))
        },
        room: Effect.promise(() => taken),
        subscriptions: new Map(),
      }
      const turn = await run<WireTurn>("session/ask", { ...params, stream: true }, given, peer)
      // Who hears of the turn's end gives up what it was not told by then.
      await taken
      return turn
    },
    subscribe: async (params, given = {}) => {
      const events = new SubscriptionEvents()
      await run("session/subscribe", params, given, events)
      return events
    },
    permits: (name) => methods.get(name)?.isDenied !== true,
  }
}

const quietPeer = (): Peer => ({ notify: () => {}, room: Effect.void, subscriptions: new Map() })

type Told = { readonly entry: WireEntry } | { readonly missed: MissedRange }

/** One subscription as a peer that holds no more than what was pulled for it at once. */
class SubscriptionEvents implements Peer, UpstreamSubscription {
  #told: Array<Told> = []
  #isOver = false
  #wake: (() => void) | undefined
  #room: Array<() => void> = []
  readonly subscriptions: Map<string, () => void> = new OneSubscription(() => this.#end())

  readonly notify = (event: SessionEvent): void => {
    if (this.#isOver || "ended" in event) return
    this.#told.push("entry" in event ? { entry: event.entry } : { missed: event.missed })
    this.#wake?.()
  }

  readonly room: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.#told.length === 0 || this.#isOver) resume(Effect.void)
    else this.#room.push(() => resume(Effect.void))
  })

  readonly close = async (): Promise<void> => {
    this.#told = []
    this.#end()
    for (const end of this.subscriptions.values()) end()
  }

  #end(): void {
    this.#isOver = true
    this.#free()
    this.#wake?.()
  }

  #free(): void {
    for (const go of this.#room.splice(0)) go()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Told, void> {
    try {
      while (true) {
        while (this.#told.length > 0) {
          const told = this.#told
          this.#told = []
          yield* told
        }
        this.#free()
        if (this.#isOver) return
        await new Promise<void>((wake) => (this.#wake = wake))
        this.#wake = undefined
      }
    } finally {
      await this.close()
    }
  }
}

/** Tells that it is over: the session was removed, or the store does not answer. */
class OneSubscription extends Map<string, () => void> {
  readonly #onOver: () => void

  constructor(onOver: () => void) {
    super()
    this.#onOver = onOver
  }

  override delete(id: string): boolean {
    const had = super.delete(id)
    if (had) this.#onOver()
    return had
  }
}
