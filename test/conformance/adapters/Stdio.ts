/** `creche stdio` as a child: the runtime is its client's, and ends with it. A next client starts the next runtime in the same directory. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { bin } from "../../acceptance/ServedRuntime.ts"
import type { Transport } from "../ConformanceClient.ts"
import { jsonRpcPeer } from "./JsonRpcPeer.ts"
import { lineCarrier } from "./Lines.ts"

export const stdio: Transport = {
  name: "stdio",
  lacks: {
    clients: "the runtime is the one client's own",
    "a configuration file": "it takes none",
    tokens: "who started the runtime may do everything",
  },
  open: async (directory) => {
    let last: Promise<unknown> | undefined
    let leave = async () => {}
    const connect = async () => {
      await last
      const child = spawn(process.execPath, [bin, "stdio", "--data", join(directory, "data")], {
        stdio: ["pipe", "pipe", "inherit"],
      })
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
      last = ended
      leave = async () => {
        child.stdin.destroy()
        child.stdout.destroy()
        await ended
      }
      return jsonRpcPeer(lineCarrier(child.stdout, child.stdin, leave))
    }
    return { connect, close: () => leave() }
  },
}
