import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import * as Effect from "effect/Effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { makeMcpHttp, type McpHttp, type McpHttpOptions } from "../../src/transport/McpHttp.ts"
import { runtimeUpstream } from "../../src/transport/McpUpstream.ts"
import { deadline } from "./Client.ts"
import { clientInfo, connectOfficial, noSdk } from "./McpPeer.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

let stub: Stub
let mcp: McpHttp
let server: Server
let url: string

/** As whoever mounts it does: bodies in, pieces out as fast as the client takes them. */
const mount = async (options: Partial<McpHttpOptions> = {}) => {
  const upstream = await Effect.runPromise(runtimeUpstream().pipe(Effect.provide(stub.layer)))
  mcp = makeMcpHttp({ upstream, version: "1", ...options })
  server = createServer(async (request, response) => {
    const gone = new AbortController()
    response.on("close", () => gone.abort())
    const text = async () => {
      let all = ""
      for await (const chunk of request.setEncoding("utf8")) all += chunk
      return all
    }
    const get = (name: string) => (request.headers[name] as string | undefined) ?? null
    const principal = get("x-principal")
    const answer = await mcp.handle(
      { method: request.method!, headers: { get }, text, signal: gone.signal },
      principal === null ? {} : { principal },
    )
    response.writeHead(answer.status, answer.headers)
    if (answer.body === null || typeof answer.body === "string") return response.end(answer.body ?? "")
    response.flushHeaders()
    for await (const piece of answer.body) {
      if (!response.write(piece)) {
        await new Promise<void>((go) => {
          response.once("drain", go)
          response.once("close", go)
        })
      }
    }
    response.end()
  })
  await new Promise<void>((go) => server.listen(0, "127.0.0.1", go))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
}

beforeEach(() => {
  stub = makeStub()
  stub.session({ name: "echo" })
})
afterEach(async () => {
  mcp.close()
  server.closeAllConnections()
  await new Promise((go) => server.close(go))
})

const headers = { accept: "application/json, text/event-stream", "content-type": "application/json" }
const post = (message: unknown, more: Record<string, string> = {}, signal?: AbortSignal) =>
  fetch(url, {
    method: "POST",
    headers: { ...headers, ...more },
    body: typeof message === "string" ? message : JSON.stringify(message),
    ...(signal === undefined ? {} : { signal }),
  })
const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo },
}
const begin = async (more: Record<string, string> = {}): Promise<string> => {
  const response = await post(initialize, more)
  expect(response.status).toBe(200)
  expect(((await response.json()) as any).result.serverInfo.name).toBe("creche")
  return response.headers.get("mcp-session-id")!
}
const ask = (prompt: string, more: object = {}, meta: object = {}) => ({
  jsonrpc: "2.0",
  id: prompt,
  method: "tools/call",
  params: { name: "session_ask", arguments: { session: "echo", prompt, ...more }, _meta: meta },
})
const eventsOf = async (response: Response): Promise<Array<any>> =>
  [...(await response.text()).matchAll(/^data: (.*)$/gm)].map(([, json]) => JSON.parse(json!))

describe("MCP over HTTP", () => {
  it("answers what is quick as JSON, and what takes time as events, the answer last", async () => {
    await mount()
    const id = { "mcp-session-id": await begin(), "mcp-protocol-version": "2025-11-25" }
    const quick = await post({ jsonrpc: "2.0", id: 1, method: "tools/list" }, id)
    expect(quick.headers.get("content-type")).toBe("application/json")
    expect(((await quick.json()) as any).result.tools.length).toBeGreaterThan(20)
    const notified = await post({ jsonrpc: "2.0", method: "notifications/initialized" }, id)
    expect([notified.status, await notified.text()]).toEqual([202, ""])
    const asked = await post(ask("stream 5", {}, { progressToken: 7 }), id)
    expect(asked.headers.get("content-type")).toBe("text/event-stream")
    const events = await eventsOf(asked)
    expect(events.at(-1).result.content[0].text).toBe("echo stream 5")
    expect(events.slice(0, -1).every(({ params }) => params.progressToken === 7)).toBe(true)
  })

  it("knows its clients by the header, ends one that asks for it, and keeps each one's to itself", async () => {
    await mount()
    const session = await begin({ "x-principal": "alice" })
    const ping = { jsonrpc: "2.0", id: 1, method: "ping" }
    const as = (principal: string, id = session) => ({ "mcp-session-id": id, "x-principal": principal })
    expect((await post(ping)).status).toBe(400)
    expect((await post(ping, as("alice", "no-such"))).status).toBe(404)
    expect((await post(ping, as("mallory"))).status).toBe(404)
    expect((await post(ping, as("alice"))).status).toBe(200)
    expect((await post(initialize, as("alice"))).status).toBe(400)
    expect((await fetch(url, { method: "DELETE", headers: as("mallory") })).status).toBe(404)
    expect((await fetch(url, { method: "DELETE", headers: as("alice") })).status).toBe(204)
    expect((await post(ping, as("alice"))).status).toBe(404)
    expect(mcp.size()).toBe(0)
  })

  it("refuses by the letter of HTTP what it does not serve", async () => {
    await mount({ maxMessageBytes: 500 })
    const id = { "mcp-session-id": await begin() }
    const status = async (response: Promise<Response>) => (await response).status
    expect(await status(post({}, { accept: "application/json" }))).toBe(406)
    expect(await status(post({}, { "content-type": "text/plain" }))).toBe(415)
    expect(await status(post("{nonsense", id))).toBe(400)
    expect(await status(post("x".repeat(600), id))).toBe(413)
    expect(await status(post({ jsonrpc: "2.0", id: 1, method: "ping" }, { ...id, "mcp-protocol-version": "1" }))).toBe(
      400,
    )
    expect(await status(fetch(url, { method: "PUT", headers: id }))).toBe(405)
    expect(await status(fetch(url, { headers: { ...id, accept: "application/json" } }))).toBe(406)
  })

  it("tells on the stream of GET that a resource changed; there is one such stream", async () => {
    await mount()
    const id = { "mcp-session-id": await begin(), accept: "text/event-stream" }
    const stream = await fetch(url, { headers: id })
    expect(stream.status).toBe(200)
    expect((await fetch(url, { headers: id })).status).toBe(409)
    const uri = "creche://sessions/echo"
    await post(
      { jsonrpc: "2.0", id: 1, method: "resources/subscribe", params: { uri } },
      { ...headers, ...id, accept: headers.accept },
    )
    await (await post(ask("hello"), { ...id, accept: headers.accept })).text()
    const reader = stream.body!.getReader()
    const { value } = await reader.read()
    expect(new TextDecoder().decode(value)).toContain("notifications/resources/updated")
    await reader.cancel()
    // The stream may be opened again.
    let again = await fetch(url, { headers: id })
    for (const end = Date.now() + 5000; again.status === 409 && Date.now() < end;)
      again = await fetch(url, { headers: id })
    expect(again.status).toBe(200)
    await again.body!.cancel()
  })

  it("ends the waiting, not the turn, when the connection breaks, also with cancelOnAbort", async () => {
    await mount()
    const id = { "mcp-session-id": await begin() }
    const hangUp = new AbortController()
    const asked = await post(ask("hang", { cancelOnAbort: true }), id, hangUp.signal)
    await deadline("the turn waits", () => stub.asks.waiting === 1)
    hangUp.abort()
    await asked.text().catch(() => {})
    await deadline("its waiting ends", () => stub.asks.waiting === 0)
    const turn = stub.turns()[0]!
    const found = await post(
      { jsonrpc: "2.0", id: 9, method: "tools/call", params: { name: "turn_get", arguments: { turn } } },
      id,
    )
    expect(((await found.json()) as any).result.structuredContent.status).toBe("running")
    stub.end(turn)
  })

  it("ends sessions that nobody uses, the one that was idle longest first when there are too many", async () => {
    await mount({ maxSessions: 2, idleMs: 150 })
    const [one, two] = [await begin(), await begin()]
    const ping = async (id: string) =>
      (await post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-session-id": id })).status
    expect(await ping(one)).toBe(200)
    const three = await begin()
    expect([await ping(two), await ping(three)]).toEqual([404, 200])
    await deadline("idle sessions end", () => mcp.size() === 0)
    // Busy ones do not.
    const busy = await begin()
    const asked = post(ask("slow 600"), { "mcp-session-id": busy })
    expect((await eventsOf(await asked)).at(-1).result.content[0].text).toBe("echo slow 600")
  })

  it.skipIf(noSdk !== undefined)("serves the official SDK's client", async () => {
    await mount()
    const peer = await connectOfficial(url)
    const told: Array<string | undefined> = []
    const asked = await peer.call(
      "session_ask",
      { session: "echo", prompt: "slow 200" },
      { onProgress: ({ message }) => told.push(message) },
    )
    expect(asked.content[0].text).toBe("echo slow 200")
    expect(told[0]).toBe("the turn is accepted")
    let updates = 0
    await peer.subscribe("creche://sessions/echo", () => updates++)
    await peer.call("session_ask", { session: "echo", prompt: "again" })
    await deadline("it is told of the change", () => updates > 0)
    const abort = new AbortController()
    const hanging = peer.call("session_ask", { session: "echo", prompt: "hang" }, { signal: abort.signal })
    await deadline("it waits", () => stub.asks.waiting === 1)
    abort.abort()
    await expect(hanging).rejects.toThrow(/abort/i)
    await deadline("it waits no more", () => stub.asks.waiting === 0)
    await peer.end()
    await peer.close()
    expect(mcp.size()).toBe(0)
  })
})
