/**
 * MCP on the HTTP server: hands requests for `/mcp` to `McpHttp`, with what their caller may do, and its answers to the peer as
 * fast as that reads. Who may come at all was settled before. Called by the HTTP server.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { type LimitReached, Unauthorized } from "../domain/Errors.ts"
import type { Caller } from "./HttpAccess.ts"
import { type BodyOptions, readText } from "./HttpBody.ts"
import { answerJson, answerProblem } from "./HttpAnswer.ts"
import { makeMcpHttp, type McpHttp, type McpHttpResponse } from "./McpHttp.ts"
import { type McpUpstream, methodsUpstream } from "./McpUpstream.ts"
import { ofError } from "./Problem.ts"
import type { Stream } from "./Sse.ts"

export const mcpPath = "/mcp"

export interface McpRequest extends BodyOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly caller: Caller
  /** The answer is a stream; the server looks after it until it is over. */
  readonly onStream: (stream: Stream, listens: boolean) => void
  /** Whether one more may be opened that carries no answer. */
  readonly mayListen: () => LimitReached | undefined
}

export interface HttpMcp {
  readonly handle: (request: McpRequest) => void
  /** Ends the sessions of callers who may come no more. */
  readonly look: () => void
  readonly close: () => void
}

export const makeHttpMcp = (version: string, services: Context.Context<never>): HttpMcp => {
  const upstreams = new WeakMap<Caller, McpUpstream>()
  const upstreamOf = (caller: Caller): McpUpstream => {
    let upstream = upstreams.get(caller)
    if (upstream === undefined) {
      // A call that began before its token was revoked may have more to ask.
      upstream = methodsUpstream(caller.methods, services, () =>
        caller.isCurrent() ? undefined : new Unauthorized({ detail: "the token is not valid any more" }),
      )
      upstreams.set(caller, upstream)
    }
    return upstream
  }
  let made: McpHttp | undefined
  const mcp = () =>
    (made ??= makeMcpHttp({
      version,
      onDefect: (error) => void Effect.runForkWith(services)(Effect.logError("a request met a defect", error)),
    }))

  const handle = (given: McpRequest): void => {
    const { request, response, caller } = given
    const gone = new AbortController()
    response.on("close", () => {
      // A reason of one's own: one is made with a stack otherwise, for every request.
      if (!response.writableFinished) gone.abort("the connection is over")
    })
    const pass = (text: string) => {
      const get = (name: string) => {
        const value = request.headers[name]
        return typeof value === "string" ? value : null
      }
      const asked = {
        method: request.method ?? "",
        headers: { get },
        text: () => Promise.resolve(text),
        signal: gone.signal,
      }
      const by = { principal: caller, upstream: upstreamOf(caller), charge: caller.charge }
      void mcp()
        .handle(asked, by)
        .then((answered) => answer(given, answered))
    }
    const limit = request.method === "GET" ? given.mayListen() : undefined
    if (limit !== undefined) return answerProblem(response, ofError(limit))
    if (request.method !== "POST") return pass("")
    readText(request, given, (body) => {
      if (body._tag === "Read") pass(body.text)
      else if (body._tag === "Refused") answerProblem(response, body.problem)
    })
  }
  return {
    handle,
    look: () => made?.endWhere((caller) => !(caller as Caller).isCurrent()),
    close: () => made?.close(),
  }
}

const answer = (
  { request, response, hold, onStream }: McpRequest,
  { status, headers, body }: McpHttpResponse,
): void => {
  if (response.destroyed) return
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  response.setHeader("X-Content-Type-Options", "nosniff")
  if (body === null) return void response.writeHead(status, { "Cache-Control": "no-store" }).end()
  if (typeof body === "string") {
    const limit = hold(body.length)
    if (limit !== undefined) return answerProblem(response, ofError(limit))
    return answerJson(response, status, body, headers["content-type"] ?? "application/json")
  }
  response.statusCode = status
  const listens = request.method === "GET"
  onStream(new McpBody(response, body, listens), listens)
}

/** What the answer begins with is there after so long, also where there is nothing to say yet. */
const headersMs = 20

/** The pieces of an answer, each written when the peer has taken those before. */
class McpBody implements Stream {
  readonly #response: ServerResponse
  readonly #isListening: boolean
  #blockedAt: number | undefined
  #early: NodeJS.Timeout | undefined
  /** Not written yet. */
  #text = ""

  /** `isListening`: it carries no answer that is due, so that it can be ended at any moment. */
  constructor(response: ServerResponse, pieces: AsyncIterable<string>, isListening: boolean) {
    this.#response = response
    this.#isListening = isListening
    if (isListening) response.flushHeaders()
    else this.#early = setTimeout(() => response.flushHeaders(), headersMs)
    void this.#write(pieces)
  }

  /** `McpEventStream` has a heartbeat of its own. */
  tick(now: number, _heartbeatMs: number, stalledMs: number): void {
    if (this.#blockedAt !== undefined && now - this.#blockedAt >= stalledMs) this.#response.destroy()
  }

  close(): void {
    if (this.#isListening && !this.#response.destroyed) this.#response.end(": the server ends this stream\n\n")
  }

  async #write(pieces: AsyncIterable<string>): Promise<void> {
    const response = this.#response
    for await (const piece of pieces) {
      if (response.destroyed || response.writableEnded) return
      // An answer that comes at once leaves in one write with its headers, and with its length.
      if (this.#text === "") setImmediate(() => this.#flush())
      this.#text += piece
      if (response.writableNeedDrain) await this.#drained()
    }
    clearTimeout(this.#early)
    response.end(this.#text)
    this.#text = ""
  }

  #flush(): void {
    const text = this.#text
    this.#text = ""
    clearTimeout(this.#early)
    if (text !== "" && !this.#response.destroyed && !this.#response.writableEnded) this.#response.write(text)
  }

  async #drained(): Promise<void> {
    const response = this.#response
    this.#blockedAt = Date.now()
    await new Promise<void>((go) => {
      const on = () => {
        response.off("drain", on)
        response.off("close", on)
        go()
      }
      response.on("drain", on)
      response.on("close", on)
    })
    this.#blockedAt = undefined
  }
}
