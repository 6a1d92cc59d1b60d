/**
 * A prompt over the unix socket to a `cat` and its echo back, one after the other; server and client are processes of
 * their own. creche: its client, JSON-RPC, a session. Baseline: a bare line, a bare socket, a bare pipe.
 */
import { connect as connectSocket } from "node:net"
import type { Measurement } from "./Measurement.ts"
import { LineSplitter } from "./RawChild.ts"
import { sourceCli, startCreche, startRawEcho } from "./ServerProcess.ts"

export const timed = async (count: number, ask: (prompt: string) => Promise<string>): Promise<number> => {
  const begun = performance.now()
  for (let i = 0; i < count; i++) {
    const prompt = `what is the answer to question ${i}?`
    const answer = await ask(prompt)
    if (answer !== prompt) throw new Error(`asked ${JSON.stringify(prompt)}, answered ${JSON.stringify(answer)}`)
  }
  return ((performance.now() - begun) * 1000) / count
}

export const askOverSocket: ReadonlyArray<Measurement> = [
  {
    kind: "comparison",
    name: "socket",
    title: "ask over the unix socket",
    unit: "µs",
    target: 2,
    full: { rounds: 15, warmups: 5, count: 1500 },
    quick: { rounds: 3, warmups: 2, count: 700 },
    subject: async () => {
      const { connect } = await import("../src/client/index.ts")
      const server = await startCreche(sourceCli)
      const client = await connect({ socket: server.socket })
      await client.start({ name: "echo", command: "cat", protocol: "lines" })
      return {
        round: (count) => timed(count, async (prompt) => (await client.ask({ session: "echo", prompt })).text),
        close: async () => {
          await client.close()
          await server.close()
        },
      }
    },
    baseline: async () => {
      const server = await startRawEcho()
      const socket = connectSocket(server.socket)
      await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject))
      const splitter = new LineSplitter()
      let answered: (line: string) => void = () => {}
      socket.setEncoding("utf8")
      socket.on("data", (text: string) => splitter.push(text).forEach((line) => answered(line)))
      return {
        round: (count) =>
          timed(
            count,
            (prompt) =>
              new Promise((resolve) => {
                answered = resolve
                socket.write(`${prompt}\n`)
              }),
          ),
        close: async () => {
          socket.destroy()
          await server.close()
        },
      }
    },
  },
]
