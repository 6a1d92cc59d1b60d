/** REST and server-sent events of `creche serve --http`, as somebody calls them who has read the page on HTTP. */
import * as http from "node:http"
import type {
  Answer,
  ConformanceClient,
  Failure,
  FollowedEvent,
  Identity,
  RequestOptions,
  Transport,
  World,
} from "../ConformanceClient.ts"
import { padded } from "./JsonRpcPeer.ts"
import { notOffered } from "../../../src/transport/Contract.ts"
import { type Served, served } from "./Served.ts"

type Verb = "GET" | "POST" | "PUT" | "DELETE"
type Fields = Readonly<Record<string, unknown>>

/** Where each method is found; what does not stand in the path goes into the body, or without one into the query. */
const routes: Readonly<Record<string, readonly [Verb, string]>> = {
  "runtime/info": ["GET", "/v1/info"],
  "runtime/stats": ["GET", "/v1/stats"],
  "runtime/health": ["GET", "/v1/health"],
  "runtime/tree": ["GET", "/v1/tree"],
  "supervisor/start": ["POST", "/v1/supervisors"],
  "supervisor/stop": ["POST", "/v1/supervisors/stop"],
  "runtime/metrics": ["GET", "/metrics"],
  "runtime/shutdown": ["POST", "/v1/shutdown"],
  "session/start": ["POST", "/v1/sessions"],
  "session/list": ["GET", "/v1/sessions"],
  "session/get": ["GET", "/v1/sessions/{session}"],
  "session/remove": ["DELETE", "/v1/sessions/{session}"],
  "session/ask": ["POST", "/v1/sessions/{session}/turns?wait=true"],
  "session/tell": ["POST", "/v1/sessions/{session}/turns"],
  "session/history": ["GET", "/v1/sessions/{session}/turns"],
  "turn/get": ["GET", "/v1/turns/{turn}"],
  "turn/wait": ["GET", "/v1/turns/{turn}/wait"],
  "session/transcript": ["GET", "/v1/sessions/{session}/transcript"],
  "session/search": ["GET", "/v1/search"],
  "session/screen": ["GET", "/v1/sessions/{session}/screen"],
  "template/list": ["GET", "/v1/templates"],
  "template/get": ["GET", "/v1/templates/{name}"],
  "template/put": ["PUT", "/v1/templates/{name}"],
  "template/remove": ["DELETE", "/v1/templates/{name}"],
  ...Object.fromEntries(
    [
      "cancel",
      "suspend",
      "resume",
      "restart",
      "stop",
      "fork",
      "extend",
      "answer",
      "authenticate",
      "write",
      "signal",
      "resize",
    ].map((verb) => [`session/${verb}`, ["POST", `/v1/sessions/{session}/${verb}`] as const]),
  ),
}

const queryOf = (fields: Fields): string => {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) {
    if (name === "tags")
      for (const [key, tag] of Object.entries(value as Fields)) query.append("tag", `${key}=${String(tag)}`)
    else query.append(name, Array.isArray(value) ? value.join(",") : String(value))
  }
  return query.toString()
}

interface Call {
  readonly verb: Verb
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
}

const callOf = (method: string, params: Fields, { bytes }: RequestOptions): Call => {
  const [verb, template] = routes[method] ?? ["POST", `/v1/${method}`]
  const rest: Record<string, unknown> = { ...params }
  const headers: Record<string, string> = {}
  const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(rest[name])
    delete rest[name]
    return encodeURIComponent(value)
  })
  // A header has no room for other characters: there the field of the body is the way.
  if (typeof rest["idempotencyKey"] === "string" && /^[\x21-\x7e]+$/.test(rest["idempotencyKey"])) {
    headers["Idempotency-Key"] = rest["idempotencyKey"]
    delete rest["idempotencyKey"]
  }
  if (verb === "POST" || verb === "PUT") {
    headers["Content-Type"] = "application/json"
    return { verb, path, headers, body: padded(JSON.stringify(rest), bytes) }
  }
  const query = queryOf(rest)
  return { verb, path: query === "" ? path : `${path}?${query}`, headers, body: undefined }
}

const failureOf = (status: number, { tag, code, data, detail }: any): Failure => ({
  tag,
  code,
  data,
  message: detail,
  status,
})

const givenUp: Answer = {
  ok: false,
  failure: { tag: "RequestCancelled", code: -32800, data: { tag: "RequestCancelled" }, message: "given up" },
}

interface SseEvent {
  readonly event: string
  readonly data: any
}

/** Calls back for each event of a stream. */
export const onEvents = (response: http.IncomingMessage, take: (event: SseEvent) => void): void => {
  let rest = ""
  response.setEncoding("utf8")
  response.on("data", (chunk: string) => {
    const blocks = (rest + chunk).split("\n\n")
    rest = blocks.pop()!
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line) => line.split(/: ?(.*)/s, 2) as [string, string]))
      const data = fields.get("data")
      if (data !== undefined) take({ event: fields.get("event") ?? "message", data: JSON.parse(data) })
    }
  })
}

interface Address {
  readonly url: string
  /** Of a unix socket; the URL is then only what stands in Host. */
  readonly socketPath?: string
}

const clientOf = ({ url, socketPath }: Address, token: string | undefined): ConformanceClient => {
  const agent = new http.Agent({ keepAlive: true })
  const open = (call: Call, signal?: AbortSignal): Promise<http.IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { verb: method, path, body } = call
      const headers = {
        ...call.headers,
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) }),
      }
      const options = { method, headers, agent, ...(signal && { signal }), ...(socketPath && { socketPath }) }
      const request = http.request(`${url}${path}`, options, resolve)
      request.on("error", reject)
      request.end(body)
    })

  const answerOf = async (response: http.IncomingMessage): Promise<Answer> => {
    const status = response.statusCode!
    let text = ""
    response.setEncoding("utf8")
    for await (const chunk of response) text += chunk as string
    const contentType = response.headers["content-type"] ?? ""
    if (contentType.startsWith("text/plain")) return { ok: true, result: { contentType, text }, status }
    const result = text === "" ? {} : JSON.parse(text)
    if (status < 400) return { ok: true, result, status }
    if (contentType !== "application/problem+json") throw new Error(`no problem: ${text}`)
    return { ok: false, failure: failureOf(status, result) }
  }

  const request: ConformanceClient["request"] = async (method, params = {}, options = {}) => {
    try {
      return await answerOf(await open(callOf(method, params as Fields, options), options.signal))
    } catch (error) {
      // Nobody is left to take an answer: the connection is the request.
      if (options.signal?.aborted === true) return givenUp
      throw error
    }
  }

  return {
    request,
    stream: (params, options = {}) => {
      const entries: Array<any> = []
      const streamed = async (): Promise<Answer> => {
        const { session, ...rest } = params as { readonly session: string }
        const call = callOf("session/tell", { session, ...rest }, options)
        const response = await open({ ...call, path: `${call.path}?stream=true` }, options.signal)
        if (response.headers["content-type"]?.startsWith("text/event-stream") !== true) return answerOf(response)
        return new Promise((resolve, reject) => {
          onEvents(response, ({ event, data }) => {
            if (event === "message") entries.push(data)
            else if (event === "turn") resolve({ ok: true, result: data })
            else if (event === "problem") resolve({ ok: false, failure: failureOf(data.status, data) })
          })
          response.on("error", reject)
          response.on("close", () => reject(new Error("the stream ended without its turn")))
        })
      }
      return {
        entries,
        answer: streamed().catch((error: unknown) => {
          if (options.signal?.aborted === true) return givenUp
          throw error
        }),
      }
    },
    subscribe: async (params) => {
      const { session, ...rest } = params as { readonly session?: string }
      const path = session === undefined ? "/v1/events" : `/v1/sessions/${encodeURIComponent(session)}/events`
      const abort = new AbortController()
      const response = await open(
        { verb: "GET", path: `${path}?${queryOf(rest)}`, headers: {}, body: undefined },
        abort.signal,
      )
      if (response.statusCode !== 200) {
        const answer = await answerOf(response)
        if (!answer.ok) return answer.failure
      }
      const events: Array<FollowedEvent> = []
      response.on("error", () => {})
      onEvents(response, ({ event, data }) => {
        if (event === "message") events.push({ entry: data })
        else if (event === "missed") events.push({ missed: data })
        else if (event === "ended") events.push({ ended: true })
      })
      return { id: path, events, close: async () => abort.abort() }
    },
    disconnect: async () => agent.destroy(),
  }
}

const lacks = {
  initialize: "each request stands for itself, and says who it is by its header",
  "session/unsubscribe": "closing the stream of events ends it",
}
const noRoute = "not offered by any transport yet, and has no route until then"
const withoutRoute = Object.fromEntries(
  notOffered.filter((method) => routes[method] === undefined).map((method) => [method, noRoute]),
)

const openWith = async (served: Served, address: Address): Promise<World> => {
  const clients: Array<ConformanceClient> = []
  return {
    connect: async (as: Identity = "admin") => {
      const client = clientOf(address, served.tokenOf(as))
      clients.push(client)
      return client
    },
    close: async () => {
      for (const client of clients) await client.disconnect()
      await served.close()
    },
  }
}

export const http1: Transport = {
  name: "HTTP + SSE",
  lacks: { ...lacks, ...withoutRoute },
  open: async (directory) => {
    const runtime = await served(directory, { http: true })
    return openWith(runtime, { url: runtime.url })
  },
}

export const httpSocket: Transport = {
  name: "HTTP on a socket",
  lacks: { ...lacks, ...withoutRoute },
  open: async (directory) => {
    const runtime = await served(directory, { httpSocket: true })
    return openWith(runtime, { url: "http://localhost", socketPath: runtime.httpSocket })
  },
}
