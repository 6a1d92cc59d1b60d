/**
 * The listening side of the connect-backs: each connection opens with a token and a byte that names the stream,
 * and what follows is the command's. Who the token belongs to is the spawn server's to say; strangers are cut off.
 */
import type { Server, Socket } from "node:net"
import type { GuardSubprocess } from "./GuardSubprocess.ts"
import { tokenBytes } from "./GuardProtocol.ts"
import type { StreamName } from "./PipedSubprocess.ts"

/** A token as a key: its bytes as latin1. */
export type FindByToken = (token: string) => GuardSubprocess | undefined

const finder = Symbol("creche/finder")
const opening = Symbol("creche/opening")
type NewSocket = Socket & { [finder]?: FindByToken; [opening]?: Buffer }

const streamNames: ReadonlyArray<StreamName> = ["stdin", "stdout", "stderr"]

export const acceptConnectBacks = (listener: Server, find: FindByToken): void => {
  listener.on("connection", (socket: NewSocket) => {
    socket[finder] = find
    socket.on("data", onOpening)
    socket.on("error", onError)
  })
}

function onOpening(this: NewSocket, chunk: Buffer): void {
  const bytes = this[opening] === undefined ? chunk : Buffer.concat([this[opening], chunk])
  if (bytes.length <= tokenBytes) {
    this[opening] = bytes
    return
  }
  const subprocess = this[finder]?.(bytes.toString("latin1", 0, tokenBytes))
  const name = streamNames[bytes[tokenBytes]! - 48]
  if (subprocess === undefined || name === undefined) {
    this.destroy()
    return
  }
  delete this[opening]
  delete this[finder]
  this.removeListener("data", onOpening)
  this.removeListener("error", onError)
  subprocess.connect(name, this, bytes.length > tokenBytes + 1 ? bytes.subarray(tokenBytes + 1) : undefined)
}

/** Whoever connected went away before it had said who it was. */
function onError(): void {}
