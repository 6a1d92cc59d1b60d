/** The WebSocket of `creche serve --http`: the JSON-RPC of the socket, one message a frame. */
import { WebSocket } from "@effect/platform-node-shared/NodeWS"
import type { Failure, Transport } from "../ConformanceClient.ts"
import { jsonRpcPeer } from "./JsonRpcPeer.ts"
import { served } from "./Served.ts"

/** By the protocol of WebSockets a message over the limit ends the connection. */
const tooLarge: Failure = { tag: "MessageTooLarge", code: -32600, data: { tag: "MessageTooLarge" }, message: "" }

export const webSocket: Transport = {
  name: "WebSocket",
  lacks: {},
  open: async (directory) => {
    const { url, tokenOf, close } = await served(directory, { http: true })
    const sockets = new Set<WebSocket>()
    return {
      connect: async (as = "admin") => {
        const token = tokenOf(as)
        const headers = token === undefined || as === "stranger" ? {} : { Authorization: `Bearer ${token}` }
        const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`, { headers })
        await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject))
        sockets.add(socket)
        const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()))
        const peer = jsonRpcPeer({
          send: (text) => socket.send(text),
          onMessage: (take) => socket.on("message", (data: Buffer) => take(data.toString())),
          onClose: (over) => socket.once("close", (code: number) => over(code === 1009 ? tooLarge : undefined)),
          destroy: async () => {
            socket.terminate()
            await gone
          },
        })
        socket.on("error", () => {})
        return peer
      },
      close: async () => {
        for (const socket of sockets) socket.terminate()
        await close()
      },
    }
  },
}
