import { PassThrough } from "node:stream"
import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { contract, methods } from "../../src/transport/Contract.ts"
import { addressOf } from "../../src/transport/McpResources.ts"
import { protocolVersions } from "../../src/transport/McpSession.ts"
import { serveMcp } from "../../src/transport/McpStdio.ts"
import { listedTools, toolNames, toolSpecs } from "../../src/transport/McpTools.ts"
import { runtimeUpstream } from "../../src/transport/McpUpstream.ts"
import { clientInfo, wire, type Wire } from "./McpPeer.ts"
import { deadline } from "./Client.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

interface World {
  readonly stub: Stub
  readonly client: Wire
  readonly input: PassThrough
  readonly output: PassThrough
  readonly over: Promise<void>
}

const world = async (options: { readonly maxPending?: number; readonly maxMessageBytes?: number } = {}) => {
  const stub = makeStub()
  stub.session({ name: "echo" })
  const upstream = await Effect.runPromise(runtimeUpstream().pipe(Effect.provide(stub.layer)))
  const input = new PassThrough()
  const output = new PassThrough()
  const over = serveMcp({ upstream, version: "9.9.9", readable: input, writable: output, ...options })
  return { stub, client: wire(output, input), input, output, over } satisfies World
}

const call = (client: Wire, name: string, given: object = {}, meta?: object) =>
  client.request("tools/call", { name, arguments: given, ...(meta === undefined ? {} : { _meta: meta }) })

describe("a session of MCP", () => {
  it("agrees on the version that the client speaks, or offers its newest", async () => {
    const { client } = await world()
    for (const protocolVersion of protocolVersions) {
      const { result } = await client.request("initialize", { protocolVersion, capabilities: {}, clientInfo })
      expect(result).toMatchObject({ protocolVersion, serverInfo: { name: "creche", version: "9.9.9" } })
    }
    const { result } = await client.request("initialize", {
      protocolVersion: "1999-01-01",
      capabilities: {},
      clientInfo,
    })
    expect(result.protocolVersion).toBe(protocolVersions[0])
  })

  it("answers by the letter of JSON-RPC what is no request it knows", async () => {
    const { client } = await world()
    expect((await client.request("ping")).result).toEqual({})
    expect((await client.request("no/such")).error.code).toBe(-32601)
    expect((await client.request("tools/call", { name: "no_such" })).error).toMatchObject({ code: -32602 })
    expect((await client.request("tools/call", {})).error.code).toBe(-32602)
    expect((await client.request("tools/call", { name: "session_list", arguments: [] })).error.code).toBe(-32602)
    client.raw('{"jsonrpc":"2.0","id":null,"method":"ping"}\n')
    expect((await client.until((message) => message.id === null)).error.code).toBe(-32600)
    client.raw("{nonsense\n")
    await client.until((message) => message.error?.code === -32700)
    client.raw('{"jsonrpc":"1.0","id":"v","method":"ping"}\n')
    expect((await client.until((message) => message.id === "v")).error.code).toBe(-32600)
  })

  it("answers a batch with a batch, and one of notifications with nothing", async () => {
    const { client } = await world()
    const ping = (id: number) => ({ jsonrpc: "2.0", id, method: "ping" })
    client.send([{ jsonrpc: "2.0", method: "notifications/initialized" }])
    client.send([ping(1), { jsonrpc: "2.0", method: "notifications/initialized" }, 7, ping(2)])
    const batch = await client.until(Array.isArray)
    expect(batch.map(({ id }: any) => id)).toEqual([1, null, 2])
    expect(client.messages.length).toBe(1)
  })

  it("never answers a request that was cancelled, and gives its waiting up", async () => {
    const { client, stub } = await world()
    const params = { name: "session_ask", arguments: { session: "echo", prompt: "hang" } }
    client.send({ jsonrpc: "2.0", id: "a", method: "tools/call", params })
    await deadline("the ask waits", () => stub.asks.waiting === 1)
    client.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "a", reason: "enough" } })
    await deadline("it waits no more", () => stub.asks.interrupted === 1)
    stub.end(stub.turns()[0]!)
    await client.request("ping")
    expect(client.messages.some(({ id }) => id === "a")).toBe(false)
    // Of what is unknown or over, nothing comes.
    client.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "never" } })
    client.send({ jsonrpc: "2.0", method: "notifications/cancelled" })
    expect((await client.request("ping")).result).toEqual({})
  })

  it("refuses a second request with an id under way, and more than it is to hold", async () => {
    const { client, stub } = await world({ maxPending: 3 })
    const params = { name: "session_ask", arguments: { session: "echo", prompt: "hang" } }
    for (const id of ["a", "b", "c"]) client.send({ jsonrpc: "2.0", id, method: "tools/call", params })
    await deadline("all wait", () => stub.asks.waiting === 3)
    client.send({ jsonrpc: "2.0", id: "a", method: "ping" })
    expect((await client.until(({ id }) => id === "a")).error.code).toBe(-32600)
    expect((await client.request("ping")).error.data).toMatchObject({ tag: "LimitReached", value: 3 })
    for (const turn of stub.turns()) stub.end(turn)
    await client.until(({ id }) => id === "c")
    expect((await client.request("ping")).result).toEqual({})
  })

  it("answers with the turn as it stands after waitMs, and turn_wait goes on", async () => {
    const { client, stub } = await world()
    const { result } = await call(client, "session_ask", { session: "echo", prompt: "hang", waitMs: 20 })
    expect(result).toMatchObject({ structuredContent: { status: "running", pendingRequests: [] } })
    expect(result.isError).toBeUndefined()
    const waiting = call(client, "turn_wait", { turn: result.structuredContent.id })
    await deadline("it waits", () => stub.asks.waiting > 0)
    stub.end(result.structuredContent.id)
    expect((await waiting).result.content[0].text).toBe("echo hang")
  })

  it("sends no progress without a token, and none after the answer", async () => {
    const { client } = await world()
    await call(client, "session_ask", { session: "echo", prompt: "stream 30" })
    expect(client.messages.filter(({ method }) => method !== undefined)).toEqual([])
    const { result } = await call(
      client,
      "session_ask",
      { session: "echo", prompt: "stream 30" },
      { progressToken: "t" },
    )
    await call(client, "session_get", { session: "echo" })
    const at = client.messages.findIndex(
      (message) => message.result?.structuredContent?.id === result.structuredContent.id,
    )
    const told = client.messages.flatMap(({ method, params }, index) =>
      method === "notifications/progress" ? [{ index, ...params }] : [],
    )
    expect(told.length).toBeGreaterThan(2)
    expect(told.every(({ index, progressToken }) => index < at + 1 && progressToken === "t")).toBe(true)
    const words = told.map(({ message }) => message).join("")
    expect(words).toContain(Array.from({ length: 30 }, (_, n) => `d${n + 1}`).join(""))
  })

  it("lists sessions in brief, or whole as session_get gives them", async () => {
    const { client } = await world()
    const [brief] = (await call(client, "session_list")).result.structuredContent.sessions
    expect(brief).toMatchObject({
      name: "echo",
      status: "ready",
      spec: { command: "cat", protocol: { type: "lines" } },
    })
    expect(brief.spec.backoff).toBeUndefined()
    const [full] = (await call(client, "session_list", { full: true })).result.structuredContent.sessions
    expect(full).toEqual((await call(client, "session_get", { session: "echo" })).result.structuredContent)
    expect((await call(client, "session_list", { full: 1 })).result.isError).toBe(true)
  })

  it("refuses what is nested too deeply or of the wrong kind, and serves on", async () => {
    const { client } = await world()
    const given = JSON.parse(`${'{"a":'.repeat(200)}1${"}".repeat(200)}`)
    expect((await call(client, "session_start", given)).error.code).toBe(-32602)
    expect((await call(client, "session_signal", { session: "echo", signal: "SIGNONSENSE" })).result).toMatchObject({
      isError: true,
      structuredContent: { error: { tag: "InvalidParams" } },
    })
    expect((await client.request("ping")).result).toEqual({})
  })

  it("lets requests under way end after the end of its input, then is over", async () => {
    const { client, input, over } = await world()
    client.send({
      jsonrpc: "2.0",
      id: "late",
      method: "tools/call",
      params: { name: "session_ask", arguments: { session: "echo", prompt: "slow 100" } },
    })
    input.end()
    expect((await client.until(({ id }) => id === "late")).result.content[0].text).toBe("echo slow 100")
    await over
  })

  it("reads no more while its client does not read", async () => {
    const { input, output, client, over } = await world()
    output.pause()
    const request = `${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" })}\n`
    let taken = 0
    for (; taken < 5000 && input.write(request); taken++) await new Promise(setImmediate)
    expect(taken).toBeLessThan(5000)
    output.resume()
    expect((await client.request("ping", {}, "after")).result).toEqual({})
    input.end()
    await over
  })

  it("refuses a message that is too large, once, and goes on", async () => {
    const { client } = await world({ maxMessageBytes: 1000 })
    client.raw(`${"x".repeat(5000)}\n`)
    expect((await client.until(({ id }) => id === null)).error).toMatchObject({ data: { tag: "MessageTooLarge" } })
    expect((await client.request("ping")).result).toEqual({})
  })
})

describe("the tools of MCP", () => {
  it("are made from the contract, each with the fields of its method", () => {
    const offered = new Set(toolNames.map((name) => toolSpecs[name].method))
    const left = methods.filter((method) => !offered.has(method))
    expect(left).toEqual([
      "initialize",
      "runtime/metrics",
      "runtime/shutdown",
      "session/resize",
      "session/screen",
      "session/subscribe",
      "session/unsubscribe",
    ])
    for (const { name, description, inputSchema } of listedTools()) {
      expect(name).toMatch(/^[a-z_]{1,64}$/)
      expect(description).not.toMatch(/\b(?:session|turn|template)\/(?!event)/)
      expect(inputSchema).toMatchObject({ type: "object", additionalProperties: false })
      expect(JSON.stringify(inputSchema)).not.toContain("$ref")
      expect(contract[toolSpecs[name].method].doc).not.toBe("")
    }
    const ask = listedTools().find(({ name }) => name === "session_ask")!
    expect(Object.keys(ask.inputSchema["properties"] as object).toSorted()).toEqual([
      "attachments",
      "cancelOnAbort",
      "idempotencyKey",
      "onPermission",
      "prompt",
      "session",
      "timeoutMs",
      "waitMs",
    ])
    expect(ask.inputSchema["required"]).toEqual(["session", "prompt"])
  })
})

describe("an address of a resource", () => {
  it("names a session, a transcript, a turn or the list, and nothing else", () => {
    expect(addressOf("creche://sessions")).toMatchObject({ type: "sessions" })
    expect(addressOf("creche://sessions/a%2Fb")).toEqual({ type: "session", session: "a/b" })
    expect(addressOf("creche://sessions/a/transcript?after=3")).toMatchObject({ type: "transcript", session: "a" })
    expect(addressOf("creche://turns/t1")).toEqual({ type: "turn", turn: "t1" })
    for (const uri of [
      "",
      "creche://",
      "creche://turns",
      "creche://sessions/",
      "creche://sessions/%zz",
      "file:///etc",
      "creche://turns/a/transcript",
      "creche://sessions/a/b",
    ]) {
      expect(addressOf(uri), uri).toBeUndefined()
    }
  })
})
