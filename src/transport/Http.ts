/**
 * Serves the contract over HTTP on TCP: listens, checks where a request comes from and who sends it, and hands it to
 * `HttpExchange` or `WebSocket`. Owns the limits of size, time and number, and the order of the end. Called by main.
 *
 * On node:http and no framework: the contract's params, decoders and wire shapes are there once already, and streams have
 * to be made only while their reader reads.
 */
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { WebSocketServer } from "@effect/platform-node-shared/NodeWS"
import * as http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type { Duplex } from "node:stream"
import { Draining, Forbidden, LimitReached, Unauthorized } from "../domain/Errors.ts"
import { Runtime } from "../supervisor/Runtime.ts"
import { methodNotFound } from "./ErrorCodes.ts"
import { type Access, type Caller, makeAccess } from "./HttpAccess.ts"
import { type HttpAddress, isLoopback, urlOf } from "./HttpAddress.ts"
import { type Docs, makeDocs } from "./HttpDocs.ts"
import { answerProblem, exchange } from "./HttpExchange.ts"
import type { Rate } from "./HttpRate.ts"
import { match } from "./HttpRoutes.ts"
import { defaultLimitBytes } from "./MessageDecoder.ts"
import { checkOrigin } from "./OriginCheck.ts"
import * as Problem from "./Problem.ts"
import type { Sse } from "./Sse.ts"
import { TokenFile, TokenFileWrong } from "./Tokens.ts"
import { WebSocketConnection } from "./WebSocket.ts"

/** It would be open to others than was meant. */
export class HttpRefused extends Data.TaggedError("HttpRefused")<{
  readonly address: string
  readonly detail: string
}> {
  override get message() {
    return `HTTP is not served on ${this.address}: ${this.detail}`
  }
}

export class HttpFailed extends Data.TaggedError("HttpFailed")<{
  readonly address: string
  readonly errno: string
  readonly detail: string
}> {
  override get message() {
    return `cannot listen on ${this.address}: ${this.detail} (${this.errno})`
  }
}

export type HttpError = HttpRefused | HttpFailed | TokenFileWrong

export interface HttpLimits {
  /** A body, and a WebSocket's message. Default 16 MiB. */
  readonly maxMessageBytes: number
  /** Requests under way at once by one caller. Default 1000. */
  readonly maxPending: number
  /** Event streams open at once. Default 10000. */
  readonly maxStreams: number
  /** Of bodies that come in and answers that go out, together. Default 512 MiB. */
  readonly maxHeldBytes: number
  /** TCP connections. Default 20000. */
  readonly maxConnections: number
  /** A request's headers, and the whole of a request, have to be there within. Defaults 10 s and 60 s; then 408. */
  readonly headersMs: number
  readonly requestMs: number
  /** Something is sent on a stream at least that often. Default 15 s. */
  readonly heartbeatMs: number
  /** A peer that takes nothing of what is there for it is cut off after that; it may come back. Default 60 s. */
  readonly stalledMs: number
  /** How long the answers that are due may take once the scope closes. Default 1 s. */
  readonly closeMs: number
}

const defaultLimits: HttpLimits = {
  maxMessageBytes: defaultLimitBytes,
  maxPending: 1000,
  maxStreams: 10_000,
  maxHeldBytes: 512 * 1024 * 1024,
  maxConnections: 20_000,
  headersMs: 10_000,
  requestMs: 60_000,
  heartbeatMs: 15_000,
  stalledMs: 60_000,
  closeMs: 1000,
}

export interface HttpOptions extends Partial<HttpLimits> {
  readonly address: HttpAddress
  /** `file`: whose tokens count. `required`: it was asked for by name, so it has to be there. null: no token is asked for. */
  readonly tokens: { readonly file: string; readonly required: boolean } | null
  /** Names under which it is served besides `localhost` and addresses. */
  readonly names?: ReadonlyArray<string>
  readonly rate?: Rate
}

export interface HttpListening {
  readonly url: string
  readonly port: number
  /** How many there are now. */
  readonly connections: () => { readonly streams: number; readonly webSockets: number; readonly pending: number }
}

const webSocketPath = "/v1/ws"
const maxHeaderBytes = 16_384

/** Listens until the scope closes; then lets answers that are due go out and closes streams with a reason. */
export const serve = (options: HttpOptions): Effect.Effect<HttpListening, HttpError, Runtime | Scope.Scope> =>
  Effect.gen(function* () {
    const tokens = yield* admit(options)
    const limits = { ...defaultLimits, ...options }
    const access = yield* makeAccess({
      tokens,
      maxMessageBytes: limits.maxMessageBytes,
      maxPending: limits.maxPending,
      ...(options.rate === undefined ? {} : { rate: options.rate }),
    })
    const services = yield* Effect.context<never>()
    const names = new Set([options.address.host, ...(options.names ?? [])].map((name) => name.toLowerCase()))
    const { version } = yield* (yield* Runtime).info
    const server = new HttpServer(limits, access, makeDocs(version), services, names)
    const port = yield* Effect.acquireRelease(server.listen(options.address), () => server.close)
    return { url: urlOf({ ...options.address, port }), port, connections: () => server.counts }
  })

/** What must not be served is not. */
const admit = ({ address, tokens }: HttpOptions): Effect.Effect<TokenFile | null, HttpRefused | TokenFileWrong> =>
  Effect.suspend((): Effect.Effect<TokenFile | null, HttpRefused | TokenFileWrong> => {
    const refused = (detail: string) => Effect.fail(new HttpRefused({ address: urlOf(address), detail }))
    if (!isLoopback(address) && tokens?.required !== true) {
      return refused(
        "others than this machine can reach it; name a token file (--token-file), made by creche token create",
      )
    }
    if (tokens === null) return Effect.succeed(null)
    const file = new TokenFile(tokens.file)
    try {
      if (file.load() === 0 && tokens.required) {
        return refused(`the token file ${tokens.file} is not there, or has no token; creche token create makes one`)
      }
    } catch (error) {
      return error instanceof TokenFileWrong ? Effect.fail(error) : Effect.die(error)
    }
    return Effect.succeed(file)
  })

class HttpServer {
  readonly #limits: HttpLimits
  readonly #access: Access
  readonly #docs: Docs
  readonly #services: Context.Context<never>
  readonly #names: ReadonlySet<string>
  readonly #server: http.Server
  readonly #upgrades: WebSocketServer
  readonly #streams = new Map<Sse, Caller>()
  readonly #webSockets = new Set<WebSocketConnection>()
  /** Requests under way by token; null for those without. */
  readonly #pending = new Map<string | null, number>()
  #timer: NodeJS.Timeout | undefined
  #tickedAt = 0
  #isClosing = false
  #heldBytes = 0
  readonly #held = new WeakMap<http.ServerResponse, number>()

  constructor(
    limits: HttpLimits,
    access: Access,
    docs: Docs,
    services: Context.Context<never>,
    names: ReadonlySet<string>,
  ) {
    this.#limits = limits
    this.#access = access
    this.#docs = docs
    this.#services = services
    this.#names = names
    this.#upgrades = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: limits.maxMessageBytes,
    })
    const server = http.createServer({
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: limits.headersMs,
      requestTimeout: Math.max(limits.requestMs, limits.headersMs),
      connectionsCheckingInterval: Math.max(50, Math.min(5000, limits.headersMs / 2)),
      keepAliveTimeout: 30_000,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      noDelay: true,
      requireHostHeader: false,
    })
    server.maxConnections = limits.maxConnections
    server.on("request", (request, response) => this.#onRequest(request, response, () => {}))
    server.on("checkContinue", (request, response) =>
      this.#onRequest(request, response, () => response.writeContinue()),
    )
    server.on("checkExpectation", (_request, response) =>
      answerProblem(response, Problem.problem(417, "ExpectationFailed", "only 100-continue can be expected")),
    )
    server.on("upgrade", (request, socket, head) => this.#onUpgrade(request, socket, head))
    server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      refuseRaw(socket, problemOfClientError(error))
    })
    this.#server = server
  }

  get counts() {
    let pending = 0
    for (const each of this.#pending.values()) pending += each
    return { streams: this.#streams.size, webSockets: this.#webSockets.size, pending }
  }

  listen(address: HttpAddress): Effect.Effect<number, HttpFailed> {
    return Effect.callback((resume) => {
      const server = this.#server
      const failed = (error: NodeJS.ErrnoException) => {
        const errno = error.code ?? "unknown"
        resume(
          Effect.fail(new HttpFailed({ address: urlOf(address), errno, detail: remedies[errno] ?? error.message })),
        )
      }
      server.once("error", failed)
      server.listen({ host: address.host, port: address.port, backlog: 1024 }, () => {
        server.off("error", failed)
        // Later errors are of single accepts; the listener itself goes on.
        server.on("error", () => {})
        const everyMs = Math.max(10, Math.min(1000, this.#limits.heartbeatMs / 2))
        this.#timer = setInterval(() => this.#tick(everyMs), everyMs)
        this.#timer.unref()
        resume(Effect.succeed((server.address() as AddressInfo).port))
      })
    })
  }

  readonly close: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const { closeMs } = this.#limits
    this.#isClosing = true
    clearInterval(this.#timer)
    const cut = setTimeout(() => this.#server.closeAllConnections(), closeMs)
    this.#server.close(() => {
      clearTimeout(cut)
      resume(Effect.void)
    })
    const why = Problem.ofError(new Draining({ detail: "the runtime ends" })).body
    for (const stream of this.#streams.keys()) stream.close("closing", why)
    for (const webSocket of this.#webSockets) webSocket.drain(closeMs)
    this.#server.closeIdleConnections()
  })

  #tick(everyMs: number): void {
    const now = Date.now()
    const late = now - this.#tickedAt - everyMs
    this.#tickedAt = now
    // It was this process that stood still: what peers sent meanwhile is still to be read.
    if (late > everyMs) return
    this.#access.look()
    const { heartbeatMs, stalledMs } = this.#limits
    const gone = Problem.ofError(new Unauthorized({ detail: "the token is not valid any more" })).body
    for (const [stream, caller] of this.#streams) {
      if (caller.isCurrent()) stream.tick(now, heartbeatMs, stalledMs)
      else stream.close("closing", gone)
    }
    for (const webSocket of this.#webSockets) webSocket.tick(now, heartbeatMs, stalledMs)
  }

  #onRequest(request: http.IncomingMessage, response: http.ServerResponse, beforeRead: () => void): void {
    // Of single connections; the answer is lost, and nothing else.
    request.on("error", () => {})
    response.on("error", () => {})
    this.#watchTaking(response)
    if (this.#isClosing) response.setHeader("Connection", "close")
    const from = request.socket.remoteAddress ?? "unknown"
    const { path, query } = partsOf(request.url ?? "/")
    const refusal = this.#originProblem(request, from)
    if (refusal !== undefined) return answerProblem(response, refusal)
    if (this.#docs.serve(path, request, response)) return
    const caller = this.#access.authenticate(request.headers.authorization, from)
    if (caller instanceof Unauthorized) return answerProblem(response, Problem.ofError(caller))
    const limit = caller.charge() ?? this.#limitOf(caller)
    if (limit !== undefined) return answerProblem(response, Problem.ofError(limit))
    const found = match(request.method ?? "", path)
    if (found._tag !== "Found") return answerProblem(response, problemOfMatch(found, path, request.method ?? ""))
    if (found.route.kind === "events" && request.method === "HEAD") {
      return answerProblem(response, Problem.problem(405, "MethodNotAllowed", "a stream has no HEAD"))
    }
    if (found.route.kind === "events" && this.#streams.size >= this.#limits.maxStreams) {
      const limit = new LimitReached({ limit: "event streams", value: this.#limits.maxStreams })
      return answerProblem(response, Problem.ofError(limit))
    }
    this.#count(caller, 1)
    response.once("close", () => {
      this.#count(caller, -1)
      // Its connection would be kept for a next request.
      if (this.#isClosing) setImmediate(() => this.#server.closeIdleConnections())
    })
    exchange({
      request,
      response,
      route: found.route,
      path: found.path,
      query,
      methods: caller.methods,
      services: this.#services,
      maxBodyBytes: this.#limits.maxMessageBytes,
      beforeRead,
      hold: (bytes) => this.#hold(response, bytes),
      onStream: (stream) => this.#keep(stream, caller, response, found.route.kind === "events"),
    })
  }

  #keep(stream: Sse, caller: Caller, response: http.ServerResponse, isEvents: boolean): void {
    this.#streams.set(stream, caller)
    // Events are bounded by `maxStreams`, and no request that somebody waits for.
    if (isEvents) this.#count(caller, -1)
    response.once("close", () => {
      this.#streams.delete(stream)
      if (isEvents) this.#count(caller, 1)
    })
  }

  /** Whether there is room for so much more; it is given back when the response is over. */
  #hold(response: http.ServerResponse, bytes: number): LimitReached | undefined {
    const { maxHeldBytes } = this.#limits
    if (this.#heldBytes + bytes > maxHeldBytes) {
      return new LimitReached({ limit: "bytes of bodies and answers on their way", value: maxHeldBytes })
    }
    this.#heldBytes += bytes
    const before = this.#held.get(response)
    this.#held.set(response, (before ?? 0) + bytes)
    if (before === undefined) response.once("close", () => (this.#heldBytes -= this.#held.get(response) ?? 0))
    return undefined
  }

  #count({ id }: Caller, by: 1 | -1): void {
    const count = (this.#pending.get(id) ?? 0) + by
    if (count === 0) this.#pending.delete(id)
    else this.#pending.set(id, count)
  }

  #limitOf({ id }: Caller): LimitReached | undefined {
    const { maxPending } = this.#limits
    if ((this.#pending.get(id) ?? 0) < maxPending) return undefined
    return new LimitReached({ limit: "pending requests of a token", value: maxPending })
  }

  /** An answer that nobody takes does not stay: node itself waits for ever. */
  #watchTaking(response: http.ServerResponse): void {
    response.once("finish", () => clearTimeout(timer))
    response.once("close", () => clearTimeout(timer))
    let timer: NodeJS.Timeout | undefined
    const { stalledMs } = this.#limits
    const end = response.end.bind(response) as (...args: ReadonlyArray<unknown>) => http.ServerResponse
    response.end = ((...args: ReadonlyArray<unknown>) => {
      const ended = end(...args)
      const { socket } = response
      if (socket === null || socket.writableLength === 0) return ended
      let left = socket.writableLength
      const look = () => {
        if (socket.writableLength >= left) return socket.destroy()
        left = socket.writableLength
        timer = setTimeout(look, stalledMs)
      }
      timer = setTimeout(look, stalledMs)
      return ended
    }) as typeof response.end
  }

  #originProblem(request: http.IncomingMessage, from: string): Problem.Problem | undefined {
    const hosts = request.rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "host").length
    const verdict = checkOrigin(request.headers, this.#names, hosts)
    if (verdict._tag === "Allowed") return undefined
    this.#access.refused(`${verdict.header}: ${verdict.detail}`, from)
    return Problem.ofError(new Forbidden({ detail: `${verdict.header}: ${verdict.detail}` }))
  }

  #onUpgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => {})
    const from = (socket as Socket).remoteAddress ?? "unknown"
    const refusal = this.#originProblem(request, from) ?? this.#upgradeProblem(request)
    if (refusal !== undefined) return refuseRaw(socket, refusal)
    const { authorization } = request.headers
    // A browser cannot send the header: it says who it is in its first message.
    const caller = this.#access.authenticate(authorization, from)
    if (caller instanceof Unauthorized && authorization !== undefined) {
      return refuseRaw(socket, Problem.ofError(caller))
    }
    const { maxMessageBytes, maxPending } = this.#limits
    this.#upgrades.handleUpgrade(request, socket, head, (upgraded) => {
      const connection = new WebSocketConnection({
        socket: upgraded,
        raw: socket,
        access: this.#access,
        caller: caller instanceof Unauthorized ? undefined : caller,
        from,
        services: this.#services,
        maxMessageBytes,
        maxPending,
      })
      this.#webSockets.add(connection)
      connection.whenGone(() => this.#webSockets.delete(connection))
    })
  }

  #upgradeProblem(request: http.IncomingMessage): Problem.Problem | undefined {
    if (this.#isClosing) return Problem.ofError(new Draining({ detail: "the runtime ends" }))
    const { path } = partsOf(request.url ?? "/")
    if (path !== webSocketPath) return unknownRoute(path)
    if (request.method !== "GET" || request.headers.upgrade?.toLowerCase() !== "websocket") {
      return Problem.problem(426, "UpgradeRequired", "only WebSockets are spoken here", {
        headers: { Upgrade: "websocket" },
      })
    }
    if (this.#webSockets.size >= this.#limits.maxStreams) {
      return Problem.ofError(new LimitReached({ limit: "WebSockets", value: this.#limits.maxStreams }))
    }
    return undefined
  }
}

const remedies: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there; give another port with --http",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "no permission to listen on this port",
  ENOTFOUND: "the name is not known",
}

/** The path as it was sent, and what is behind its `?`. */
const partsOf = (url: string): { readonly path: string; readonly query: string } => {
  const at = url.indexOf("?")
  return at < 0 ? { path: url, query: "" } : { path: url.slice(0, at), query: url.slice(at + 1) }
}

const unknownRoute = (path: string): Problem.Problem =>
  Problem.problem(404, "RouteNotFound", "there is no such route; /openapi.json lists them", {
    code: methodNotFound,
    data: { path: path.slice(0, 200) },
  })

const problemOfMatch = (
  found: Exclude<ReturnType<typeof match>, { readonly _tag: "Found" }>,
  path: string,
  verb: string,
): Problem.Problem => {
  switch (found._tag) {
    case "Unknown":
      return path === webSocketPath
        ? Problem.problem(426, "UpgradeRequired", "a WebSocket is opened here", { headers: { Upgrade: "websocket" } })
        : unknownRoute(path)
    case "Malformed":
      return Problem.problem(400, "InvalidRequest", "the path is not well percent-encoded")
    case "WrongVerb": {
      const allow = found.allow.join(", ")
      return Problem.problem(405, "MethodNotAllowed", `${verb} is not for this route; it takes ${allow}`, {
        code: methodNotFound,
        headers: { Allow: allow },
      })
    }
  }
}

const problemOfClientError = ({ code }: NodeJS.ErrnoException): Problem.Problem => {
  if (code === "HPE_HEADER_OVERFLOW") {
    return Problem.problem(431, "HeadersTooLarge", `headers may have at most ${maxHeaderBytes} bytes`)
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return Problem.problem(408, "RequestTimeout", "the request took too long")
  return Problem.problem(400, "InvalidRequest", "the request is not well-formed HTTP")
}

/** An answer where there is no response to give it with; the connection ends with it. */
const refuseRaw = (socket: Duplex, { status, headers, body }: Problem.Problem): void => {
  if (!socket.writable) return void socket.destroy()
  const text = JSON.stringify(body)
  const lines = Object.entries({
    ...headers,
    "Content-Type": Problem.contentType,
    "Content-Length": String(Buffer.byteLength(text)),
    Connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  const cut = setTimeout(() => socket.destroy(), 1000)
  socket.once("close", () => clearTimeout(cut))
  socket.end(`HTTP/1.1 ${status} ${body.title}\r\n${lines.join("")}\r\n${text}`, () => socket.destroy())
}
