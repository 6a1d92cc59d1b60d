/**
 * A prompt over each of the other transports to a `cat` and its echo back, one after the other, against the same over the unix
 * socket: what a transport costs. Servers and clients are processes of their own on both sides.
 */
import { spawn } from "node:child_process"
import { LineSplitter } from "./RawChild.ts"
import { timed } from "./AskOverSocket.ts"
import type { Comparison, Measurement, Side } from "./Measurement.ts"
import { RawHttp } from "./RawHttp.ts"
import { sourceCli, startCreche, startHttp } from "./ServerProcess.ts"

const startEcho = async (socket: string): Promise<void> => {
  const { connect } = await import("../src/client/index.ts")
  const client = await connect({ socket })
  await client.start({ name: "echo", command: "cat", protocol: "lines" })
  await client.close()
}

const overClient = async (isRemote: boolean): Promise<Side> => {
  const { connect } = await import("../src/client/index.ts")
  const server = await (isRemote ? startHttp(sourceCli) : startCreche(sourceCli))
  await startEcho(server.socket)
  const client = await connect(isRemote ? { url: server.url } : { socket: server.socket })
  return {
    round: (count) => timed(count, async (prompt) => (await client.ask({ session: "echo", prompt })).text),
    close: async () => {
      await client.close()
      await server.close()
    },
  }
}

const overHttp = async (): Promise<Side> => {
  const server = await startHttp(sourceCli)
  await startEcho(server.socket)
  const http = await RawHttp.open(server.url)
  return {
    round: (count) =>
      timed(count, async (prompt) => {
        const { body } = await http.post("/v1/sessions/echo/turns?wait=true", JSON.stringify({ prompt }))
        return JSON.parse(body).text
      }),
    close: async () => {
      http.close()
      await server.close()
    },
  }
}

const call = (id: number, prompt: string) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: { name: "session_ask", arguments: { session: "echo", prompt } },
})
const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
}

const overMcp = async (): Promise<Side> => {
  const server = await startCreche(sourceCli)
  await startEcho(server.socket)
  const child = spawn(process.execPath, [sourceCli, "mcp", "--socket", server.socket], {
    stdio: ["pipe", "pipe", "inherit"],
  })
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const splitter = new LineSplitter()
  let answered: (line: string) => void = () => {}
  child.stdout.setEncoding("utf8").on("data", (text: string) => splitter.push(text).forEach((line) => answered(line)))
  const exchange = (message: object): Promise<any> =>
    new Promise((resolve) => {
      answered = (line) => resolve(JSON.parse(line))
      child.stdin.write(`${JSON.stringify(message)}\n`)
    })
  await exchange(initialize)
  let id = 0
  return {
    round: (count) =>
      timed(count, async (prompt) => (await exchange(call(++id, prompt))).result.structuredContent.text),
    close: async () => {
      child.stdin.end()
      await ended
      await server.close()
    },
  }
}

const overMcpHttp = async (): Promise<Side> => {
  const server = await startHttp(sourceCli)
  await startEcho(server.socket)
  const http = await RawHttp.open(server.url)
  const accept = "Accept: application/json, text/event-stream\r\n"
  const { head } = await http.post("/mcp", JSON.stringify(initialize), accept)
  const session = /^mcp-session-id: (.*)$/im.exec(head)![1]!.trim()
  const headers = `${accept}Mcp-Session-Id: ${session}\r\n`
  let id = 0
  return {
    round: (count) =>
      timed(count, async (prompt) => {
        const { body } = await http.post("/mcp", JSON.stringify(call(++id, prompt)), headers)
        const data = /^data: (.*)$/m.exec(body)?.[1] ?? body
        return JSON.parse(data).result.structuredContent.text
      }),
    close: async () => {
      http.close()
      await server.close()
    },
  }
}

const common = {
  kind: "comparison",
  unit: "µs",
  full: { rounds: 15, warmups: 5, count: 1000 },
  quick: { rounds: 3, warmups: 2, count: 400 },
  baseline: () => overClient(false),
} as const satisfies Partial<Comparison>

export const askOverTransports: ReadonlyArray<Measurement> = [
  {
    ...common,
    name: "transport/websocket",
    title: "ask over WebSocket, against the unix socket",
    target: 1.5,
    subject: () => overClient(true),
  },
  { ...common, name: "transport/http", title: "ask over HTTP, against the unix socket", target: 2, subject: overHttp },
  {
    ...common,
    name: "transport/mcp",
    title: "ask over MCP on stdio, against the unix socket",
    target: 2,
    subject: overMcp,
  },
  {
    ...common,
    name: "transport/mcp-http",
    title: "ask over MCP on HTTP, against the unix socket",
    target: 2.5,
    subject: overMcpHttp,
  },
]
