/** MCP: methods as tools. What a tool answers besides the method's own result is left aside here; its own tests have it. */
import { type ChildProcess, spawn } from "node:child_process"
import { notOffered } from "../../../src/transport/Contract.ts"
import { bin } from "../../acceptance/ServedRuntime.ts"
import type { Answer, ConformanceClient, Failure, Transport } from "../ConformanceClient.ts"
import { failureOf, padded } from "./JsonRpcPeer.ts"
import { onLines } from "./Lines.ts"
import { served } from "./Served.ts"

type Fields = Readonly<Record<string, unknown>>

/** How a message gets there and its answer comes back; resolves undefined where none comes. */
export type Exchange = (message: Fields & { readonly id: number }, signal?: AbortSignal, bytes?: number) => Promise<any>

const toolOf = (method: string): string =>
  method === "session/answer" ? "permission_answer" : method.replace("/", "_")

/** What makes a tool answer as its method does. */
const asMethod: Readonly<Record<string, Fields>> = {
  session_ask: { onPermission: "wait" },
  turn_wait: { onPermission: "wait" },
  session_list: { full: true },
}

const givenUp: Answer = {
  ok: false,
  failure: { tag: "RequestCancelled", code: -32800, data: { tag: "RequestCancelled" }, message: "given up" },
}

/** A failure stands in the structure; a turn that did not complete is a result too. */
const answerOf = ({ structuredContent, isError }: any): Answer => {
  if (isError !== true || "id" in structuredContent) {
    if (!("next" in structuredContent)) return { ok: true, result: structuredContent }
    // What a model is told besides of a turn that goes on.
    const { next: _next, pendingRequests: _pending, ...turn } = structuredContent
    return { ok: true, result: turn }
  }
  const { code, message, remedy, ...data } = structuredContent.error
  if (typeof remedy !== "string") throw new Error(`a failure without a remedy: ${data.tag}`)
  return { ok: false, failure: { tag: data.tag, code, data, message } }
}

export const mcpClient = (exchange: Exchange, disconnect: () => Promise<void>): ConformanceClient => {
  let lastId = 0
  const request: ConformanceClient["request"] = async (method, params = {}, { signal, bytes } = {}) => {
    const name = toolOf(method)
    const call = { jsonrpc: "2.0", id: ++lastId, method: "tools/call" }
    const given = { name, arguments: { ...asMethod[name], ...params } }
    const message = await exchange({ ...call, params: given }, signal, bytes)
    if (message === undefined) return givenUp
    return message.error === undefined ? answerOf(message.result) : { ok: false, failure: failureOf(message.error) }
  }
  return {
    request,
    stream: () => {
      throw new Error("MCP has no entries of a turn")
    },
    subscribe: async (): Promise<Failure> => {
      throw new Error("MCP has no subscriptions")
    },
    disconnect,
  }
}

export const mcpLacks = {
  ...Object.fromEntries(notOffered.map((method) => [method, "no tool for what is not offered"])),
  "session/resize": "no session has a terminal yet",
  "session/screen": "no session has a terminal yet",
  "runtime/metrics": "a model has no use for them",
  initialize: "MCP has an initialize of its own",
  "runtime/shutdown": "no tool: a model must not end the runtime of others",
  "session/subscribe": "resources/subscribe tells that something changed; the transcript has the entries",
  "session/unsubscribe": "there are no subscriptions",
  "entries of a turn as they come": "progress tells what a turn does, in words",
  "unknown methods": "an unknown tool is an error of MCP's own",
}

export const clientInfo = { name: "conformance", version: "1" }
export const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo },
}

/** `creche mcp` on its standard streams, beside the runtime that it offers. */
const overStdio = async (socket: string, children: Set<ChildProcess>): Promise<ConformanceClient> => {
  const child = spawn(process.execPath, [bin, "mcp", "--socket", socket], { stdio: ["pipe", "pipe", "inherit"] })
  children.add(child)
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  void ended.then(() => children.delete(child))
  child.stdin.on("error", () => {})
  const waiting = new Map<number, (message: any) => void>()
  onLines(child.stdout, (line) => {
    const message = JSON.parse(line)
    // What was too large to be read has no id: with one request under way it is that one.
    const id = message.id ?? [...waiting.keys()].at(-1)
    waiting.get(id)?.(message)
    waiting.delete(id)
  })
  const exchange: Exchange = (message, signal, bytes) =>
    new Promise((resolve, reject) => {
      waiting.set(message.id, resolve)
      void ended.then(() => reject(new Error("creche mcp has ended")))
      child.stdin.write(`${padded(JSON.stringify(message), bytes)}\n`)
      signal?.addEventListener("abort", () => {
        const params = { requestId: message.id }
        child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params })}\n`)
        waiting.delete(message.id)
        resolve(undefined)
      })
    })
  await exchange(initialize)
  return mcpClient(exchange, async () => {
    child.kill("SIGKILL")
    await ended
  })
}

export const mcpStdio: Transport = {
  name: "MCP, stdio",
  lacks: { ...mcpLacks, tokens: "who started the server may do everything" },
  open: async (directory) => {
    const { runtime, close } = await served(directory)
    const children = new Set<ChildProcess>()
    return {
      connect: () => overStdio(runtime.socket, children),
      close: async () => {
        for (const child of children) child.kill("SIGKILL")
        await close()
      },
    }
  },
}
