/**
 * Finds a runtime, by its socket or its URL, and opens a client on it. Fails in words where nobody answers, or where another runtime
 * does than the one whose data directory was named. Used by programs (`connect`) and by the CLI (`connectTo`).
 */
import * as net from "node:net"
import { type Client, clientOf } from "./Client.ts"
import { CrecheError } from "./CrecheError.ts"
import type { Link } from "./Link.ts"
import type { Paths } from "./Paths.ts"
import type { Reconnect } from "./Reconnect.ts"
import type { SpawnOptions } from "./SpawnedRuntime.ts"
import { streamLink } from "./StreamLink.ts"
import { resolveTarget, type Target } from "./Target.ts"

export interface ConnectOptions {
  /** The path of the runtime's socket. Default: found as the CLI finds it: CRECHE_SOCKET, else $XDG_RUNTIME_DIR/creche.sock, else in the data directory. */
  readonly socket?: string | undefined
  /** The data directory of the runtime meant. Default: CRECHE_DATA, else $XDG_STATE_HOME/creche, else ~/.local/state/creche. */
  readonly dataDirectory?: string | undefined
  /**
   * The URL of a runtime's HTTP, as `http://127.0.0.1:8420` or `https://creche.example`: its WebSocket is opened. Default:
   * CRECHE_URL, unless a socket or a data directory is named.
   */
  readonly url?: string | undefined
  /** Whose it is: what `creche token create` printed. Goes with `url`; default: CRECHE_TOKEN. */
  readonly token?: string | undefined
  /**
   * Milliseconds until `connect` gives up; default 5000. A runtime that is spawned has no such limit: it is there, or its
   * process has ended.
   */
  readonly timeoutMs?: number | undefined
  /**
   * Spawns a runtime of the client's own in place of looking for one: `creche stdio`, or the whole command line that is named.
   * Closing the client ends it, with every session.
   */
  readonly stdio?: SpawnOptions | undefined
  /**
   * Comes back when the connection is lost, and goes on. What reads, and `ask` and `tell` (by an `idempotencyKey` that is made
   * where none is given), is then repeated, subscriptions continue without gap or duplicate; the rest fails with
   * `ConnectionLost` and `data.sent`. Default false: the client is over with its connection.
   */
  readonly reconnect?: boolean | Partial<Reconnect> | undefined
}

/**
 * Connects to a runtime; fails with the tag `NoRuntime` where none is, `OtherRuntime` where the wrong one answers, `Unauthorized`
 * where the token does not count.
 */
export const connect = async (options: ConnectOptions = {}): Promise<Client> => {
  const { reconnect = false, ...where } = checked(options)
  const dial = await dialer(where)
  const first = await dial()
  if (reconnect === false) return clientOf(first)
  const { reconnectingLink } = await import("./ReconnectingLink.ts")
  return clientOf(reconnectingLink(first, dial, reconnect === true ? {} : reconnect))
}

/** What opens a link each time: the paths are those of the first time, whatever becomes of the environment. */
const dialer = async (options: Omit<ConnectOptions, "reconnect">): Promise<() => Promise<Link>> => {
  const { socket, dataDirectory, url, token, timeoutMs, stdio } = options
  if (stdio === undefined) {
    const target = resolveTarget({ data: dataDirectory, socket, url, token }, process.env, process.cwd())
    return () => linkTo(target, timeoutMs)
  }
  const { spawnRuntime } = await import("./SpawnedRuntime.ts")
  return () => spawnRuntime(stdio)
}

const defaultTimeoutMs = 5000

/** The same for what was resolved before. */
export const connectTo = async (target: Target, timeoutMs?: number): Promise<Client> =>
  clientOf(await linkTo(target, timeoutMs))

const linkTo = async (target: Target, timeoutMs = defaultTimeoutMs): Promise<Link> => {
  switch (target._tag) {
    case "Malformed":
      throw new TypeError(`the url ${target.detail}`)
    case "Remote":
      return (await import("./WebSocketLink.ts")).openWebSocket({ ...target, timeoutMs })
    case "Socket":
      return linkToSocket(target, timeoutMs)
  }
}

const linkToSocket = async (paths: Paths, timeoutMs: number): Promise<Link> => {
  const link = await openSocket(paths.socket, timeoutMs)
  if (!paths.socketIsShared) return link
  try {
    const { dataDirectory } = await link.request("runtime/info", {})
    if (dataDirectory === paths.dataDirectory) return link
    const message = `the runtime on ${paths.socket} keeps its data in ${dataDirectory}, not in ${paths.dataDirectory}; name the socket of the other one`
    throw new CrecheError(0, message, { tag: "OtherRuntime", socket: paths.socket, dataDirectory })
  } catch (error) {
    await link.close()
    throw error
  }
}

const types: Readonly<Record<keyof ConnectOptions, ReadonlyArray<string>>> = {
  socket: ["string"],
  dataDirectory: ["string"],
  url: ["string"],
  token: ["string"],
  timeoutMs: ["number"],
  stdio: ["object"],
  reconnect: ["boolean", "object"],
}

/** Callers without types pass anything; a path where the options belong would else be taken for no socket at all. */
const checked = (options: unknown): ConnectOptions => {
  const wants = "connect takes { socket?, dataDirectory?, url?, token?, timeoutMs?, stdio?, reconnect? }"
  if (typeof options !== "object" || options === null)
    throw new TypeError(`${wants}, and was given ${typeof options === "string" ? "a string" : String(options)}`)
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(types, name)) throw new TypeError(`${wants}; there is no ${name}`)
    const allowed = types[name as keyof ConnectOptions]
    if (value !== undefined && (value === null || !allowed.includes(typeof value)))
      throw new TypeError(
        `${wants}; ${name} must be a ${allowed.join(" or ")}, and is ${value === null ? "null" : `a ${typeof value}`}`,
      )
  }
  const { socket, dataDirectory, url, stdio, reconnect = false } = options as ConnectOptions
  if (url !== undefined && (socket !== undefined || dataDirectory !== undefined || stdio !== undefined))
    throw new TypeError("connect takes either a url, or socket and dataDirectory, or stdio")
  if (stdio !== undefined && (socket !== undefined || dataDirectory !== undefined))
    throw new TypeError(
      "connect takes either a socket and dataDirectory to look for, or stdio; a spawned runtime's directory is stdio.data",
    )
  if (stdio !== undefined && reconnect !== false && stdio.data === undefined)
    throw new TypeError("connect cannot come back to a spawned runtime that keeps nothing: reconnect needs stdio.data")
  return options
}

/** Where the queue of connections is full, somebody listens: it is waited out, as a blocking connect does by itself. */
const openSocket = async (path: string, timeoutMs: number): Promise<Link> => {
  const until = performance.now() + timeoutMs
  for (;;) {
    const link = await tryToOpen(path, timeoutMs, Math.max(0, until - performance.now()))
    if (link !== "queueIsFull") return link
    await new Promise((resolve) => setTimeout(resolve, queueRetryMs))
  }
}

const queueRetryMs = 10

const tryToOpen = (path: string, timeoutMs: number, leftMs: number): Promise<Link | "queueIsFull"> =>
  new Promise((resolve, reject) => {
    const socket = net.connect(path)
    const refuse = (detail: string, errno: string) => {
      socket.destroy()
      reject(new CrecheError(0, `no runtime answers on ${path}: ${detail}`, { tag: "NoRuntime", socket: path, errno }))
    }
    const timer = setTimeout(() => refuse(`no connection within ${timeoutMs} ms`, "ETIMEDOUT"), leftMs)
    socket.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      if (error.code === "EAGAIN" && leftMs > 0) return resolve("queueIsFull")
      refuse(reasons[error.code ?? ""] ?? error.message, error.code ?? "unknown")
    })
    socket.once("connect", () => {
      clearTimeout(timer)
      socket.removeAllListeners("error")
      resolve(streamLink(socket))
    })
  })

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket; start one with `creche serve`",
  ECONNREFUSED: "nobody listens there any more; start one with `creche serve`",
  EACCES: "it belongs to another user",
  EAGAIN: "more connections wait there than it takes",
  ENOTSOCK: "it is not a socket",
}
