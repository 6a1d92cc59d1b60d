/**
 * Clients of MCP for tests, two behind one face: one written by hand over any pair of streams, and the official SDK's where it
 * is installed. It is no dependency of the project (94 packages, 29 MB): `npm run test:agents -- mcp-sdk` installs it, in
 * ~/.cache/creche-agents/mcp-sdk-1.32.2, or where CRECHE_MCP_SDK says.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import type { Readable, Writable } from "node:stream"
import { pathToFileURL } from "node:url"

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly progress: number; readonly message?: string }) => void
}

export interface McpPeer {
  readonly server: { readonly name: string; readonly version: string }
  readonly call: (tool: string, given?: object, options?: CallOptions) => Promise<any>
  readonly tools: () => Promise<Array<any>>
  readonly resources: () => Promise<Array<any>>
  readonly resourceTemplates: () => Promise<Array<any>>
  /** The text of the first of its contents. */
  readonly read: (uri: string) => Promise<string>
  readonly subscribe: (uri: string, onUpdated: () => void) => Promise<void>
  readonly complete: (uriTemplate: string, begun: string) => Promise<ReadonlyArray<string>>
  readonly close: () => Promise<void>
}

export interface Program {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
}

/** A peer on the stdio of a program that it starts. */
export type Spawned = McpPeer & { readonly pid: number }

const sdk = join(
  process.env["CRECHE_MCP_SDK"] ?? join(homedir(), ".cache", "creche-agents", "mcp-sdk-1.32.2"),
  "node_modules/@modelcontextprotocol/sdk",
)
/** Why the official client is not here; undefined: it is. */
export const noSdk = existsSync(join(sdk, "package.json"))
  ? undefined
  : "the official SDK is not installed; test/transport/McpPeer.ts says how"

const fromSdk = (file: string): Promise<any> => import(pathToFileURL(join(sdk, "dist/esm", file)).href)

export interface Wire {
  readonly messages: Array<any>
  readonly send: (message: unknown) => void
  readonly raw: (text: string | Uint8Array) => void
  readonly until: (fits: (message: any) => boolean) => Promise<any>
  readonly request: (method: string, params?: object, id?: number | string) => Promise<any>
}

/** Messages a line each, as they are. */
export const wire = (readable: Readable, writable: Writable): Wire => {
  const messages: Array<any> = []
  const waiting = new Set<() => void>()
  let rest = ""
  let lastId = 0
  readable.setEncoding("utf8")
  readable.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n")
    rest = lines.pop() ?? ""
    // Throws where anything but protocol was written.
    for (const line of lines) messages.push(JSON.parse(line))
    for (const wake of [...waiting]) wake()
  })
  writable.on("error", () => {})
  const raw = (text: string | Uint8Array) => void writable.write(text)
  const send = (message: unknown) => raw(`${JSON.stringify(message)}\n`)
  const until = (fits: (message: any) => boolean, withinMs = 20_000) =>
    new Promise<any>((resolve, reject) => {
      let from = 0
      const timer = setTimeout(() => {
        waiting.delete(look)
        reject(new Error(`no such message within ${withinMs} ms: ${fits}; got ${JSON.stringify(messages.slice(-3))}`))
      }, withinMs)
      const look = () => {
        for (; from < messages.length; from++) {
          if (!fits(messages[from])) continue
          clearTimeout(timer)
          waiting.delete(look)
          return resolve(messages[from])
        }
      }
      waiting.add(look)
      look()
    })
  const request = (method: string, params: object = {}, id: number | string = ++lastId) => {
    send({ jsonrpc: "2.0", id, method, params })
    return until((message) => message.id === id && !("method" in message))
  }
  return { messages, send, raw, until, request }
}

export const clientInfo = { name: "test", version: "1" }

/** A peer by hand, after the handshake. */
export const byHand = async (over: Wire, close: () => Promise<void>): Promise<McpPeer> => {
  let lastId = 0
  const request = async (method: string, params: object, id: string = `p${++lastId}`) => {
    const { error, result } = await over.request(method, params, id)
    if (error !== undefined) throw Object.assign(new Error(error.message), error)
    return result
  }
  const watched = new Map<string, () => void>()
  let seen = 0
  const look = () => {
    for (; seen < over.messages.length; seen++) {
      const message = over.messages[seen]
      if (message.method === "notifications/resources/updated") watched.get(message.params.uri)?.()
      if (message.method === "notifications/progress") progresses.get(message.params.progressToken)?.(message.params)
    }
  }
  const progresses = new Map<string, NonNullable<CallOptions["onProgress"]>>()
  const { serverInfo } = await request("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo })
  over.send({ jsonrpc: "2.0", method: "notifications/initialized" })
  const watch = setInterval(look, 5)
  return {
    server: serverInfo,
    call: async (tool, given = {}, { signal, onProgress } = {}) => {
      const id = `p${++lastId}`
      if (onProgress !== undefined) progresses.set(id, onProgress)
      const meta = onProgress === undefined ? {} : { _meta: { progressToken: id } }
      const cancelled = new Promise<never>((_, reject) =>
        signal?.addEventListener("abort", () => {
          over.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: id } })
          reject(new Error("cancelled"))
        }),
      )
      const answer = request("tools/call", { name: tool, arguments: given, ...meta }, id)
      answer.catch(() => {})
      try {
        return await Promise.race([answer, cancelled])
      } finally {
        look()
      }
    },
    tools: async () => (await request("tools/list", {})).tools,
    resources: async () => (await request("resources/list", {})).resources,
    resourceTemplates: async () => (await request("resources/templates/list", {})).resourceTemplates,
    read: async (uri) => (await request("resources/read", { uri })).contents[0].text,
    subscribe: async (uri, onUpdated) => {
      watched.set(uri, onUpdated)
      await request("resources/subscribe", { uri })
    },
    complete: async (uri, value) => {
      const params = { ref: { type: "ref/resource", uri }, argument: { name: "session", value } }
      return (await request("completion/complete", params)).completion.values
    },
    close: () => {
      clearInterval(watch)
      return close()
    },
  }
}

export const spawnByHand = async ({ command, args, env, cwd }: Program): Promise<Spawned> => {
  const child: ChildProcess = spawn(command, args, { env, cwd, stdio: ["pipe", "pipe", "inherit"] })
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const peer = await byHand(wire(child.stdout!, child.stdin!), async () => {
    child.stdin!.end()
    await ended
  })
  return { ...peer, pid: child.pid! }
}

/** The SDK's client on any of the SDK's transports. */
const official = async (transport: any): Promise<McpPeer> => {
  const { Client } = await fromSdk("client/index.js")
  const { ResourceUpdatedNotificationSchema } = await fromSdk("types.js")
  const client = new Client(clientInfo)
  await client.connect(transport)
  const watched = new Map<string, () => void>()
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }: any) => watched.get(params.uri)?.())
  return {
    server: client.getServerVersion(),
    call: (tool, given = {}, { signal, onProgress } = {}) =>
      client.callTool({ name: tool, arguments: given }, undefined, {
        ...(signal === undefined ? {} : { signal }),
        ...(onProgress === undefined ? {} : { onprogress: onProgress }),
      }),
    tools: async () => (await client.listTools()).tools,
    resources: async () => (await client.listResources()).resources,
    resourceTemplates: async () => (await client.listResourceTemplates()).resourceTemplates,
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    subscribe: async (uri, onUpdated) => {
      watched.set(uri, onUpdated)
      await client.subscribeResource({ uri })
    },
    complete: async (uri, value) =>
      (await client.complete({ ref: { type: "ref/resource", uri }, argument: { name: "session", value } })).completion
        .values,
    close: () => client.close(),
  }
}

export const spawnOfficial = async ({ command, args, env, cwd }: Program): Promise<Spawned> => {
  const { StdioClientTransport } = await fromSdk("client/stdio.js")
  const transport = new StdioClientTransport({ command, args: [...args], env, cwd, stderr: "inherit" })
  return { ...(await official(transport)), pid: transport.pid }
}

/** Over streamable HTTP. */
export const connectOfficial = async (
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<McpPeer & { readonly end: () => Promise<void> }> => {
  const { StreamableHTTPClientTransport } = await fromSdk("client/streamableHttp.js")
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } })
  return { ...(await official(transport)), end: () => transport.terminateSession() }
}
