/**
 * The runtime for programs that do not speak Effect: promises that reject with the tagged errors of `domain/Errors`, and
 * subscriptions as async iterables. A thin face over the Runtime service.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cause from "effect/Cause"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Context from "effect/Context"
import { InvalidParams, type RuntimeError } from "./domain/Errors.ts"
import type { Session } from "./domain/Session.ts"
import type { RetentionSpec, SessionSpecInput, Signal } from "./domain/SessionSpec.ts"
import type { SearchHit, TranscriptPage, TranscriptQuery, TurnsPage, TurnsQuery } from "./domain/SessionStore.ts"
import type { Template } from "./domain/Template.ts"
import type { TranscriptEntry } from "./domain/Transcript.ts"
import type { Turn } from "./domain/Turn.ts"
import { type LogLevel, logging, runtimeLayer, temporaryDirectory } from "./main.ts"
import {
  Runtime,
  type ListQuery,
  type RuntimeInfo,
  type RuntimeStats,
  type SubscribeRequest,
  type SubscriptionBatch,
  type TreeNode,
  type TurnRequest,
} from "./supervisor/Runtime.ts"
import { type AdmissionSpec, defaultOptions } from "./supervisor/RuntimeConfig.ts"
import type { NamedTemplate } from "./supervisor/Templates.ts"
import { decoders } from "./transport/Params.ts"

export interface OpenOptions {
  /** Held alone while the runtime is open. Default: a temporary one, removed at the end. */
  readonly dataDirectory?: string
  /**
   * `sqlite`: in the data directory; the next runtime there takes its sessions up again. `memory`: everything is gone with
   * the runtime. Default: `sqlite` where a data directory is given.
   */
  readonly store?: "sqlite" | "memory"
  /** How many sessions may be at work at once; default: any number. */
  readonly admission?: Partial<AdmissionSpec>
  /** What of turns and transcripts is forgotten; default: nothing. */
  readonly retention?: RetentionSpec
  /** The least that the runtime says of itself on stderr; default `warn`. */
  readonly logLevel?: LogLevel
}

export interface EmbeddedRuntime extends AsyncDisposable {
  /** Answers once the session is ready. */
  readonly start: (spec: SessionSpecInput, ifExists?: "fail" | "return") => Promise<Session>
  /** The turn once it ended; look at its `status`. */
  readonly ask: (session: string, prompt: TurnRequest["prompt"], options?: TurnOptions) => Promise<Turn>
  /** The turn once it is taken in. */
  readonly tell: (session: string, prompt: TurnRequest["prompt"], options?: TurnOptions) => Promise<Turn>
  readonly turn: (turn: string) => Promise<Turn>
  readonly wait: (turn: string, timeoutMs?: number) => Promise<Turn>
  readonly cancel: (session: string, turn?: string) => Promise<Turn>
  readonly get: (session: string) => Promise<Session>
  readonly list: (
    query?: ListQuery,
  ) => Promise<{ readonly sessions: ReadonlyArray<Session>; readonly nextCursor: string | null }>
  /** Answers a permission request of the agent: `allow`, `allow_always`, `deny`, or an option's own id. */
  readonly answer: (
    session: string,
    request: string,
    outcome: string,
    options?: { readonly by?: string; readonly result?: unknown },
  ) => Promise<Session>
  /** Goes on with a start that waits for it. */
  readonly authenticate: (session: string, method?: string) => Promise<Session>
  readonly write: (session: string, data: string | Uint8Array) => Promise<Session>
  readonly signal: (session: string, signal: Signal) => Promise<Session>
  readonly suspend: (session: string) => Promise<Session>
  readonly resume: (session: string) => Promise<Session>
  readonly restart: (session: string) => Promise<Session>
  readonly stop: (session: string, mode?: "graceful" | "kill") => Promise<Session>
  readonly remove: (session: string) => Promise<void>
  readonly transcript: (session: string, query?: TranscriptQuery) => Promise<TranscriptPage>
  /** What the session was asked, newest first. */
  readonly history: (session: string, query?: TurnsQuery) => Promise<TurnsPage>
  /** Turns whose prompt or answer holds all these words. */
  readonly search: (
    query: string,
    options?: { readonly session?: string; readonly limit?: number },
  ) => Promise<ReadonlyArray<SearchHit>>
  /** From now on it has so long until it is stopped and removed; null: for ever. */
  readonly extend: (session: string, expiresInMs: number | null) => Promise<Session>
  /** A new session that goes on from where this one's conversation stands, where the agent can. */
  readonly fork: (session: string, name?: string) => Promise<Session>
  /**
   * Entries as they come; leaving the loop ends the subscription, the removal of the session ends the loop. `onMissed`
   * hears of a range that the session's limits dropped before this reader came to it.
   */
  readonly subscribe: (
    request?: SubscribeRequest,
    onMissed?: (missed: SubscriptionBatch["missed"][number]) => void,
  ) => AsyncIterable<TranscriptEntry>
  /** Sessions are started from one with `start({ template: NAME, … })`. */
  readonly templates: {
    readonly list: () => Promise<ReadonlyArray<NamedTemplate>>
    readonly get: (name: string) => Promise<NamedTemplate>
    readonly put: (name: string, template: Template) => Promise<NamedTemplate>
    readonly remove: (name: string) => Promise<void>
  }
  readonly info: () => Promise<RuntimeInfo>
  readonly stats: () => Promise<RuntimeStats>
  readonly tree: () => Promise<TreeNode>
  /** Ends every session's processes, waits until nothing is left, and gives the data directory back. */
  readonly close: () => Promise<{ readonly survivors: ReadonlyArray<number> }>
}

export type TurnOptions = Pick<TurnRequest, "timeoutMs" | "idempotencyKey">

const decodeStart = decoders["session/start"]
const decodePut = decoders["template/put"]
const decodeHistory = decoders["session/history"]
const decodeSearch = decoders["session/search"]
const decodeExtend = decoders["session/extend"]
const decodeFork = decoders["session/fork"]

/** Fails with the error itself, not with a wrapping of it. */
const run = async <A, E>(effect: Effect.Effect<A, E>): Promise<A> => {
  const exit = await Effect.runPromiseExit(effect)
  if (Exit.isSuccess(exit)) return exit.value
  throw Cause.squash(exit.cause)
}

/** Programs in plain JavaScript have no compiler that reads what they hand in: the contract does. */
const checked = async <P, A>(
  params: P | InvalidParams,
  use: (params: P) => Effect.Effect<A, RuntimeError>,
): Promise<A> => {
  if (params instanceof InvalidParams) throw params
  return run(use(params))
}

/** Opens a runtime in this process. Close it before the program ends: until then it keeps the program alive. */
export const openRuntime = async (options: OpenOptions = {}): Promise<EmbeddedRuntime> => {
  const scope = Scope.makeUnsafe()
  const runtime: Runtime["Service"] = await run(
    Effect.gen(function* () {
      const dataDirectory = options.dataDirectory ?? (yield* temporaryDirectory)
      const { store = options.dataDirectory === undefined ? "memory" : "sqlite", retention = null } = options
      const admission = { ...defaultOptions.admission, ...options.admission }
      return Context.get(yield* Layer.build(runtimeLayer({ dataDirectory, store, admission, retention })), Runtime)
    }).pipe(
      Effect.provideService(Scope.Scope, scope),
      // What the program prints is its own; what the runtime has to say of itself goes to stderr.
      Effect.provide(logging({ level: options.logLevel ?? "warn" })),
      Effect.onError(() => Scope.close(scope, Exit.void)),
    ),
  )

  /** Without a fiber: it would be the dearest part of an ask. */
  const submit = (request: TurnRequest, until: "accepted" | "ended"): Promise<Turn> =>
    new Promise((resolve, reject) =>
      runtime.submit(request, until, (exit) =>
        Exit.isSuccess(exit) ? resolve(exit.value) : reject(Cause.squash(exit.cause) as Error),
      ),
    )

  const subscribe: EmbeddedRuntime["subscribe"] = async function* (request = {}, onMissed = () => {}) {
    const own = Scope.makeUnsafe()
    try {
      const subscription = await run(Scope.provide(runtime.subscribe(request), own))
      while (true) {
        const { entries, missed, ended } = await run(subscription.pull())
        missed.forEach(onMissed)
        yield* entries
        if (ended === true) return
      }
    } finally {
      await run(Scope.close(own, Exit.void))
    }
  }

  const close = async () => {
    const outcome = await run(runtime.shutdown())
    await run(Scope.close(scope, Exit.void))
    return outcome
  }

  return {
    start: (spec, ifExists = "fail") =>
      checked(decodeStart({ ...spec, ifExists }), ({ ifExists: whenThere = "fail", ...decoded }) =>
        runtime.start(decoded, whenThere),
      ),
    ask: (session, prompt, turn) => submit({ session, prompt, ...turn }, "ended"),
    tell: (session, prompt, turn) => submit({ session, prompt, ...turn }, "accepted"),
    turn: (turn) => run(runtime.turn(turn)),
    wait: (turn, timeoutMs) => run(runtime.wait(turn, timeoutMs)),
    cancel: (session, turn) => run(runtime.cancel(session, turn)),
    get: (session) => run(runtime.get(session)),
    list: (query = {}) => run(runtime.list(query)),
    answer: (session, request, outcome, options = {}) => run(runtime.answer({ session, request, outcome, ...options })),
    authenticate: (session, method) => run(runtime.authenticate(session, method)),
    write: (session, data) => run(runtime.write(session, typeof data === "string" ? Buffer.from(data) : data)),
    signal: (session, signal) => run(runtime.signal(session, signal)),
    suspend: (session) => run(runtime.suspend(session)),
    resume: (session) => run(runtime.resume(session)),
    restart: (session) => run(runtime.restart(session)),
    stop: (session, mode = "graceful") => run(runtime.stop(session, mode)),
    remove: (session) => run(runtime.remove(session)),
    transcript: (session, query = {}) => run(runtime.transcript(session, query)),
    history: (session, query = {}) =>
      checked(decodeHistory({ session, ...query }), ({ session: of, ...page }) => runtime.history(of, page)),
    search: (query, options = {}) => checked(decodeSearch({ query, ...options }), (search) => runtime.search(search)),
    extend: (session, expiresInMs) =>
      checked(decodeExtend({ session, expiresInMs }), (params) => runtime.extend(params.session, params.expiresInMs)),
    fork: (session, name) =>
      checked(decodeFork(name === undefined ? { session } : { session, name }), (params) =>
        runtime.fork(params.session, params.name),
      ),
    subscribe,
    templates: {
      list: () => run(runtime.templates.list),
      get: (name) => run(runtime.templates.get(name)),
      put: (name, template) =>
        checked(decodePut({ name, template }), (params) => runtime.templates.put(params.name, params.template)),
      remove: (name) => run(runtime.templates.remove(name)),
    },
    info: () => run(runtime.info),
    stats: () => run(runtime.stats),
    tree: () => run(runtime.tree),
    close,
    [Symbol.asyncDispose]: async () => void (await close()),
  }
}
