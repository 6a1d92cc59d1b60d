/**
 * Serves the contract on standard input and output, for one client, the one that started this process: when
 * its end of stdin comes, what it asked is answered, the runtime is shut down, and `serve` returns. Writes
 * nothing but protocol to stdout. Called by main.
 */
import * as Effect from "effect/Effect"
import type { Readable, Writable } from "node:stream"
import { Runtime } from "../supervisor/Runtime.ts"
import { Connection } from "./Connection.ts"
import { type HandlerOptions, makeMethods } from "./Handlers.ts"

export interface StdioOptions extends HandlerOptions {
  /** Default: this process's own. */
  readonly stdin?: Readable
  readonly stdout?: Writable
  /** How long requests and turns under way may take after the end of stdin; then they end with their sessions. Default 5000. */
  readonly drainMs?: number
}

/** How long answers that are made by the shutdown itself may take to go out. */
const lastAnswersMs = 1000

/** Returns once the runtime is shut down, by the client's going or by its request. */
export const serve = (options: StdioOptions = {}): Effect.Effect<void, never, Runtime> =>
  Effect.gen(function* () {
    const runtime = yield* Runtime
    const methods = yield* makeMethods(options)
    const services = yield* Effect.context<never>()
    const drainMs = options.drainMs ?? 5000

    let end!: (how: "ended" | "gone") => void
    const over = new Promise<"ended" | "gone">((resolve) => {
      end = resolve
    })
    const connection = new Connection({
      readable: options.stdin ?? process.stdin,
      writable: options.stdout ?? process.stdout,
      methods,
      services,
      ...(options.maxMessageBytes === undefined ? {} : { maxMessageBytes: options.maxMessageBytes }),
      ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
      onEnd: () => end("ended"),
    })
    connection.whenGone(() => end("gone"))
    const settle = (withinMs: number) =>
      Effect.callback<void>((resume) => connection.settle(withinMs, () => resume(Effect.void)))

    const close = Effect.callback<void>((resume) => {
      connection.whenGone(() => resume(Effect.void))
      connection.close(lastAnswersMs)
    })

    yield* Effect.gen(function* () {
      const how = yield* Effect.raceFirst(
        Effect.promise(() => over),
        Effect.as(runtime.closed, "closed" as const),
      )
      const started = Date.now()
      if (how === "ended") yield* settle(drainMs)
      yield* runtime.shutdown(how === "ended" ? Math.max(0, drainMs - (Date.now() - started)) : 0)
    }).pipe(Effect.ensuring(close))
  })
