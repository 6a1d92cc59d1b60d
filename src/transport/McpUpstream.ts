/**
 * Where the tools and resources of MCP get their answers: a port with the methods of the contract as promises. The client of
 * a runtime elsewhere is one as it is; `runtimeUpstream` makes one over the runtime of this process. Decides nothing.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { InvalidParams } from "../domain/Errors.ts"
import { Runtime, type Subscription } from "../supervisor/Runtime.ts"
import type { Method, Params, Result } from "./Contract.ts"
import type { Call } from "./Dispatcher.ts"
import { isRuntimeError } from "./ErrorCodes.ts"
import { type HandlerOptions, makeMethods } from "./Handlers.ts"
import * as JsonRpc from "./JsonRpc.ts"
import { decoders } from "./Params.ts"
import { type MissedRange, wireEntry, type WireEntry, type WireTurn } from "./Wire.ts"

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
  const runtime = yield* Runtime
  const methods = yield* makeMethods(options)
  const services = yield* Effect.context<never>()
  const runExit = Effect.runPromiseExitWith(services)

  const settle = <A>(exit: Exit.Exit<A, unknown>): A => {
    if (Exit.isSuccess(exit)) return exit.value
    for (const reason of exit.cause.reasons) {
      if (reason._tag === "Fail" && isRuntimeError(reason.error)) {
        throw new UpstreamError(JsonRpc.runtimeError(reason.error))
      }
    }
    if (Cause.hasInterruptsOnly(exit.cause)) throw new UpstreamError(JsonRpc.requestCancelled)
    Effect.runForkWith(services)(Effect.logError("a request met a defect", exit.cause))
    throw new UpstreamError(JsonRpc.internalError)
  }

  const run = async <A>(
    method: Method,
    params: unknown,
    { signal }: UpstreamOptions,
    peer: Pick<Call["peer"], "notify" | "room">,
  ): Promise<A> => {
    const decoded = decoders[method](params)
    if (decoded instanceof InvalidParams) throw new UpstreamError(JsonRpc.runtimeError(decoded))
    const call: Call = {
      id: undefined,
      peer: { ...peer, subscriptions: new Map() },
      afterAnswer: () => {},
    }
    const effect = Effect.suspend(() => methods.get(method)!.run(decoded, call))
    return settle(await runExit(effect, signal === undefined ? {} : { signal })) as A
  }

  const quiet = { notify: () => {}, room: Effect.void }
  return {
    request: (method, params, given = {}) => run(method, params, given, quiet),
    ask: async (params, { onEntry, ...given } = {}) => {
      if (onEntry === undefined) return run("session/ask", params, given, quiet)
      let taken: Promise<unknown> = Promise.resolve()
      const peer: Pick<Call["peer"], "notify" | "room"> = {
        notify: (event) => {
          if ("request" in event && "entry" in event) taken = taken.then(() => onEntry(event.entry))
        },
        room: Effect.promise(() => taken),
      }
      return run("session/ask", { ...params, stream: true }, given, peer)
    },
    subscribe: async (params) => {
      const decoded = decoders["session/subscribe"](params)
      if (decoded instanceof InvalidParams) throw new UpstreamError(JsonRpc.runtimeError(decoded))
      const scope = Scope.makeUnsafe()
      const close = async () => void (await runExit(Scope.close(scope, Exit.void)))
      const exit = await runExit(Scope.provide(runtime.subscribe(decoded), scope))
      if (Exit.isFailure(exit)) await close()
      const subscription: Subscription = settle(exit)
      const closing = new AbortController()
      const end = () => {
        closing.abort()
        return close()
      }
      const iterate = async function* () {
        try {
          while (!closing.signal.aborted) {
            const pulled = await runExit(subscription.pull(), { signal: closing.signal })
            if (closing.signal.aborted) return
            const batch = settle(pulled)
            for (const missed of batch.missed) yield { missed }
            for (const entry of batch.entries) yield { entry: wireEntry(entry) }
            if (batch.ended === true) return
          }
        } finally {
          await end()
        }
      }
      return { close: end, [Symbol.asyncIterator]: iterate }
    },
  }
})
