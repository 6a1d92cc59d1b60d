/**
 * The listener and what is under way on it: checks where each request comes from and who sends it, hands it to `HttpExchange`
 * or `WebSocket`, holds peers to the limits, and ends in order. Knows no session. Made by `Http`.
 */
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { WebSocketServer } from "@effect/platform-node-shared/NodeWS"
import * as http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type { Duplex } from "node:stream"
import { Draining, Forbidden, LimitReached, Unauthorized } from "../domain/Errors.ts"
import type { Access } from "./HttpAccess.ts"
import { type HttpAddress, urlOf } from "./HttpAddress.ts"
import type { Docs } from "./HttpDocs.ts"
import type { HttpApp } from "./HttpApp.ts"
import { answerJson, answerProblem } from "./HttpAnswer.ts"
import { HttpLoad } from "./HttpLoad.ts"
import { type HttpLimits, maxHeaderBytes } from "./HttpLimits.ts"
import { problemOfClientError, problemOfMatch, refuseRaw, unknownRoute, webSocketPath } from "./HttpRefusal.ts"
import { type HttpMcp, mcpPath } from "./HttpMcp.ts"
import { cutUntaken } from "./HttpUntaken.ts"
import { checkOrigin } from "./OriginCheck.ts"
import { isProbe, type ProbeAnswer, type ProbePath } from "./Probes.ts"
import * as Problem from "./Problem.ts"
import { claimPath, removePath, type SocketError } from "./SocketPath.ts"
import type { Stream } from "./Sse.ts"
import { WebSocketConnection } from "./WebSocket.ts"

export class HttpFailed extends Data.TaggedError("HttpFailed")<{
  readonly address: string
  readonly errno: string
  readonly detail: string
}> {
  override get message() {
    return `cannot listen on ${this.address}: ${this.detail} (${this.errno})`
  }
}

const remedies: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there; give another port with --http",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "no permission to listen on this port",
  ENOTFOUND: "the name is not known",
}

export class HttpServer {
  readonly #limits: HttpLimits
  readonly #access: Access
  readonly #docs: Docs
  readonly #probes: (path: ProbePath) => Effect.Effect<ProbeAnswer>
  readonly #mcp: HttpMcp
  readonly #app: HttpApp
  readonly #services: Context.Context<never>
  readonly #names: ReadonlySet<string>
  readonly #server: http.Server
  readonly #upgrades: WebSocketServer
  readonly #load: HttpLoad
  readonly #webSockets = new Set<WebSocketConnection>()
  #timer: NodeJS.Timeout | undefined
  #tickedAt = 0
  #isClosing = false
  #unclaim: () => void = () => {}

  constructor(
    limits: HttpLimits,
    access: Access,
    docs: Docs,
    probes: (path: ProbePath) => Effect.Effect<ProbeAnswer>,
    mcp: HttpMcp,
    app: HttpApp,
    services: Context.Context<never>,
    names: ReadonlySet<string>,
  ) {
    this.#limits = limits
    this.#load = new HttpLoad(limits)
    this.#access = access
    this.#docs = docs
    this.#probes = probes
    this.#mcp = mcp
    this.#app = app
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
    // Node takes a connection for idle as soon as its answer was made, and would destroy what is still on its way out.
    const closeIdle = server.closeIdleConnections.bind(server)
    server.closeIdleConnections = () => {
      if (this.#load.unsent === 0) closeIdle()
    }
    this.#server = server
  }

  get counts() {
    return { ...this.#load.counts, webSockets: this.#webSockets.size }
  }

  /** On TCP; gives the port. */
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
        this.#watch()
        resume(Effect.succeed((server.address() as AddressInfo).port))
      })
    })
  }

  /** On a unix socket that is its owner's alone; gives its path. */
  listenAt(path: string): Effect.Effect<string, SocketError> {
    return Effect.map(claimPath(this.#server, path, "--http-socket"), (claimed) => {
      this.#unclaim = () => removePath(claimed)
      this.#watch()
      return claimed.path
    })
  }

  #watch(): void {
    const everyMs = Math.max(10, Math.min(1000, this.#limits.heartbeatMs / 2))
    this.#timer = setInterval(() => this.#tick(everyMs), everyMs)
    this.#timer.unref()
  }

  readonly close: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const { closeMs } = this.#limits
    this.#isClosing = true
    clearInterval(this.#timer)
    this.#unclaim()
    const cut = setTimeout(() => this.#server.closeAllConnections(), closeMs)
    this.#server.close(() => {
      clearTimeout(cut)
      this.#mcp.close()
      resume(Effect.void)
    })
    const why = Problem.ofError(new Draining({ detail: "the runtime ends" })).body
    for (const [stream] of this.#load.streams) stream.close("closing", why)
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
    this.#mcp.look()
    const { heartbeatMs, stalledMs } = this.#limits
    const gone = Problem.ofError(new Unauthorized({ detail: "the token is not valid any more" }))
    for (const [stream, caller] of this.#load.streams) {
      if (caller.isCurrent()) stream.tick(now, heartbeatMs, stalledMs)
      else stream.close("closing", gone.body)
    }
    for (const [end, caller] of this.#load.waits) if (!caller.isCurrent()) end(gone)
    for (const webSocket of this.#webSockets) webSocket.tick(now, heartbeatMs, stalledMs)
  }

  #onRequest(request: http.IncomingMessage, response: http.ServerResponse, beforeRead: () => void): void {
    // Of single connections; the answer is lost, and nothing else.
    request.on("error", () => {})
    response.on("error", () => {})
    cutUntaken(response, this.#limits.stalledMs)
    this.#load.send(response, () => {
      // Its connection would be kept for a next request.
      if (this.#isClosing) setImmediate(() => this.#server.closeIdleConnections())
    })
    if (this.#isClosing) response.setHeader("Connection", "close")
    const from = addressOf(request.socket)
    const { path, query } = partsOf(request.url ?? "/")
    const refusal = this.#originProblem(request, from)
    if (refusal !== undefined) return answerProblem(response, refusal)
    if (this.#docs.serve(path, request, response)) return
    if (isProbe(path)) return this.#probe(path, request, response)
    const caller = this.#access.authenticate(request.headers.authorization, from)
    if (caller instanceof Unauthorized) return answerProblem(response, Problem.ofError(caller))
    const limit = caller.charge() ?? this.#load.take(caller, response)
    if (limit !== undefined) return answerProblem(response, Problem.ofError(limit))
    const way = {
      request,
      response,
      beforeRead,
      maxBodyBytes: this.#limits.maxMessageBytes,
      hold: (bytes: number) => this.#load.hold(response, bytes),
      mayListen: () => this.#load.streamsLimit(),
      onStream: (stream: Stream, listens: boolean) => this.#load.keep(stream, caller, response, listens),
    }
    if (path === mcpPath) this.#mcp.handle({ ...way, caller })
    else this.#app({ ...way, path, query, methods: caller.methods, onWait: (end) => this.#load.wait(caller, end) })
  }

  /** Without a token: whoever keeps this process running asks. */
  #probe(path: ProbePath, request: http.IncomingMessage, response: http.ServerResponse): void {
    const verb = request.method ?? ""
    if (verb !== "GET" && verb !== "HEAD") {
      return answerProblem(response, problemOfMatch({ _tag: "WrongVerb", allow: ["GET", "HEAD"] }, path, verb))
    }
    Effect.runForkWith(this.#services)(this.#probes(path)).addObserver((exit) => {
      if (exit._tag === "Failure") return answerProblem(response, Problem.internal)
      const { status, text, contentType } = exit.value
      if (!response.destroyed) answerJson(response, status, text, contentType)
    })
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
    const from = addressOf(socket as Socket)
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

/** For the log. */
const addressOf = (socket: Socket): string => socket.remoteAddress ?? "a unix socket"

/** The path as it was sent, and what is behind its `?`. */
const partsOf = (url: string): { readonly path: string; readonly query: string } => {
  const at = url.indexOf("?")
  return at < 0 ? { path: url, query: "" } : { path: url.slice(0, at), query: url.slice(at + 1) }
}
