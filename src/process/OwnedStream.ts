/**
 * The runtime's ends of a command's three streams: sockets that know whose they are. One set of listeners for all, which
 * finds the owner through the socket: thousands are live at once, and a stream may change hands before its command runs.
 */
import type { Socket } from "node:net"

export type StreamName = "stdin" | "stdout" | "stderr"
export const streamNames: ReadonlyArray<StreamName> = ["stdin", "stdout", "stderr"]

export interface StreamOwner {
  readonly receive: (name: StreamName, chunk: Buffer) => void
  /** The socket is gone, or was read to its end and then closed. Called once. */
  readonly streamClosed: (name: StreamName) => void
  /** Stdin has room again. */
  readonly drain: () => void
}

const owner = Symbol("creche/owner")
const stream = Symbol("creche/stream")
export type OwnedSocket = Socket & { [owner]?: StreamOwner | undefined; [stream]?: StreamName }

/** Begins to read. The first owner, or the next one. */
export const own = (socket: OwnedSocket, by: StreamOwner, name: StreamName): void => {
  const first = socket[stream] === undefined
  socket[owner] = by
  socket[stream] = name
  if (!first) return
  socket.on("data", onData)
  socket.on("end", onEnd)
  socket.on("error", onError)
  socket.on("close", onClose)
  if (name === "stdin") socket.on("drain", onDrain)
}

/** Closes it; its owner hears nothing more. */
export const disown = (socket: OwnedSocket): void => {
  socket[owner] = undefined
  socket.destroy()
}

function onData(this: OwnedSocket, chunk: Buffer): void {
  this[owner]?.receive(this[stream]!, chunk)
}

function onDrain(this: OwnedSocket): void {
  this[owner]?.drain()
}

/** EPIPE and ECONNRESET: the other side closed; `close` follows and is what counts. */
function onError(): void {}

/** At once: no shutdown of the other direction first, and no turns of the event loop until `close`. */
function onEnd(this: OwnedSocket): void {
  closed(this)
  this.destroy()
}

function onClose(this: OwnedSocket): void {
  closed(this)
}

const closed = (socket: OwnedSocket): void => {
  const by = socket[owner]
  socket[owner] = undefined
  by?.streamClosed(socket[stream]!)
}
