/**
 * Finds a runtime's socket and opens a client on it. Fails in words where nobody answers, or where another runtime
 * does than the one whose data directory was named. Used by programs (`connect`) and by the CLI (`connectTo`).
 */
import * as net from "node:net"
import { type Client, open } from "./Client.ts"
import { CrecheError } from "./CrecheError.ts"
import { type Paths, resolvePaths } from "./Paths.ts"

export interface ConnectOptions {
  /** The path of the runtime's socket. Default: found as the CLI finds it: CRECHE_SOCKET, else $XDG_RUNTIME_DIR/creche.sock, else in the data directory. */
  readonly socket?: string | undefined
  /** The data directory of the runtime meant. Default: CRECHE_DATA, else $XDG_STATE_HOME/creche, else ~/.local/state/creche. */
  readonly dataDirectory?: string | undefined
  /** Milliseconds until `connect` gives up; default 5000. */
  readonly timeoutMs?: number | undefined
}

/** Connects to a runtime; fails with the tag `NoRuntime` where none listens, `OtherRuntime` where the wrong one does. */
export const connect = async (options: ConnectOptions = {}): Promise<Client> => {
  const { socket, dataDirectory, timeoutMs } = checked(options)
  return connectTo(resolvePaths({ data: dataDirectory, socket }, process.env, process.cwd()), timeoutMs)
}

const defaultTimeoutMs = 5000

/** The same for paths that were resolved before. */
export const connectTo = async (paths: Paths, timeoutMs = defaultTimeoutMs): Promise<Client> => {
  const client = await openSocket(paths.socket, timeoutMs)
  if (!paths.socketIsShared) return client
  try {
    const { dataDirectory } = await client.request("runtime/info", {})
    if (dataDirectory === paths.dataDirectory) return client
    const message = `the runtime on ${paths.socket} keeps its data in ${dataDirectory}, not in ${paths.dataDirectory}; name the socket of the other one`
    throw new CrecheError(0, message, { tag: "OtherRuntime", socket: paths.socket, dataDirectory })
  } catch (error) {
    await client.close()
    throw error
  }
}

/** Callers without types pass anything; a path where the options belong would else be taken for no socket at all. */
const checked = (options: unknown): ConnectOptions => {
  const wants = "connect takes { socket?, dataDirectory?, timeoutMs? }"
  if (typeof options !== "object" || options === null)
    throw new TypeError(`${wants}, and was given ${typeof options === "string" ? "a string" : String(options)}`)
  for (const [name, value] of Object.entries(options)) {
    const type = name === "timeoutMs" ? "number" : "string"
    if (!["socket", "dataDirectory", "timeoutMs"].includes(name)) throw new TypeError(`${wants}; there is no ${name}`)
    if (value !== undefined && typeof value !== type)
      throw new TypeError(
        `${wants}; ${name} must be a ${type}, and is ${value === null ? "null" : `a ${typeof value}`}`,
      )
  }
  return options
}

const openSocket = (path: string, timeoutMs: number): Promise<Client> =>
  new Promise((resolve, reject) => {
    const socket = net.connect(path)
    const refuse = (detail: string, errno: string) => {
      socket.destroy()
      reject(new CrecheError(0, `no runtime answers on ${path}: ${detail}`, { tag: "NoRuntime", socket: path, errno }))
    }
    const timer = setTimeout(() => refuse(`no connection within ${timeoutMs} ms`, "ETIMEDOUT"), timeoutMs)
    socket.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      refuse(reasons[error.code ?? ""] ?? error.message, error.code ?? "unknown")
    })
    socket.once("connect", () => {
      clearTimeout(timer)
      socket.removeAllListeners("error")
      resolve(open(socket))
    })
  })

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket; start one with `creche serve`",
  ECONNREFUSED: "nobody listens there any more; start one with `creche serve`",
  EACCES: "it belongs to another user",
  ENOTSOCK: "it is not a socket",
}
