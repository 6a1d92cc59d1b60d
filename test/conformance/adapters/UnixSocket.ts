/** The unix socket of `creche serve`. */
import * as net from "node:net"
import type { Transport } from "../ConformanceClient.ts"
import { jsonRpcPeer } from "./JsonRpcPeer.ts"
import { lineCarrier } from "./Lines.ts"
import { served } from "./Served.ts"

export const unixSocket: Transport = {
  name: "unix socket",
  lacks: { tokens: "who can open the socket may do everything" },
  open: async (directory) => {
    const { runtime, close } = await served(directory)
    const sockets = new Set<net.Socket>()
    return {
      connect: async () => {
        const socket = net.connect(runtime.socket)
        await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject))
        sockets.add(socket)
        const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()))
        return jsonRpcPeer(
          lineCarrier(socket, socket, async () => {
            socket.destroy()
            await gone
          }),
        )
      },
      close: async () => {
        for (const socket of sockets) socket.destroy()
        await close()
      },
    }
  },
}
