/** Serves the contract on a unix socket that only its owner can reach. Called by main. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import { measure } from "../supervisor/Meters.ts"
import type { Runtime } from "../supervisor/Runtime.ts"
import { Connection } from "./Connection.ts"
import type { Methods } from "./Dispatcher.ts"
import { type HandlerOptions, makeMethods } from "./Handlers.ts"
import { type ClaimedPath, claimPath, removePath, type SocketError } from "./SocketPath.ts"

export interface UnixSocketOptions extends HandlerOptions {
  readonly path: string
  /** How long the answers that are due may take once the scope closes; default 1000. */
  readonly closeMs?: number
}

export interface Listening {
  readonly path: string
  /** Clients connected now. */
  readonly connections: () => number
}

const peerCheckMs = 500

/** Listens until the scope closes; then lets answers that are due go out, closes, and removes the path if it is still its own. */
export const serve = (options: UnixSocketOptions): Effect.Effect<Listening, SocketError, Runtime | Scope.Scope> =>
  Effect.gen(function* () {
    const methods = yield* makeMethods(options)
    const services = yield* Effect.context<never>()
    const connections = new Set<Connection>()
    const server = net.createServer({ allowHalfOpen: true, noDelay: false }, (socket) => {
      accept(socket, connections, methods, services, options)
    })
    const claimed = yield* Effect.acquireRelease(claimPath(server, options.path), (claimed) =>
      release(server, claimed, connections, options.closeMs ?? 1000),
    )
    yield* measure((emit) => emit.gauge("creche_connections", connections.size, { transport: "socket" }))
    return { path: claimed.path, connections: () => connections.size }
  })

const accept = (
  socket: net.Socket,
  connections: Set<Connection>,
  methods: Methods,
  services: ConstructorParameters<typeof Connection>[0]["services"],
  options: UnixSocketOptions,
): void => {
  let check: NodeJS.Timeout | undefined
  // A peer that closed its half may still read (a shell's `printf … | nc -U`), or be gone. Writing nothing tells:
  // it fails with EPIPE once the other side is closed as a whole.
  const finishHalf = () => {
    if (connection.isIdle) return connection.close(options.closeMs ?? 1000)
    socket.write("")
    check = setTimeout(finishHalf, peerCheckMs)
  }
  const connection: Connection = new Connection({
    readable: socket,
    writable: socket,
    methods,
    services,
    ...(options.maxMessageBytes === undefined ? {} : { maxMessageBytes: options.maxMessageBytes }),
    ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
    onEnd: () => {
      finishHalf()
      connection.whenIdle(() => {
        if (connection.isIdle) connection.close(options.closeMs ?? 1000)
      })
    },
  })
  connections.add(connection)
  connection.whenGone(() => {
    clearTimeout(check)
    connections.delete(connection)
  })
}

const release = (
  server: net.Server,
  claimed: ClaimedPath,
  connections: ReadonlySet<Connection>,
  closeMs: number,
): Effect.Effect<void> =>
  Effect.callback((resume) => {
    removePath(claimed)
    server.close(() => resume(Effect.void))
    for (const connection of connections) connection.close(closeMs)
  })
