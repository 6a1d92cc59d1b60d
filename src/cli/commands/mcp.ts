/**
 * `creche mcp`: an MCP server on standard input and output. It offers the runtime that client commands find, and connects to it
 * when first asked and again after it was restarted; or, embedded, a runtime of its own that ends with it.
 */
import * as Effect from "effect/Effect"
import { connectTo } from "../../client/Connect.ts"
import { type Client, CrecheError } from "../../client/index.ts"
import { resolvePaths } from "../../client/Paths.ts"
import type { Target } from "../../client/Target.ts"
import { logging } from "../../config/Logging.ts"
import { placeOf } from "../../domain/Defect.ts"
import { runtimeLayer, temporaryDirectory } from "../../main.ts"
import { Runtime } from "../../supervisor/Runtime.ts"
import { signalled } from "../../transport/EndSignals.ts"
import { serveMcp } from "../../transport/McpStdio.ts"
import { type McpUpstream, runtimeUpstream } from "../../transport/McpUpstream.ts"
import { version } from "../../version.ts"
import { explain, targetOf } from "../Connection.ts"
import { CommandFailure, wrongUsage } from "../Failure.ts"
import type { Run } from "../Run.ts"

export const run: Run<"mcp"> = async (call, io) => {
  const { embedded, "read-only": readOnly } = call.flags
  const serve = (upstream: McpUpstream, signal: AbortSignal) =>
    serveMcp({
      upstream,
      version,
      readOnly,
      signal,
      readable: process.stdin,
      writable: process.stdout,
      onDefect: (error) => io.stderr(`creche mcp: a request met a bug in creche: ${placeOf(error)}\n`),
    })
  if (embedded) {
    if (call.shared.url !== undefined) throw wrongUsage("--embedded goes without --url: its runtime is its own")
    const named = (call.shared.data ?? io.env["CRECHE_DATA"] ?? "") !== ""
    const { dataDirectory } = resolvePaths(call.shared, io.env, io.cwd)
    await Effect.runPromise(own(named ? dataDirectory : null, serve))
    return 0
  }
  const target = targetOf(call, io)
  const ending = new AbortController()
  io.onInterrupt(() => ending.abort())
  const remote = reconnecting(() => connectTo(target).catch((error) => Promise.reject(inWords(error, target))))
  // Who looks into the host's log learns at once what each call would say.
  remote.connected().catch((error: Error) => io.stderr(`creche mcp: ${error.message}\n`))
  await serve(remote.upstream, ending.signal)
  await remote.close()
  return 0
}

/** A runtime of its own; without a data directory in a temporary one, and in memory. */
const own = (
  dataDirectory: string | null,
  serve: (upstream: McpUpstream, signal: AbortSignal) => Promise<void>,
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const directory = dataDirectory ?? (yield* temporaryDirectory)
    const ending = new AbortController()
    yield* Effect.gen(function* () {
      const runtime = yield* Runtime
      // Also while it shuts down: a host that has lost its patience must not cut that short.
      yield* Effect.forkScoped(Effect.forever(Effect.tap(signalled, () => Effect.sync(() => ending.abort()))), {
        startImmediately: true,
      })
      const upstream = yield* runtimeUpstream()
      yield* Effect.raceFirst(
        Effect.promise(() => serve(upstream, ending.signal)),
        runtime.closed,
      )
      yield* runtime.shutdown()
    }).pipe(
      Effect.scoped,
      Effect.provide(runtimeLayer({ dataDirectory: directory, store: dataDirectory === null ? "memory" : "sqlite" })),
    )
  }).pipe(Effect.scoped, Effect.provide(logging()))

/** What the CLI says of a runtime that does not answer, as an error that a tool's result can carry. */
const inWords = (error: unknown, target: Target): unknown => {
  const explained = explain(error, target)
  if (!(explained instanceof CommandFailure)) return error
  const { details, message } = explained
  return new CrecheError(0, message, { ...details, tag: String(details["tag"]) })
}

/** Connects when something is asked and there is no connection; what waited on one that was lost fails with `ConnectionLost`. */
const reconnecting = (connect: () => Promise<Client>) => {
  let current: Promise<Client> | undefined
  const connected = (): Promise<Client> => {
    if (current !== undefined) return current
    const next = connect()
    current = next
    const forget = () => {
      if (current === next) current = undefined
    }
    next.then((client) => client.closed.then(forget), forget)
    return next
  }
  const upstream: McpUpstream = {
    request: async (method, params, options) => (await connected()).request(method, params, options),
    ask: async (params, options) => (await connected()).ask(params, options),
    subscribe: async (params, options) => (await connected()).subscribe(params, options),
  }
  const close = async () => {
    const client = await current?.catch(() => undefined)
    await client?.close()
  }
  return { upstream, connected, close }
}
