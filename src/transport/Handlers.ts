/**
 * What each method of the contract does: params → one call of the `Runtime` service → the wire shape. Nothing
 * is decided here. `makeMethods` gives the table that every transport dispatches by.
 */
import * as Effect from "effect/Effect"
import { InvalidParams, type RuntimeError, Unsupported } from "../domain/Errors.ts"
import { makeIds, type TurnId } from "../domain/Ids.ts"
import type { Prompt } from "../domain/Prompt.ts"
import { Runtime, type TurnRequest } from "../supervisor/Runtime.ts"
import { boundedHistory, boundedTranscript } from "./BoundedPage.ts"
import { contract, type Method, methods, notOffered, type Params, type Result } from "./Contract.ts"
import { type Call, defaultMaxPending, type Method as MethodEntry, type Methods } from "./Dispatcher.ts"
import { defaultLimitBytes } from "./MessageDecoder.ts"
import { decoders } from "./Params.ts"
import { streamTurn, subscribe, unsubscribe } from "./Subscriptions.ts"
import { wireEntry, wireSession, wireTemplate, wireTime, wireTurn } from "./Wire.ts"

type Handlers = {
  readonly [M in Method]: (params: Params<M>, call: Call) => Effect.Effect<Result<M>, RuntimeError>
}

/** Attachments are blocks of the prompt. */
const withAttachments = ({ prompt, attachments }: Params<"session/tell">): Prompt =>
  attachments === undefined || attachments.length === 0
    ? prompt
    : [...(typeof prompt === "string" ? [{ type: "text" as const, text: prompt }] : prompt), ...attachments]

export const turnRequest = (params: Params<"session/tell">): TurnRequest => {
  const { session, timeoutMs, idempotencyKey } = params
  const request: { -readonly [K in keyof TurnRequest]: TurnRequest[K] } = { session, prompt: withAttachments(params) }
  if (timeoutMs !== undefined) request.timeoutMs = timeoutMs
  if (idempotencyKey !== undefined) request.idempotencyKey = idempotencyKey
  return request
}

/** Only who asks for metrics pays for loading what writes them. */
export const metricsText = Effect.fnUntraced(function* (
  runtime: Runtime["Service"],
): Effect.fn.Return<Result<"runtime/metrics">> {
  const samples = yield* runtime.metrics
  const { contentType, format } = yield* Effect.promise(() => import("./Prometheus.ts"))
  return { contentType, text: format(samples) }
})

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/

const bytesOf = ({ data, encoding }: Params<"session/write">): Effect.Effect<Uint8Array, InvalidParams> =>
  encoding === "base64" && !base64.test(data)
    ? new InvalidParams({ issues: [{ path: "data", message: "must be base64, as encoding says" }] })
    : Effect.succeed(Buffer.from(data, encoding ?? "utf8"))

/** Of whatever protocol a session is, none has a terminal. */
const withoutTerminal = (runtime: Runtime["Service"], what: Method, session: string) =>
  Effect.flatMap(
    runtime.get(session),
    ({ spec }) => new Unsupported({ what, detail: `a session of the protocol ${spec.protocol.type} has no terminal` }),
  )

export interface HandlerOptions {
  readonly maxMessageBytes?: number
  readonly maxPending?: number
}

const makeHandlers = (runtime: Runtime["Service"], options: HandlerOptions): Handlers => {
  const ids = makeIds()
  return {
    initialize: () =>
      Effect.map(runtime.info, (info) => ({
        protocolVersion: info.protocolVersion,
        serverInfo: { name: info.name, version: info.version },
        capabilities: {
          methods,
          framings: ["ndjson", "content-length"],
          subscriptions: true,
          streaming: true,
          maxMessageBytes: options.maxMessageBytes ?? defaultLimitBytes,
          maxPendingRequests: options.maxPending ?? defaultMaxPending,
          containment: info.containment.level,
        },
      })),
    "runtime/info": () => Effect.map(runtime.info, (info) => ({ ...info, startedAt: wireTime(info.startedAt) })),
    "runtime/stats": () => runtime.stats,
    "runtime/health": () => runtime.health,
    "runtime/metrics": () => metricsText(runtime),
    "runtime/tree": () => runtime.tree,
    "runtime/shutdown": ({ drainMs }) => runtime.shutdown(drainMs),
    "supervisor/start": (request) => runtime.startSupervisor(request),
    "supervisor/stop": ({ path }) => runtime.stopSupervisor(path),
    "session/start": ({ ifExists, ...spec }) => Effect.map(runtime.start(spec, ifExists ?? "fail"), wireSession),
    "session/get": ({ session }) => Effect.map(runtime.get(session), wireSession),
    "session/list": (query) =>
      Effect.map(runtime.list(query), ({ sessions, nextCursor }) => ({
        sessions: sessions.map(wireSession),
        nextCursor,
      })),
    "session/ask": (params, call) =>
      params.stream === true
        ? Effect.flatMap(runtime.tell(turnRequest(params)), (told) =>
            Effect.map(streamTurn(runtime, told, call), wireTurn),
          )
        : Effect.map(runtime.ask(turnRequest(params)), wireTurn),
    "session/tell": (params) => Effect.map(runtime.tell(turnRequest(params)), wireTurn),
    "turn/get": ({ turn }) => Effect.map(runtime.turn(turn), wireTurn),
    "turn/wait": ({ turn, timeoutMs }) => Effect.map(runtime.wait(turn, timeoutMs), wireTurn),
    "session/cancel": ({ session, turn }) => Effect.map(runtime.cancel(session, turn), wireTurn),
    "session/answer": (answer) => Effect.map(runtime.answer(answer), wireSession),
    "session/authenticate": ({ session, method }) => Effect.map(runtime.authenticate(session, method), wireSession),
    "session/write": (params) =>
      Effect.flatMap(bytesOf(params), (bytes) => Effect.map(runtime.write(params.session, bytes), wireSession)),
    "session/resize": ({ session }) => withoutTerminal(runtime, "session/resize", session),
    "session/screen": ({ session }) => withoutTerminal(runtime, "session/screen", session),
    "session/signal": ({ session, signal }) => Effect.map(runtime.signal(session, signal), wireSession),
    "session/suspend": ({ session }) => Effect.map(runtime.suspend(session), wireSession),
    "session/resume": ({ session }) => Effect.map(runtime.resume(session), wireSession),
    "session/restart": ({ session }) => Effect.map(runtime.restart(session), wireSession),
    "session/stop": ({ session, mode }) => Effect.map(runtime.stop(session, mode ?? "graceful"), wireSession),
    "session/remove": ({ session }) => Effect.as(runtime.remove(session), {}),
    "session/transcript": ({ session, turn, ...query }) =>
      Effect.map(
        boundedTranscript(runtime.transcript, session, turn === undefined ? query : { ...query, turn: turn as TurnId }),
        ({ entries, nextAfter, trimmed }) => ({ entries: entries.map(wireEntry), nextAfter, trimmed }),
      ),
    "session/history": ({ session, ...query }) =>
      Effect.map(boundedHistory(runtime.history, session, query), ({ turns, nextBefore }) => ({
        turns: turns.map(wireTurn),
        nextBefore,
      })),
    "session/search": (query) =>
      Effect.map(runtime.search(query), (hits) => ({
        hits: hits.map(({ turn, snippet }) => ({ turn: wireTurn(turn), snippet })),
      })),
    "session/extend": ({ session, expiresInMs }) => Effect.map(runtime.extend(session, expiresInMs), wireSession),
    "session/fork": ({ session, name }) => Effect.map(runtime.fork(session, name), wireSession),
    "session/subscribe": (request, call) =>
      request.after !== undefined && request.session === undefined
        ? new InvalidParams({ issues: [{ path: "after", message: "needs session: seq counts within one session" }] })
        : subscribe(runtime, request, call, ids.subscription()),
    "template/list": () =>
      Effect.map(runtime.templates.list, (templates) => ({ templates: templates.map(wireTemplate) })),
    "template/get": ({ name }) => Effect.map(runtime.templates.get(name), wireTemplate),
    "template/put": ({ name, template }) => Effect.map(runtime.templates.put(name, template), wireTemplate),
    "template/remove": ({ name }) => Effect.as(runtime.templates.remove(name), {}),
    "session/unsubscribe": ({ subscription }, call) => unsubscribe(call.peer, subscription),
  }
}

const unsupported = (method: string): MethodEntry => ({
  decode: () => undefined,
  run: () => new Unsupported({ what: method, detail: "this version of creche does not offer it" }),
  waits: false,
})

/** The methods of the contract, over the runtime in context. Make them once; all connections share them. */
export const makeMethods = Effect.fnUntraced(function* (
  options: HandlerOptions = {},
): Effect.fn.Return<Methods, never, Runtime> {
  const handlers = makeHandlers(yield* Runtime, options)
  const table = new Map<string, MethodEntry>()
  for (const method of methods) {
    table.set(method, { decode: decoders[method], run: handlers[method], waits: contract[method].waits })
  }
  for (const method of notOffered) table.set(method, unsupported(method))
  return table
})
