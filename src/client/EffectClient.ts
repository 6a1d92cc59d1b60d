/**
 * `creche/client/effect`: the client for programs on Effect. A service whose requests are effects with typed failures, given up
 * when they are interrupted, and whose entries, histories and lists are streams that hold back what they do not take. It is
 * the promise client underneath, and decides nothing.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Method, Params, Result, WireHit } from "../transport/Contract.ts"
import type { WireEntry, WireSession, WireTurn } from "../transport/Wire.ts"
import type { Client } from "./Client.ts"
import { connect, type ConnectOptions } from "./Connect.ts"
import { CrecheError } from "./CrecheError.ts"
import { type CrecheFailure, failureOf } from "./CrecheFailure.ts"
import type { ClientSubscription, SubscriptionEvent } from "./Link.ts"
import type { HistoryPages, RequestOptions, SessionPages, TranscriptPages } from "./Pages.ts"

export type { ConnectOptions } from "./Connect.ts"
export type { CrecheFailure, FailureOf, FailureTag } from "./CrecheFailure.ts"
export type { SubscriptionEvent } from "./Link.ts"
export type { HistoryPages, SessionPages, TranscriptPages } from "./Pages.ts"
export type { Method, Params, Result, WireHit } from "../transport/Contract.ts"
export type { WireEntry, WireExit, WireSession, WireTurn } from "../transport/Wire.ts"

type Asked<A> = Effect.Effect<A, CrecheFailure>
type Came<A> = Stream.Stream<A, CrecheFailure>
type Query<P> = Omit<P, "session">
type TurnOptions = Omit<Params<"session/tell">, "session" | "prompt" | "stream">
type Prompt = Params<"session/ask">["prompt"]

/** One session by name, task or id, whether it is there yet or not. */
export interface EffectSession {
  readonly name: string
  /** The turn once it ended, completed or not. Interrupting leaves the turn running; `cancel` ends it. */
  readonly ask: (prompt: Prompt, options?: TurnOptions) => Asked<WireTurn>
  /** Asks, and gives the turn's entries as they come, `turn/ended` last. Asked anew for each run of the stream. */
  readonly stream: (prompt: Prompt, options?: TurnOptions) => Came<WireEntry>
  /** The turn, queued, once it is durable. */
  readonly tell: (prompt: Prompt, options?: TurnOptions) => Asked<WireTurn>
  readonly get: Asked<WireSession>
  /** A turn, by default the running one. */
  readonly cancel: (turn?: string) => Asked<WireTurn>
  readonly answer: (
    request: string,
    outcome: string,
    options?: Omit<Params<"session/answer">, "session" | "request" | "outcome">,
  ) => Asked<WireSession>
  readonly suspend: Asked<WireSession>
  readonly resume: Asked<WireSession>
  readonly restart: Asked<WireSession>
  readonly stop: (mode?: "graceful" | "kill") => Asked<WireSession>
  readonly remove: Asked<void>
  /** Live entries, with `after` those that are stored before; ends when the session is removed, and fails when the connection is lost. */
  readonly subscribe: (query?: Query<Params<"session/subscribe">>) => Came<SubscriptionEvent>
  /** Every entry that is there, in order, and then the end. */
  readonly transcript: (query?: Query<TranscriptPages>) => Came<WireEntry>
  /** Every turn, newest first. */
  readonly history: (query?: Query<HistoryPages>) => Came<WireTurn>
}

export interface CrecheClient {
  /** Any method of the contract. */
  readonly request: <M extends Method>(method: M, params: Params<M>) => Asked<Result<M>>
  /** Once the session is ready. */
  readonly start: (spec: Params<"session/start">) => Asked<WireSession>
  readonly session: (session: string) => EffectSession
  readonly sessions: (query?: SessionPages) => Came<WireSession>
  readonly search: (params: Params<"session/search">) => Asked<ReadonlyArray<WireHit>>
  /** The entries of every session from now on; of one with `session`. */
  readonly subscribe: (query?: Params<"session/subscribe">) => Came<SubscriptionEvent>
}

/** The client as a service: `const creche = yield* Creche`. */
export class Creche extends Context.Service<Creche, CrecheClient>()("creche/client/Creche") {}

/** Interrupted, the request is given up. */
const asked = <A>(request: (options: RequestOptions) => Promise<A>): Asked<A> =>
  Effect.tryPromise({ try: (signal) => request({ signal }), catch: failureOf })

/** Given up when the stream is over, also before its end. */
const pages = <A>(iterate: (options: RequestOptions) => AsyncIterable<A>): Came<A> =>
  Stream.unwrap(
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => new AbortController()),
        (abort) => Effect.sync(() => abort.abort()),
      ),
      ({ signal }) => Stream.fromAsyncIterable(iterate({ signal }), failureOf),
    ),
  )

const lost = (): CrecheFailure =>
  failureOf(new CrecheError(0, "the connection to the runtime is over", { tag: "ConnectionLost" }))

const followed = (subscribe: (options: RequestOptions) => Promise<ClientSubscription>): Came<SubscriptionEvent> =>
  Stream.unwrap(
    Effect.map(
      // A runtime that is away may be waited for, and whoever waits may be interrupted.
      Effect.acquireRelease(asked(subscribe), (subscription) => Effect.promise(() => subscription.close()), {
        interruptible: true,
      }),
      (subscription) =>
        Stream.concat(
          Stream.fromAsyncIterable(subscription, failureOf),
          // A loop just ends here; a stream that ends must have been all there is.
          Stream.suspend(() => (subscription.ending() === "lost" ? Stream.fail(lost()) : Stream.empty)),
        ),
    ),
  )

const sessionOf = (client: Client, name: string): EffectSession => {
  const session = client.session(name)
  const named = <M extends "session/get" | "session/suspend" | "session/resume" | "session/restart">(method: M) =>
    asked((options) => client.request(method, { session: name } as Params<M>, options))
  return {
    name,
    ask: (prompt, given) => asked((options) => client.ask({ ...given, session: name, prompt }, options)),
    stream: (prompt, given) => pages((options) => session.ask(prompt, { ...given, ...options })),
    tell: (prompt, given) => asked((options) => session.tell(prompt, { ...given, ...options })),
    get: named("session/get"),
    cancel: (turn) => asked((options) => session.cancel(turn, options)),
    answer: (request, outcome, given) => asked((options) => session.answer(request, outcome, { ...given, ...options })),
    suspend: named("session/suspend"),
    resume: named("session/resume"),
    restart: named("session/restart"),
    stop: (mode) => asked((options) => session.stop(mode, options)),
    remove: asked((options) => session.remove(options)),
    subscribe: (query) => followed((options) => session.subscribe(query, options)),
    transcript: (query) => pages((options) => session.transcript(query, options)),
    history: (query) => pages((options) => session.history(query, options)),
  }
}

/** Over a client that is open already, whose end is its owner's. */
export const fromClient = (client: Client): CrecheClient => ({
  request: (method, params) => asked((options) => client.request(method, params, options)),
  start: (spec) => asked((options) => client.start(spec, options)),
  session: (session) => sessionOf(client, session),
  sessions: (query) => pages((options) => client.sessions(query, options)),
  search: (params) => asked((options) => client.search(params, options)),
  subscribe: (query = {}) => followed((options) => client.subscribe(query, options)),
})

/** Connects as `connect` does, for as long as the scope is open. */
export const make = (options?: ConnectOptions): Effect.Effect<CrecheClient, CrecheFailure, Scope.Scope> =>
  Effect.acquireRelease(Effect.tryPromise({ try: () => connect(options), catch: failureOf }), (client) =>
    Effect.promise(() => client.close()),
  ).pipe(Effect.map(fromClient))

export const layer = (options?: ConnectOptions): Layer.Layer<Creche, CrecheFailure> =>
  Layer.effect(Creche, make(options))
