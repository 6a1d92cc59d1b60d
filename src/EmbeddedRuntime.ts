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
import type { TurnId } from "./domain/Ids.ts"
import type { ContentBlock } from "./domain/Prompt.ts"
import type { Session } from "./domain/Session.ts"
import type { RetentionSpec, SessionSpecInput, Signal } from "./domain/SessionSpec.ts"
import type { SearchHit, TranscriptPage, TranscriptQuery, TurnsPage, TurnsQuery } from "./domain/SessionStore.ts"
import type { Template } from "./domain/Template.ts"
import type { TranscriptEntry } from "./domain/Transcript.ts"
import type { Turn } from "./domain/Turn.ts"
import { type LogLevel, logging, runtimeLayer, temporaryDirectory } from "./main.ts"
import { requireMainThread } from "./process/MainThread.ts"
import {
  Runtime,
  type ListQuery,
  type RuntimeHealth,
  type RuntimeInfo,
  type RuntimeStats,
  type SubscribeRequest,
  type SubscriptionBatch,
  type SupervisorTreeNode,
  type TreeNode,
  type TurnRequest,
} from "./supervisor/Runtime.ts"
import type { SupervisorRequest } from "./supervisor/Supervisors.ts"
import { type AdmissionSpec, defaultOptions } from "./supervisor/RuntimeConfig.ts"
import type { NamedTemplate } from "./supervisor/Templates.ts"
import type { Method, Params } from "./transport/Contract.ts"
import { metricsText, turnRequest } from "./transport/Handlers.ts"
import { decoders, isPlainTurn } from "./transport/Params.ts"

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
  /** Sessions are started below one with `start({ supervisor: PATH, … })`. */
  readonly supervisors: {
    readonly start: (path: string, settings?: Omit<SupervisorRequest, "path">) => Promise<SupervisorTreeNode>
    readonly stop: (path: string) => Promise<{ readonly survivors: ReadonlyArray<number> }>
  }
  readonly info: () => Promise<RuntimeInfo>
  readonly stats: () => Promise<RuntimeStats>
  readonly health: () => Promise<RuntimeHealth>
  /** As Prometheus reads them. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>
  readonly tree: () => Promise<TreeNode>
  /**
   * Refuses new work, waits up to `drainMs` (default 0) for running turns, ends every session's processes, waits until
   * nothing is left, and gives the data directory back.
   */
  readonly close: (options?: { readonly drainMs?: number }) => Promise<{ readonly survivors: ReadonlyArray<number> }>
}

export type TurnOptions = Pick<TurnRequest, "timeoutMs" | "idempotencyKey"> & {
  /** Blocks behind the prompt, files among them. */
  readonly attachments?: ReadonlyArray<ContentBlock>
}

/** Fails with the error itself, not with a wrapping of it. */
const run = async <A, E>(effect: Effect.Effect<A, E>): Promise<A> => {
  const exit = await Effect.runPromiseExit(effect)
  if (Exit.isSuccess(exit)) return exit.value
  throw Cause.squash(exit.cause)
}

/** Programs in plain JavaScript have no compiler that reads what they hand in: the contract does. What is undefined was not given. */
const checked = <M extends Method>(method: M, given: object): Params<M> => {
  const decoded = decoders[method](Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)))
  if (decoded instanceof InvalidParams) throw decoded
  return decoded
}

/** What the contract is to see of a limit: here a page need not fit into a message, so it may be as long as one likes. */
const pageLimit = (limit: number | undefined, most: number): number | undefined =>
  typeof limit === "number" && limit > most && Number.isSafeInteger(limit) ? most : limit

/**
 * Opens a runtime in this process. Close it before the program ends: until then it keeps the program alive. A program that ends
 * without closing it, however it ends, leaves no process behind; in a Worker this rejects with `NotInWorker`.
 */
export const openRuntime = async (options: OpenOptions = {}): Promise<EmbeddedRuntime> => {
  requireMainThread("openRuntime")
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
  const submit = (given: Params<"session/tell">, until: "accepted" | "ended"): Promise<Turn> =>
    new Promise((resolve, reject) =>
      runtime.submit(turnRequest(isPlainTurn(given) ? given : checked("session/tell", given)), until, (exit) =>
        Exit.isSuccess(exit) ? resolve(exit.value) : reject(Cause.squash(exit.cause) as Error),
      ),
    )

  /** One call of the runtime with params that fit. */
  const call = async <M extends Method, A>(
    method: M,
    given: object,
    use: (params: Params<M>) => Effect.Effect<A, RuntimeError>,
  ): Promise<A> => run(use(checked(method, given)))

  const subscribe: EmbeddedRuntime["subscribe"] = async function* (request = {}, onMissed = () => {}) {
    const own = Scope.makeUnsafe()
    try {
      const { turn, ...rest } = request
      const follows = { ...checked("session/subscribe", rest), ...(turn === undefined ? {} : { turn }) }
      const subscription = await run(Scope.provide(runtime.subscribe(follows), own))
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

  const close = async ({ drainMs }: { readonly drainMs?: number } = {}) => {
    const outcome = await call("runtime/shutdown", { drainMs }, (params) => runtime.shutdown(params.drainMs))
    await run(Scope.close(scope, Exit.void))
    return outcome
  }

  return {
    start: (spec, ifExists = "fail") =>
      call("session/start", { ...spec, ifExists }, ({ ifExists: whenThere = "fail", ...decoded }) =>
        runtime.start(decoded, whenThere),
      ),
    ask: (session, prompt, turn) => submit({ session, prompt, ...turn }, "ended"),
    tell: (session, prompt, turn) => submit({ session, prompt, ...turn }, "accepted"),
    turn: (turn) => call("turn/get", { turn }, (params) => runtime.turn(params.turn)),
    wait: (turn, timeoutMs) =>
      call("turn/wait", { turn, timeoutMs }, (params) => runtime.wait(params.turn, params.timeoutMs)),
    cancel: (session, turn) =>
      call("session/cancel", { session, turn }, (params) => runtime.cancel(params.session, params.turn)),
    get: (session) => call("session/get", { session }, (params) => runtime.get(params.session)),
    list: ({ limit, ...query } = {}) =>
      call("session/list", { ...query, limit: pageLimit(limit, 1000) }, (params) =>
        runtime.list(limit === undefined ? params : { ...params, limit }),
      ),
    answer: (session, request, outcome, options = {}) =>
      call("session/answer", { session, request, outcome, ...options }, runtime.answer),
    authenticate: (session, method) =>
      call("session/authenticate", { session, method }, (params) =>
        runtime.authenticate(params.session, params.method),
      ),
    write: (session, data) => run(runtime.write(session, typeof data === "string" ? Buffer.from(data) : data)),
    signal: (session, signal) =>
      call("session/signal", { session, signal }, (params) => runtime.signal(params.session, params.signal)),
    suspend: (session) => call("session/suspend", { session }, (params) => runtime.suspend(params.session)),
    resume: (session) => call("session/resume", { session }, (params) => runtime.resume(params.session)),
    restart: (session) => call("session/restart", { session }, (params) => runtime.restart(params.session)),
    stop: (session, mode) =>
      call("session/stop", { session, mode }, (params) => runtime.stop(params.session, params.mode ?? "graceful")),
    remove: (session) => call("session/remove", { session }, (params) => runtime.remove(params.session)),
    transcript: (session, { limit, ...query } = {}) =>
      call(
        "session/transcript",
        { ...query, session, limit: pageLimit(limit, 10_000) },
        ({ session: of, turn, ...page }) =>
          runtime.transcript(of, {
            ...page,
            ...(turn === undefined ? {} : { turn: turn as TurnId }),
            ...(limit === undefined ? {} : { limit }),
          }),
      ),
    history: (session, query = {}) =>
      call("session/history", { session, ...query }, ({ session: of, ...page }) => runtime.history(of, page)),
    search: (query, options = {}) => call("session/search", { query, ...options }, runtime.search),
    extend: (session, expiresInMs) =>
      call("session/extend", { session, expiresInMs }, (params) => runtime.extend(params.session, params.expiresInMs)),
    fork: (session, name) =>
      call("session/fork", { session, name }, (params) => runtime.fork(params.session, params.name)),
    subscribe,
    templates: {
      list: () => run(runtime.templates.list),
      get: (name) => call("template/get", { name }, (params) => runtime.templates.get(params.name)),
      put: (name, template) =>
        call("template/put", { name, template }, (params) => runtime.templates.put(params.name, params.template)),
      remove: (name) => call("template/remove", { name }, (params) => runtime.templates.remove(params.name)),
    },
    supervisors: {
      start: (path, settings) => call("supervisor/start", { path, ...settings }, runtime.startSupervisor),
      stop: (path) => call("supervisor/stop", { path }, (params) => runtime.stopSupervisor(params.path)),
    },
    info: () => run(runtime.info),
    stats: () => run(runtime.stats),
    health: () => run(runtime.health),
    metrics: () => run(metricsText(runtime)),
    tree: () => run(runtime.tree),
    close,
    [Symbol.asyncDispose]: async () => void (await close()),
  }
}
