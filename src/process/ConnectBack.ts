/**
 * The listening side of the connect-backs: each connection opens with a token and a byte that names the stream,
 * and what follows is the command's. Who the token belongs to is the spawn server's to say; strangers are cut off.
 */
import { connect, type Server, type Socket } from "node:net"
import { tokenBytes } from "./GuardProtocol.ts"
import { streamNames, type StreamName } from "./OwnedStream.ts"

/** Who a connection is for. `rest`: what came in one piece with the token. */
export interface ConnectBackTarget {
  readonly connect: (name: StreamName, socket: Socket, rest: Buffer | undefined) => void
}

/** A token as a key: its bytes as latin1. */
export type FindByToken = (token: string) => ConnectBackTarget | undefined

const finder = Symbol("creche/finder")
const opening = Symbol("creche/opening")
type NewSocket = Socket & { [finder]?: FindByToken; [opening]?: Buffer }

/** `listener` allows half-open sockets: at the end of one it is destroyed, without saying goodbye first. */
export const acceptConnectBacks = (listener: Server, find: FindByToken): void => {
  listener.on("connection", (socket: NewSocket) => {
    socket[finder] = find
    socket.on("data", onOpening)
    socket.on("end", onEnd)
    socket.on("error", onError)
  })
}

/**
 * Connections are accepted in the order in which they were made, one for each turn of the event loop. So when this one,
 * made now, has come through, every earlier one has come as well or was dropped: with no descriptor left libuv accepts
 * a connection and closes it without a word. Calls back once, also when this very connection fails that way.
 */
export const afterEarlierConnections = (path: string, token: string, then: () => void): ConnectBackTarget => {
  const client = connect(path)
  client.on("error", onError)
  client.on("close", () => afterPolls(3, then))
  client.write(Buffer.from(`${token}0`, "latin1"))
  return { connect: (_name, socket) => socket.on("error", onError).destroy() }
}

/** A connection that was accepted is read within the next turns. */
const afterPolls = (turns: number, then: () => void): void => {
  if (turns === 0) then()
  else setImmediate(afterPolls, turns - 1, then)
}

function onOpening(this: NewSocket, chunk: Buffer): void {
  const bytes = this[opening] === undefined ? chunk : Buffer.concat([this[opening], chunk])
  if (bytes.length <= tokenBytes) {
    this[opening] = bytes
    return
  }
  const target = this[finder]?.(bytes.toString("latin1", 0, tokenBytes))
  const name = streamNames[bytes[tokenBytes]! - 48]
  if (target === undefined || name === undefined) {
    this.destroy()
    return
  }
  delete this[opening]
  delete this[finder]
  this.removeListener("data", onOpening)
  this.removeListener("end", onEnd)
  this.removeListener("error", onError)
  target.connect(name, this, bytes.length > tokenBytes + 1 ? bytes.subarray(tokenBytes + 1) : undefined)
}

function onEnd(this: NewSocket): void {
  this.destroy()
}

/** Whoever connected went away before it had said who it was. */
function onError(): void {}
