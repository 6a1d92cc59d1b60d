/**
 * One request after it was let in: gather its params, decode them by the contract, run the method, answer with JSON, a
 * problem, or a stream of events. Knows neither addresses nor tokens. Called by the HTTP server.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { IncomingMessage, ServerResponse } from "node:http"
import { placesOf } from "../domain/Defect.ts"
import { InvalidParams, type LimitReached, type RuntimeError } from "../domain/Errors.ts"
import type { WireMetrics } from "./RuntimeSchema.ts"
import type { Call, Method, Methods, Peer } from "./Dispatcher.ts"
import { answerJson, answerProblem, answerTagged, mostTagged } from "./HttpAnswer.ts"
import { type Body, readBody } from "./HttpBody.ts"
import { gather, type Gathered } from "./HttpParams.ts"
import { pathParams, type Route } from "./HttpRoutes.ts"
import * as Problem from "./Problem.ts"
import { Sse, type Stream } from "./Sse.ts"
import type { SessionEvent, WireSession } from "./Wire.ts"

export interface ExchangeOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly route: Route
  /** As it was sent. */
  readonly path: string
  readonly query: string
  readonly methods: Methods
  readonly services: Context.Context<never>
  readonly maxBodyBytes: number
  readonly beforeRead: () => void
  /** Asks for room for so many bytes of the body or the answer; what there is no room for is refused. */
  readonly hold: (bytes: number) => LimitReached | undefined
  /** A stream was opened; the server looks after it until it is over. `listens`: it carries no answer that is due. */
  readonly onStream: (stream: Stream, listens: boolean) => void
  /** Whether one more may be opened that listens. */
  readonly mayListen: () => LimitReached | undefined
  /** Begins to wait for what may take long; the server may end that with a problem. Gives what says that it is over. */
  readonly onWait: (end: (problem: Problem.Problem) => void) => () => void
}

type Settled = (exit: Exit.Exit<unknown, RuntimeError>) => void

export const exchange = (options: ExchangeOptions): void => {
  const { request, response } = options
  if (options.route.kind === "events") {
    if (request.method === "HEAD") {
      return answerProblem(response, Problem.problem(405, "MethodNotAllowed", "a stream has no HEAD"))
    }
    const limit = options.mayListen()
    if (limit !== undefined) return answerProblem(response, Problem.ofError(limit))
  }
  if (!options.route.body) return run(options, {})
  readBody(request, options, (body: Body) => {
    if (body._tag === "Read") run(options, body.fields)
    else if (body._tag === "Refused") answerProblem(response, body.problem)
  })
}

const run = (options: ExchangeOptions, body: Readonly<Record<string, unknown>>): void => {
  const { route, request, response } = options
  const header = (name: string) => {
    const value = request.headers[name]
    return typeof value === "string" ? value : undefined
  }
  const gathered = gather(route, {
    path: pathParams(route, options.path),
    query: new URLSearchParams(options.query),
    body,
    idempotencyKey: header("idempotency-key"),
    lastEventId: header("last-event-id"),
  })
  if (gathered.issues.length > 0) return answerProblem(response, Problem.ofError(wrong(options, gathered)))
  if (route.kind === "events") return new Exchange(options).events(gathered)
  const asks = gathered.mode !== "tell"
  if (gathered.mode === "stream") return new Exchange(options).turnEvents(gathered)
  new Exchange(options).plain(asks ? "session/ask" : route.method, gathered, asks)
}

/** All that is wrong, at once. */
const wrong = ({ route, methods }: ExchangeOptions, { params, issues }: Gathered): InvalidParams => {
  const decoded = methods.get(route.method)?.decode(params)
  const others = decoded instanceof InvalidParams ? decoded.issues : []
  const isNew = ({ path }: { readonly path: string }) => !issues.some((known) => known.path === path)
  return new InvalidParams({ issues: [...issues, ...others.filter(isNew)] })
}

/** What is another thing each time that it is asked for. */
const changing: ReadonlySet<string> = new Set(["runtime/info", "runtime/stats", "runtime/health", "turn/wait"])

/** Tells when the last one is gone: its stream has no more to send. */
class WatchedSubscriptions extends Map<string, () => void> {
  onEmpty: () => void = () => {}

  override delete(id: string): boolean {
    const had = super.delete(id)
    if (had && this.size === 0) this.onEmpty()
    return had
  }
}

class Exchange {
  readonly #options: ExchangeOptions
  readonly #response: ServerResponse
  readonly #subscriptions = new WatchedSubscriptions()
  #after: Array<() => void> = []
  #stream: Sse | undefined

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.#response = options.response
  }

  plain(name: string, { params }: Gathered, asks: boolean): void {
    this.#call(name, params, silent, (exit) => {
      if (exit._tag === "Failure") return this.#fail(exit)
      const { kind, location, status } = this.#options.route
      if (kind === "text") {
        const { text, contentType } = exit.value as WireMetrics
        return answerJson(this.#response, 200, text, contentType)
      }
      if (status === 204) return void this.#response.writeHead(204, { "Cache-Control": "no-store" }).end()
      if (location !== undefined) this.#response.setHeader("Location", location(exit.value))
      this.#succeed(asks ? 200 : (status ?? 200), exit.value)
    })
  }

  /** The entries of a turn as they come, then the turn itself. */
  turnEvents({ params }: Gathered): void {
    const peer: Peer = {
      notify: (event) => this.#notify(this.#open(), event, 0),
      room: Effect.suspend(() => this.#stream?.room ?? Effect.void),
      written: () => this.#stream?.written ?? 0,
      subscriptions: this.#subscriptions,
    }
    this.#call("session/ask", { ...params, stream: true }, peer, (exit) => {
      if (exit._tag === "Success") this.#open().close("turn", exit.value)
      else if (this.#stream === undefined) this.#fail(exit)
      else this.#stream.close("problem", this.#problemOf(exit).body)
    })
  }

  events({ params }: Gathered): void {
    const after = params["after"]
    const subscribe = (from: number | undefined) => {
      const peer: Peer = {
        notify: (event) => this.#notify(this.#open(), event, from ?? Number.POSITIVE_INFINITY),
        room: Effect.suspend(() => this.#stream?.room ?? Effect.void),
        written: () => this.#stream?.written ?? 0,
        subscriptions: this.#subscriptions,
      }
      this.#call("session/subscribe", params, peer, (exit) => {
        if (exit._tag === "Failure") return this.#fail(exit)
        if (this.#response.destroyed) return this.#endSubscriptions()
        const stream = this.#open()
        if (from !== undefined) stream.mark(from)
        // Its end, or a store that does not answer: who wants more comes back with the last id.
        this.#subscriptions.onEmpty = () => stream.close()
        for (const then of this.#after) then()
      })
    }
    const decoded = this.#options.methods.get("session/subscribe")?.decode(params)
    if (decoded instanceof InvalidParams) return answerProblem(this.#response, Problem.ofError(decoded))
    this.#response.on("close", () => this.#endSubscriptions())
    if (typeof after === "number" || params["session"] === undefined) {
      return subscribe(typeof after === "number" ? after : undefined)
    }
    // A client that is cut off before its first entry can say from where on it listened.
    this.#call("session/get", { session: params["session"] }, silent, (exit) => {
      if (exit._tag === "Failure") this.#fail(exit)
      else subscribe((exit.value as WireSession).seq)
    })
  }

  /** `from`: entries up to this one are told again, and are no place to come back to. */
  #notify(stream: Sse, event: SessionEvent, from: number): void {
    if ("entry" in event) {
      const { entry } = event
      stream.send(undefined, entry, entry.seq > from ? entry.seq : undefined)
    } else if ("missed" in event) {
      const { missed } = event
      stream.send("missed", missed, missed.through > from ? missed.through : undefined)
    } else stream.send("ended", {})
  }

  #open(): Sse {
    if (this.#stream !== undefined) return this.#stream
    const stream = new Sse(this.#response, Date.now())
    this.#stream = stream
    this.#options.onStream(stream, this.#options.route.kind === "events")
    return stream
  }

  #endSubscriptions(): void {
    for (const end of this.#subscriptions.values()) end()
  }

  #call(name: string, given: unknown, peer: Peer, settled: Settled): void {
    const { methods, services } = this.#options
    const method = methods.get(name) as Method
    const call: Call = { id: undefined, peer, afterAnswer: (then) => void this.#after.push(then) }
    let effect: Effect.Effect<unknown, RuntimeError>
    try {
      const params = method.decode(given)
      effect = params instanceof InvalidParams ? Effect.fail(params) : method.run(params, call)
    } catch (defect) {
      effect = Effect.die(defect)
    }
    const fiber = Effect.runForkWith(services)(effect)
    // Who waits for nothing but the answer, and is gone, is not waited for; anything else is carried out.
    const gone = () => {
      if (method.waits) fiber.interruptUnsafe()
    }
    this.#response.on("close", gone)
    let isEnded = false
    const over = !method.waits
      ? undefined
      : this.#options.onWait((problem) => {
          isEnded = true
          fiber.interruptUnsafe()
          answerProblem(this.#response, problem)
        })
    fiber.addObserver((exit) => {
      over?.()
      this.#response.off("close", gone)
      if (!isEnded) settled(exit)
    })
  }

  #problemOf(exit: Exit.Failure<unknown, unknown>): Problem.Problem {
    const known = Problem.ofCause(exit.cause)
    if (known !== undefined) return known
    Effect.runForkWith(this.#options.services)(Effect.logError(`a request met a defect: ${placesOf(exit.cause)}`))
    return Problem.internal
  }

  #fail(exit: Exit.Failure<unknown, unknown>): void {
    answerProblem(this.#response, this.#problemOf(exit))
  }

  #succeed(status: number, value: unknown): void {
    if (this.#response.destroyed) return
    let text: string
    try {
      text = JSON.stringify(value) ?? "null"
    } catch {
      // What a child nested too deeply for the stack.
      return answerProblem(this.#response, Problem.internal)
    }
    const limit = this.#options.hold(text.length)
    if (limit !== undefined) return answerProblem(this.#response, Problem.ofError(limit))
    const { request, route } = this.#options
    if (route.verb === "GET" && !changing.has(route.method) && text.length <= mostTagged)
      answerTagged(request, this.#response, text, "application/json")
    else answerJson(this.#response, status, text, "application/json")
  }
}

const silent: Peer = { notify: () => {}, room: Effect.void, subscriptions: new Map() }
