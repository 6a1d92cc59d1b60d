/**
 * One client of MCP, whatever carries its messages: what each message means, the requests that wait and how they are cancelled,
 * and the resources that it watches. Knows neither bytes nor HTTP nor sessions of a runtime; `McpStdio` and `McpHttp` feed it.
 */
import { LimitReached } from "../domain/Errors.ts"
import { isShallow } from "../domain/StrictDecoder.ts"
import * as JsonRpc from "./JsonRpc.ts"
import { callTool } from "./McpCalls.ts"
import { type McpChannel, McpProgress, type ProgressToken } from "./McpProgress.ts"
import { addressOf, completeSession, listResources, readResource, templates } from "./McpResources.ts"
import { isTool, listedTools, type ToolName, toolSpecs } from "./McpTools.ts"
import { isUpstreamError, type McpUpstream } from "./McpUpstream.ts"
import { McpWatches } from "./McpWatches.ts"

/** Newest first; a client that speaks none of them is offered the newest. */
export const protocolVersions = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "2024-10-07"] as const

export interface McpOptions {
  readonly upstream: McpUpstream
  /** Of creche, for `serverInfo`. */
  readonly version: string
  /** Only tools that change nothing; default false. */
  readonly readOnly?: boolean
  /** Requests under way at once; default 1000. */
  readonly maxPending?: number
  /** Is told of bugs; the client learns of them no more than that they are. */
  readonly onDefect?: (error: unknown) => void
}

const instructions = `creche keeps child processes (coding agents, REPLs, language servers, scripts) as sessions: named, supervised, asked like a function.
session_list shows them, session_start starts one (template_list: from what), session_ask asks one and waits for its answer; session_tell and turn_wait do the same in two steps.
When an answer says that the session asks for leave, call permission_answer, then turn_wait. session_transcript and session_history tell what happened.`

const maxPending = 1000
const invalidParams = -32602
const resourceNotFound = -32002
const internalError = -32603

class Refusal extends Error {
  readonly error: JsonRpc.ErrorObject
  constructor(code: number, message: string, data?: JsonRpc.ErrorObject["data"]) {
    super(message)
    this.error = { code, message, ...(data === undefined ? {} : { data }) }
  }
}

type Params = Readonly<Record<string, unknown>>

interface Pending {
  readonly abort: AbortController
  readonly channel: McpChannel
  cancelled: boolean
}

interface Request {
  readonly params: Params
  readonly channel: McpChannel
  readonly pending: Pending
  readonly progress: () => McpProgress | undefined
}

const text = (params: Params, field: string): string => {
  const value = params[field]
  if (typeof value === "string") return value
  throw new Refusal(invalidParams, `${field}: must be a string`)
}

export class McpSession {
  readonly #options: McpOptions
  readonly #watches: McpWatches
  readonly #pending = new Map<string | number, Pending>()
  #idle: Array<() => void> = []
  #over = false

  /** `push`: the way out for what belongs to no request. */
  constructor(options: McpOptions, push: McpChannel) {
    this.#options = options
    this.#watches = new McpWatches(options.upstream, push)
  }

  /** Requests whose answers are owed. */
  get pending(): number {
    return this.#pending.size
  }

  /** One received message. Resolves once whatever it asks for is answered, into `channel`; never rejects. */
  receive(message: string, channel: McpChannel): Promise<void> {
    return this.take(JsonRpc.parse(message), channel)
  }

  async take(incoming: JsonRpc.Incoming, channel: McpChannel): Promise<void> {
    if (incoming.type === "unreadable") {
      return channel.send(JsonRpc.failure(null, JsonRpc.unreadable(incoming.detail)))
    }
    if (incoming.type === "batch") {
      const members = incoming.members
      if (members.length > maxPending) {
        const detail = `a batch may have at most ${maxPending} members`
        return channel.send(JsonRpc.failure(null, JsonRpc.invalidRequest(detail)))
      }
      const answers = await Promise.all(members.map((member) => this.#member(JsonRpc.classify(member), channel)))
      const due = answers.filter((answer) => answer !== undefined)
      return due.length === 0 ? undefined : channel.send(due)
    }
    const answer = await this.#member(incoming, channel)
    if (answer !== undefined) channel.send(answer)
  }

  /** Calls back once nothing is pending. */
  whenIdle(then: () => void): void {
    if (this.#pending.size === 0) then()
    else this.#idle.push(then)
  }

  /** Nobody reads this channel any more: ends what waits on it. That is no wish to cancel anything. */
  abandon(channel: McpChannel): void {
    for (const pending of this.#pending.values()) if (pending.channel === channel) pending.abort.abort()
  }

  /** The client is gone: ends what waits and what is watched. Turns go on. */
  close(): void {
    this.#over = true
    for (const { abort } of this.#pending.values()) abort.abort()
    this.#watches.close()
  }

  async #member(member: JsonRpc.Member, channel: McpChannel): Promise<JsonRpc.Answer | undefined> {
    switch (member.type) {
      case "response":
        return undefined
      case "invalid":
        return JsonRpc.failure(member.id, JsonRpc.invalidRequest(member.detail))
      case "notification":
        if (member.method === "notifications/cancelled") this.#cancel(member.params)
        return undefined
      case "request":
        return this.#request(member.id, member.method, member.params, channel)
    }
  }

  #cancel(params: unknown): void {
    const id = (params as { readonly requestId?: unknown } | undefined)?.requestId
    const pending = this.#pending.get(id as string | number)
    if (pending === undefined) return
    pending.cancelled = true
    pending.abort.abort()
  }

  async #request(
    id: JsonRpc.Id,
    method: string,
    given: unknown,
    channel: McpChannel,
  ): Promise<JsonRpc.Answer | undefined> {
    const refuse = (detail: string) => JsonRpc.failure(id, JsonRpc.invalidRequest(detail))
    if (id === null) return refuse("id must be a string or a number")
    if (this.#pending.has(id)) return refuse("a request with this id is under way")
    const most = this.#options.maxPending ?? maxPending
    if (this.#pending.size >= most) {
      const limit = new LimitReached({ limit: "pending requests of a client", value: most })
      return JsonRpc.failure(id, JsonRpc.runtimeError(limit))
    }
    if (Array.isArray(given) || !isShallow(given)) {
      return JsonRpc.failure(id, {
        code: invalidParams,
        message: "params must be an object, nested 128 levels at most",
      })
    }
    const params = (given ?? {}) as Params
    const pending: Pending = { abort: new AbortController(), channel, cancelled: false }
    this.#pending.set(id, pending)
    let progress: McpProgress | undefined
    const request: Request = {
      params,
      channel,
      pending,
      progress: () => {
        const token = (params["_meta"] as { readonly progressToken?: unknown } | undefined)?.progressToken
        if (typeof token !== "string" && typeof token !== "number") return undefined
        return (progress = new McpProgress(token as ProgressToken, channel))
      },
    }
    let answer: JsonRpc.Answer
    try {
      answer = JsonRpc.success(id, await this.#serve(method, request))
    } catch (error) {
      answer = JsonRpc.failure(id, this.#errorOf(error))
    } finally {
      this.#pending.delete(id)
    }
    // What its turn said last goes out before the answer, and nothing after it.
    if (!pending.cancelled) progress?.close()
    else progress?.abandon()
    if (this.#pending.size === 0) for (const then of this.#idle.splice(0)) then()
    // By the specification a cancelled request is not answered.
    return pending.cancelled || this.#over ? undefined : answer
  }

  async #serve(method: string, request: Request): Promise<unknown> {
    const { upstream, version } = this.#options
    const { params } = request
    const options = { signal: request.pending.abort.signal }
    switch (method) {
      case "initialize": {
        const wanted = params["protocolVersion"]
        return {
          protocolVersion: protocolVersions.find((known) => known === wanted) ?? protocolVersions[0],
          capabilities: { tools: {}, resources: { subscribe: true }, completions: {} },
          serverInfo: { name: "creche", title: "creche", version },
          instructions,
        }
      }
      case "ping":
        return {}
      case "tools/list":
        return { tools: listedTools().filter(({ name }) => this.#offers(name)) }
      case "tools/call":
        return this.#call(request)
      case "resources/list": {
        const cursor = params["cursor"] === undefined ? undefined : text(params, "cursor")
        return listResources(upstream, cursor, options)
      }
      case "resources/templates/list":
        return { resourceTemplates: templates }
      case "resources/read": {
        const uri = text(params, "uri")
        return this.#found(uri, (address) => readResource(upstream, uri, address, options))
      }
      case "resources/subscribe": {
        const uri = text(params, "uri")
        await this.#found(uri, (address) => this.#watches.watch(uri, address))
        return {}
      }
      case "resources/unsubscribe":
        this.#watches.unwatch(text(params, "uri"))
        return {}
      case "completion/complete": {
        const { argument } = params as { readonly argument?: { readonly name?: unknown; readonly value?: unknown } }
        if (argument?.name !== "session" || typeof argument.value !== "string") return { completion: { values: [] } }
        return completeSession(upstream, argument.value, options)
      }
      default:
        throw new Refusal(-32601, "Method not found", { method: method.slice(0, 200) })
    }
  }

  /** A tool that could only be refused is none. */
  #offers(name: ToolName): boolean {
    const { readOnly = false, upstream } = this.#options
    const { kind, method } = toolSpecs[name]
    return (!readOnly || kind === "reads") && (upstream.permits?.(method) ?? true)
  }

  #call({ params, pending, progress }: Request) {
    const name = text(params, "name")
    const { upstream } = this.#options
    if (!isTool(name) || !this.#offers(name)) {
      throw new Refusal(invalidParams, `Unknown tool: ${name.slice(0, 200)}`)
    }
    const given = params["arguments"] ?? {}
    if (typeof given !== "object" || Array.isArray(given)) {
      throw new Refusal(invalidParams, "arguments: must be an object")
    }
    return callTool(name, given as Params, {
      upstream,
      signal: pending.abort.signal,
      wasCancelled: () => pending.cancelled,
      progress: progress(),
    })
  }

  async #found<A>(uri: string, use: (address: NonNullable<ReturnType<typeof addressOf>>) => Promise<A>): Promise<A> {
    const address = addressOf(uri)
    const unknown = () => new Refusal(resourceNotFound, "Resource not found", { uri: uri.slice(0, 2000) })
    if (address === undefined) throw unknown()
    try {
      return await use(address)
    } catch (error) {
      if (isUpstreamError(error) && error.data.tag.endsWith("NotFound")) throw unknown()
      throw error
    }
  }

  #errorOf(error: unknown): JsonRpc.ErrorObject {
    if (error instanceof Refusal) return error.error
    if (isUpstreamError(error)) {
      const { code, message, data } = error
      return { code: code === 0 ? internalError : code, message, data }
    }
    this.#options.onDefect?.(error)
    return JsonRpc.internalError
  }
}
