/**
 * MCP over streamable HTTP, as a function from requests to responses: POST carries messages, GET a stream of what belongs to no
 * request, DELETE ends; clients are told apart by the header Mcp-Session-Id. It opens no port and knows no tokens: whoever mounts it
 * checks `Host`, `Origin` and the bearer first, and says who asks.
 */
import { randomUUID } from "node:crypto"
import type { RuntimeError } from "../domain/Errors.ts"
import * as JsonRpc from "./JsonRpc.ts"
import { defaultLimitBytes } from "./MessageDecoder.ts"
import { McpEventStream } from "./McpEventStream.ts"
import type { McpChannel } from "./McpProgress.ts"
import { type McpOptions, McpSession, protocolVersions } from "./McpSession.ts"
import { isTool, toolSpecs } from "./McpTools.ts"
import type { McpUpstream } from "./McpUpstream.ts"

/** A `Request` of the web platform is one. */
export interface McpHttpRequest {
  readonly method: string
  readonly headers: { readonly get: (name: string) => string | null }
  readonly text: () => Promise<string>
  /** Aborted when the client closes the connection. */
  readonly signal?: AbortSignal
}

export interface McpHttpResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** An iterable is a stream of events: write each piece as it comes. Leave the loop when the client is gone. */
  readonly body: string | AsyncIterable<string> | null
}

/** Who asks. A session belongs to whom it was made for. */
export interface McpCaller {
  /** Told apart by identity. */
  readonly principal?: unknown
  /** Asked once more for each request behind the first of a message: a failure refuses them all. */
  readonly charge?: () => RuntimeError | undefined
  /** What this caller may do, settled when the session is made; default: the upstream of the options. */
  readonly upstream?: McpUpstream
}

export interface McpHttpOptions extends Omit<McpOptions, "upstream"> {
  /** For callers who bring none. */
  readonly upstream?: McpUpstream
  /** Default 1000; beyond it the one that was idle longest ends, of those of the caller who has most, and its client begins anew. */
  readonly maxSessions?: number
  /** A session without requests and streams ends after so long; default 30 minutes. */
  readonly idleMs?: number
  /** Default 16 MiB. */
  readonly maxMessageBytes?: number
}

export interface McpHttp {
  /** Never rejects. */
  readonly handle: (request: McpHttpRequest, caller?: McpCaller) => Promise<McpHttpResponse>
  /** Sessions that are open. */
  readonly size: () => number
  /** Ends the sessions of these principals, with their streams. */
  readonly endWhere: (isGone: (principal: unknown) => boolean) => void
  /** Ends every session and stream. */
  readonly close: () => void
}

interface Open {
  readonly id: string
  readonly session: McpSession
  readonly principal: unknown
  stream: McpEventStream | undefined
  streams: number
  lastUsed: number
}

const events = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
}

const answer = (status: number, message: JsonRpc.Outgoing, headers: Record<string, string> = {}): McpHttpResponse => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(message),
})
const refuse = (status: number, detail: string, headers: Record<string, string> = {}) =>
  answer(status, JsonRpc.failure(null, JsonRpc.invalidRequest(detail)), headers)
const nothing = (status: number): McpHttpResponse => ({ status, headers: {}, body: null })

const accepts = (request: McpHttpRequest, type: string): boolean => {
  const accepted = (request.headers.get("accept") ?? "").toLowerCase()
  return accepted.includes(type) || accepted.includes("*/*")
}

/** Whether the answer may be long in coming, or more is told than the answer. */
const takesTime = (member: JsonRpc.Member): boolean => {
  if (member.type !== "request" || member.method !== "tools/call") return false
  const { name, _meta: meta } = (member.params ?? {}) as { readonly name?: unknown; readonly _meta?: unknown }
  if (typeof meta === "object" && meta !== null && "progressToken" in meta) return true
  return name === "turn_wait" || (typeof name === "string" && isTool(name) && toolSpecs[name].kind !== "reads")
}

export const makeMcpHttp = (options: McpHttpOptions): McpHttp => {
  const { maxSessions = 1000, idleMs = 30 * 60_000, maxMessageBytes = defaultLimitBytes } = options
  const sessions = new Map<string, Open>()

  const isIdle = (open: Open) => open.streams === 0 && open.session.pending === 0
  const end = (open: Open): void => {
    sessions.delete(open.id)
    open.session.close()
    open.stream?.end()
  }
  const sweep = setInterval(
    () => {
      const since = Date.now() - idleMs
      for (const open of sessions.values()) if (isIdle(open) && open.lastUsed < since) end(open)
    },
    Math.min(idleMs, 60_000),
  )
  sweep.unref()

  /** One caller's many sessions are not to push out another's few. */
  const idlest = (): Open | undefined => {
    const idle = [...sessions.values()].filter(isIdle)
    const counts = new Map<unknown, number>()
    for (const { principal } of idle) counts.set(principal, (counts.get(principal) ?? 0) + 1)
    const most = Math.max(...counts.values())
    return idle.find(({ principal }) => counts.get(principal) === most)
  }

  /** undefined: there are too many, and none is idle. */
  const begin = ({ principal, upstream = options.upstream }: McpCaller): Open | undefined => {
    if (upstream === undefined) throw new Error("neither the caller nor the options have an upstream")
    if (sessions.size >= maxSessions) {
      // In order of use: each use puts a session last.
      const oldest = idlest()
      if (oldest === undefined) return undefined
      end(oldest)
    }
    const push: McpChannel = {
      send: (message) => open.stream?.send(message),
      room: () => open.stream?.room() ?? Promise.resolve(),
    }
    const open: Open = {
      id: randomUUID(),
      session: new McpSession({ ...options, upstream }, push),
      principal,
      stream: undefined,
      streams: 0,
      lastUsed: Date.now(),
    }
    sessions.set(open.id, open)
    return open
  }

  const find = (request: McpHttpRequest, { principal }: McpCaller): Open | McpHttpResponse => {
    const id = request.headers.get("mcp-session-id")
    if (id === null) return refuse(400, "the header Mcp-Session-Id is missing; initialize gives it")
    const open = sessions.get(id)
    // Another's session is as unknown as one that never was.
    if (open === undefined || open.principal !== principal) {
      return refuse(404, "there is no such session (any more); begin a new one with initialize")
    }
    open.lastUsed = Date.now()
    sessions.delete(id)
    sessions.set(id, open)
    return open
  }

  const stream = (request: McpHttpRequest, open: Open, onLeft: (channel: McpEventStream) => void): McpEventStream => {
    const made = new McpEventStream(() => onLeft(made))
    open.streams++
    request.signal?.addEventListener("abort", () => made.leave(), { once: true })
    if (request.signal?.aborted === true) made.leave()
    return made
  }
  const over = (open: Open): void => {
    open.streams--
    open.lastUsed = Date.now()
  }

  const post = async (request: McpHttpRequest, caller: McpCaller): Promise<McpHttpResponse> => {
    if (!accepts(request, "application/json") || !accepts(request, "text/event-stream")) {
      return refuse(406, "Accept must name application/json and text/event-stream")
    }
    if (!/^application\/json\b/i.test(request.headers.get("content-type") ?? "")) {
      return refuse(415, "Content-Type must be application/json")
    }
    const text = await request.text()
    if (Buffer.byteLength(text) > maxMessageBytes) {
      return answer(413, JsonRpc.failure(null, JsonRpc.messageTooLarge(maxMessageBytes)))
    }
    const incoming = JsonRpc.parse(text)
    if (incoming.type === "unreadable") {
      return answer(400, JsonRpc.failure(null, JsonRpc.unreadable(incoming.detail)))
    }
    if (incoming.type === "invalid") {
      return answer(400, JsonRpc.failure(incoming.id, JsonRpc.invalidRequest(incoming.detail)))
    }
    const members = incoming.type === "batch" ? incoming.members.map(JsonRpc.classify) : [incoming]
    for (let more = 1; more < members.length; more++) {
      const limit = caller.charge?.()
      if (limit !== undefined)
        return answer(429, JsonRpc.failure(null, JsonRpc.runtimeError(limit)), { "retry-after": "1" })
    }
    const begins = members.some((member) => member.type === "request" && member.method === "initialize")
    if (begins && (members.length > 1 || request.headers.get("mcp-session-id") !== null)) {
      return refuse(400, "initialize stands alone and begins a session of its own")
    }
    const found = begins ? begin(caller) : find(request, caller)
    if (found === undefined) return refuse(503, "there are too many sessions; try again later", { "retry-after": "10" })
    if ("status" in found) return found
    const { session, id } = found
    const headers = begins ? { "mcp-session-id": id } : {}

    if (members.every((member) => member.type === "notification" || member.type === "response")) {
      await session.take(incoming, { send: () => {}, room: () => Promise.resolve() })
      return nothing(202)
    }
    if (members.some(takesTime)) {
      // A connection that breaks is no wish to cancel: the waiting ends, the turn goes on.
      const body = stream(request, found, (channel) => session.abandon(channel))
      void session.take(incoming, body).finally(() => {
        body.end()
        over(found)
      })
      return { status: 200, headers: { ...events, ...headers }, body }
    }
    const said: Array<JsonRpc.Outgoing> = []
    await session.take(incoming, { send: (message) => void said.push(message), room: () => Promise.resolve() })
    const only = said[0]
    return only === undefined ? nothing(202) : answer(200, only, headers)
  }

  const get = (request: McpHttpRequest, caller: McpCaller): McpHttpResponse => {
    if (!accepts(request, "text/event-stream")) return refuse(406, "Accept must name text/event-stream")
    const found = find(request, caller)
    if ("status" in found) return found
    if (found.stream !== undefined) return refuse(409, "this session has its stream already")
    const ended = (channel: McpEventStream) => {
      if (found.stream !== channel) return
      found.stream = undefined
      over(found)
    }
    const body = stream(request, found, ended)
    // The connection may be over already.
    if (body.isOpen) found.stream = body
    else over(found)
    return { status: 200, headers: events, body }
  }

  const answered = async (request: McpHttpRequest, caller: McpCaller): Promise<McpHttpResponse> => {
    const version = request.headers.get("mcp-protocol-version")
    if (version !== null && !protocolVersions.some((known) => known === version)) {
      return refuse(400, `MCP-Protocol-Version must be one of ${protocolVersions.join(", ")}`)
    }
    switch (request.method) {
      case "POST":
        return post(request, caller)
      case "GET":
        return get(request, caller)
      case "DELETE": {
        const found = find(request, caller)
        if ("status" in found) return found
        end(found)
        return nothing(204)
      }
      default:
        return refuse(405, "POST, GET and DELETE are served here", { allow: "POST, GET, DELETE" })
    }
  }

  return {
    handle: async (request, caller = {}) => {
      try {
        return await answered(request, caller)
      } catch (error) {
        // The body could not be read: the client is gone, or hung up midway.
        if (request.signal?.aborted !== true) options.onDefect?.(error)
        return answer(500, JsonRpc.failure(null, JsonRpc.internalError))
      }
    },
    size: () => sessions.size,
    endWhere: (isGone) => {
      for (const open of sessions.values()) if (isGone(open.principal)) end(open)
    },
    close: () => {
      clearInterval(sweep)
      for (const open of sessions.values()) end(open)
    },
  }
}
