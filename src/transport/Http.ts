/**
 * Serves the contract over HTTP on TCP or on a unix socket, to whom it may be served. Called by main.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { measure } from "../supervisor/Meters.ts"
import { Runtime } from "../supervisor/Runtime.ts"
import { makeAccess } from "./HttpAccess.ts"
import { type HttpAddress, type HttpSocket, isLoopback, urlOf } from "./HttpAddress.ts"
import { makeHttpApp } from "./HttpApp.ts"
import { makeDocs } from "./HttpDocs.ts"
import { defaultLimits, type HttpLimits } from "./HttpLimits.ts"
import { makeHttpMcp } from "./HttpMcp.ts"
import type { Rate } from "./HttpRate.ts"
import { type HttpFailed, HttpServer } from "./HttpServer.ts"
import { probe, type ProbePath } from "./Probes.ts"
import type { SocketError } from "./SocketPath.ts"
import { TokenFile, TokenFileWrong } from "./Tokens.ts"

/** It would be open to others than was meant. */
export class HttpRefused extends Data.TaggedError("HttpRefused")<{
  readonly address: string
  readonly detail: string
}> {
  override get message() {
    return `HTTP is not served on ${this.address}: ${this.detail}`
  }
}

export type HttpError = HttpRefused | HttpFailed | SocketError | TokenFileWrong

export interface HttpOptions extends Partial<HttpLimits> {
  readonly address: HttpAddress | HttpSocket
  /** `file`: whose tokens count. `required`: it was asked for by name, so it has to be there. null: no token is asked for,
   * as on a socket: its file's mode says who may connect. */
  readonly tokens: { readonly file: string; readonly required: boolean } | null
  /** Names under which it is served besides `localhost` and addresses. */
  readonly names?: ReadonlyArray<string>
  readonly rate?: Rate
}

export interface HttpListening {
  readonly url: string
  /** 0 on a unix socket. */
  readonly port: number
  /** How many there are now. */
  readonly connections: () => { readonly streams: number; readonly webSockets: number; readonly pending: number }
}

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
    const { address } = options
    const host = "host" in address ? [address.host] : []
    const names = new Set([...host, ...(options.names ?? [])].map((name) => name.toLowerCase()))
    const runtime = yield* Runtime
    const { version } = yield* runtime.info
    const probes = (path: ProbePath) => probe(runtime, path)
    const mcp = makeHttpMcp(version, services)
    const app = yield* makeHttpApp()
    const server = new HttpServer(limits, access, makeDocs(version), probes, mcp, app, services, names)
    yield* measure((emit) => {
      const { streams, webSockets, pending } = server.counts
      emit.gauge("creche_connections", streams, { transport: "sse" })
      emit.gauge("creche_connections", webSockets, { transport: "websocket" })
      emit.gauge("creche_http_requests_pending", pending)
    })
    const bind: Effect.Effect<number, HttpFailed | SocketError> =
      "host" in address ? server.listen(address) : Effect.as(server.listenAt(address.path), 0)
    const port = yield* Effect.acquireRelease(bind, () => server.close)
    const url = urlOf("host" in address ? { ...address, port } : address)
    return { url, port, connections: () => server.counts }
  })

/** What must not be served is not. */
const admit = ({ address, tokens }: HttpOptions): Effect.Effect<TokenFile | null, HttpRefused | TokenFileWrong> =>
  Effect.suspend((): Effect.Effect<TokenFile | null, HttpRefused | TokenFileWrong> => {
    const refused = (detail: string) => Effect.fail(new HttpRefused({ address: urlOf(address), detail }))
    if ("host" in address && !isLoopback(address) && tokens?.required !== true) {
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
