import * as fs from "node:fs"
import * as http from "node:http"
import * as path from "node:path"
import { afterEach, describe, expect, it } from "vitest"
import { readTokens } from "../../src/transport/Tokens.ts"
import { deadline } from "./Client.ts"
import { bearer, cleanUp, type Serving, serving, sse, temporary, tokenFile } from "./HttpFixture.ts"
import { clientInfo } from "./McpPeer.ts"

afterEach(cleanUp)

const accept = { Accept: "application/json, text/event-stream" }
const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo },
}
const call = (name: string, given: object, meta: object = {}) => ({
  jsonrpc: "2.0",
  id: name,
  method: "tools/call",
  params: { name, arguments: given, _meta: meta },
})

/** A session of MCP, and how it asks. */
const begin = async (server: Serving, headers: Record<string, string> = {}) => {
  const met = await server.send("POST", "/mcp", initialize, { ...accept, ...headers })
  expect([met.status, met.json.result.serverInfo.name]).toEqual([200, "creche"])
  const id = met.headers.get("mcp-session-id")!
  const own = { ...accept, "Mcp-Session-Id": id, ...headers }
  const post = (message: unknown, more: Record<string, string> = {}) =>
    server.send("POST", "/mcp", message, { ...own, ...more })
  const tools = async (): Promise<Array<string>> =>
    (await post({ jsonrpc: "2.0", id: 1, method: "tools/list" })).json.result.tools.map(
      ({ name }: { readonly name: string }) => name,
    )
  /** The result of a tool, whichever way it came. */
  const tool = async (name: string, given: object) => {
    const { json, text } = await post(call(name, given))
    const answer = json ?? JSON.parse([...text.matchAll(/^data: (.*)$/gm)].at(-1)![1]!)
    return answer.result ?? answer.error
  }
  return { id, own, post, tools, tool }
}

describe("MCP on the HTTP server", () => {
  it("starts, asks and reads, with progress as events", async () => {
    const server = await serving()
    const { tool, post } = await begin(server)
    expect((await tool("session_start", { name: "a", command: "cat" })).structuredContent.name).toBe("a")
    const asked = await post(call("session_ask", { session: "a", prompt: "stream 5" }, { progressToken: 7 }))
    expect(asked.headers.get("content-type")).toBe("text/event-stream")
    expect(asked.text).toContain('"progressToken":7')
    expect(asked.text).toContain("echo stream 5")
    expect((await tool("session_history", { session: "a" })).structuredContent.turns).toHaveLength(1)
    await deadline("nothing is under way", () => server.connections().pending === 0)
    expect(server.connections().streams).toBe(0)
  })

  it("is refused to whom the rest is refused: without a token, by another name, from another origin", async () => {
    const { file } = tokenFile({ name: "t", scopes: ["admin"] })
    const server = await serving({ tokens: { file, required: false } })
    const attempt = (headers: Record<string, string>) =>
      server.send("POST", "/mcp", initialize, { ...accept, ...headers })
    const none = await attempt({})
    expect([none.status, none.json.tag, none.headers.get("www-authenticate")]).toEqual([401, "Unauthorized", "Bearer"])
    expect((await attempt(bearer("creche_0"))).status).toBe(401)
    expect((await attempt({ Origin: "http://evil.example" })).status).toBe(403)
    const raw = await server.raw()
    raw.socket.write("POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n")
    expect(await raw.until("an answer", (text) => text.includes("\r\n\r\n"))).toMatch(/^HTTP\/1.1 403/)
  })

  it("offers a token the tools of its scopes alone, over the sessions of its confinement alone", async () => {
    const { file, tokens } = tokenFile(
      { name: "reader", scopes: ["read"], confinement: { tags: { team: "a" } } },
      { name: "asker", scopes: ["prompt"] },
      { name: "all", scopes: ["admin"] },
    )
    const server = await serving({ tokens: { file, required: false } })
    server.stub.session({ name: "mine", tags: { team: "a" } })
    server.stub.session({ name: "other", tags: { team: "b" } })
    const reader = await begin(server, bearer(tokens["reader"]))
    expect(await reader.tools()).toContain("session_list")
    for (const missing of ["session_start", "session_ask", "runtime_stats", "template_put"])
      expect(await reader.tools()).not.toContain(missing)
    expect((await reader.tool("session_start", { command: "cat" })).message).toContain("Unknown tool")
    const listed = (await reader.tool("session_list", {})).structuredContent
    expect(listed.sessions.map(({ name }: { readonly name: string }) => name)).toEqual(["mine"])
    const { structuredContent, isError } = await reader.tool("session_get", { session: "other" })
    expect([isError, structuredContent.error.tag]).toEqual([true, "SessionNotFound"])
    const read = { jsonrpc: "2.0", id: 1, method: "resources/read", params: { uri: "creche://sessions/other" } }
    expect((await reader.post(read)).json.error.message).toBe("Resource not found")
    const watch = { ...read, method: "resources/subscribe" }
    expect((await reader.post(watch)).json.error.message).toBe("Resource not found")

    const asker = await begin(server, bearer(tokens["asker"]))
    expect((await asker.tools()).toSorted()).toEqual(["session_ask", "session_cancel", "session_tell"])
    expect((await asker.tool("session_ask", { session: "other", prompt: "hi" })).structuredContent.text).toBe("echo hi")
    const early = await asker.tool("session_ask", { session: "other", prompt: "hi", waitMs: 5 })
    expect(early.structuredContent.error).toMatchObject({ tag: "InvalidParams", issues: [{ path: "waitMs" }] })
    expect(await (await begin(server, bearer(tokens["all"]))).tools()).toContain("template_put")
  })

  it("keeps a session to the token that began it, and ends it when that is revoked or changed", async () => {
    const { file, tokens } = tokenFile({ name: "a", scopes: ["read"] }, { name: "b", scopes: ["admin"] })
    const server = await serving({ tokens: { file, required: false }, heartbeatMs: 20 })
    const { own, post } = await begin(server, bearer(tokens["a"]))
    server.stub.session({ name: "s" })
    const ping = { jsonrpc: "2.0", id: 1, method: "ping" }
    expect((await post(ping)).status).toBe(200)
    expect((await post(ping, bearer(tokens["b"]))).status).toBe(404)
    const listening = await sse(`${server.url}/mcp`, own)
    expect([listening.status, server.connections().streams]).toEqual([200, 1])
    await post({ jsonrpc: "2.0", id: 2, method: "resources/subscribe", params: { uri: "creche://sessions/s" } })
    await deadline("it watches", () => server.stub.liveSubscriptions.count === 1)
    // More than it could do when it began.
    const records = readTokens(file).map((each) => (each.name === "a" ? { ...each, scopes: ["admin"] } : each))
    fs.writeFileSync(file, JSON.stringify({ version: 1, tokens: records }))
    await listening.ended
    await deadline("it watches no more", () => server.stub.liveSubscriptions.count === 0)
    expect((await post(ping)).status).toBe(404)
    const anew = await begin(server, bearer(tokens["a"]))
    expect(await anew.tools()).toContain("session_start")
    fs.writeFileSync(file, JSON.stringify({ version: 1, tokens: records.filter(({ name }) => name !== "a") }))
    expect((await anew.post(ping)).status).toBe(401)
  })

  it("charges each request of a batch", async () => {
    const { file, tokens } = tokenFile({ name: "t", scopes: ["read"], perSecond: 5 })
    const server = await serving({ tokens: { file, required: false } })
    const { post } = await begin(server, bearer(tokens["t"]))
    const batch = Array.from({ length: 20 }, (_, id) => ({ jsonrpc: "2.0", id, method: "ping" }))
    const { status, headers, json } = await post(batch)
    expect([status, headers.get("retry-after"), json.error.data.tag]).toEqual([429, "1", "LimitReached"])
  })

  it("holds to the limits of the server", async () => {
    const server = await serving({ maxMessageBytes: 2000, maxPending: 1 })
    const { own, post } = await begin(server)
    server.stub.session({ name: "s" })
    expect((await post({ ...initialize, method: "x".repeat(3000) })).json.tag).toBe("MessageTooLarge")
    expect((await server.send("POST", "/mcp", "{}", { ...own, "Content-Type": "text/plain" })).status).toBe(415)
    expect((await server.send("PUT", "/mcp", {}, own)).headers.get("allow")).toBe("POST, GET, DELETE")
    const hanging = post(call("session_ask", { session: "s", prompt: "hang" }))
    await deadline("it waits", () => server.stub.asks.waiting === 1)
    expect((await post({ jsonrpc: "2.0", id: 1, method: "ping" })).json.data.limit).toBe("pending requests of a token")
    server.stub.end(server.stub.turns()[0]!)
    expect((await hanging).text).toContain('"status":"completed"')
  })

  it("lets the answers that are due go out when the server closes, and ends what only listens", async () => {
    const server = await serving()
    server.stub.session({ name: "s" })
    const { own, post } = await begin(server)
    const listening = await sse(`${server.url}/mcp`, own)
    const asked = post(call("session_ask", { session: "s", prompt: "slow 300" }))
    await deadline("it waits", () => server.stub.asks.waiting === 1)
    const closed = server.close()
    await listening.ended
    expect(listening.text()).toContain(": the server ends this stream")
    expect((await asked).text).toContain("echo slow 300")
    await closed
  })
})

describe("HTTP on a unix socket", () => {
  const ask = (
    socketPath: string,
    at: string,
    options: http.RequestOptions = {},
  ): Promise<{ status: number; json: any }> =>
    new Promise((resolve, reject) => {
      const request = http.request({ socketPath, path: at, ...options }, (response) => {
        let text = ""
        response.on("data", (chunk: Buffer) => (text += chunk.toString()))
        response.on("end", () => resolve({ status: response.statusCode!, json: JSON.parse(text) }))
      })
      request.on("error", reject)
      request.end()
    })

  it("is its owner's alone, needs no token, and serves all of it", async () => {
    const file = path.join(temporary(), "deep", "http.sock")
    const server = await serving({ address: { path: file } })
    expect(server.url).toBe(`unix:${file}`)
    expect([fs.statSync(file).mode & 0o777, fs.statSync(path.dirname(file)).mode & 0o777]).toEqual([0o600, 0o700])
    server.stub.session({ name: "a" })
    const { status, json } = await ask(file, "/v1/sessions/a")
    expect([status, json.name]).toEqual([200, "a"])
    expect((await ask(file, "/v1/info", { headers: { Host: "evil.example" } })).status).toBe(403)
    await server.close()
    expect(fs.existsSync(file)).toBe(false)
  })

  it("replaces a stale file, leaves a live one and what is no socket alone, and names the flag", async () => {
    const file = path.join(temporary(), "http.sock")
    await serving({ address: { path: file } })
    await expect(serving({ address: { path: file } })).rejects.toThrow(/SocketInUse|another runtime.*--http-socket/s)
    const plain = path.join(temporary(), "plain")
    fs.writeFileSync(plain, "mine")
    await expect(serving({ address: { path: plain } })).rejects.toThrow(/NotASocket|--http-socket/)
    expect(fs.readFileSync(plain, "utf8")).toBe("mine")
  })

  it("asks for a token where a file of them is named", async () => {
    const { file, tokens } = tokenFile({ name: "t", scopes: ["read"] })
    const at = path.join(temporary(), "http.sock")
    await serving({ address: { path: at }, tokens: { file, required: true } })
    expect((await ask(at, "/v1/info")).status).toBe(401)
    expect((await ask(at, "/v1/info", { headers: bearer(tokens["t"]) })).status).toBe(200)
  })
})
