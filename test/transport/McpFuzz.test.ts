import { PassThrough } from "node:stream"
import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { makeMcpHttp } from "../../src/transport/McpHttp.ts"
import { serveMcp } from "../../src/transport/McpStdio.ts"
import { runtimeUpstream } from "../../src/transport/McpUpstream.ts"
import { drawSeed, seeded } from "../acceptance/Processes.ts"
import { initialize, malformed } from "./McpMalformed.ts"
import { wire } from "./McpPeer.ts"
import { makeStub } from "./StubRuntime.ts"

const inputs = 100_000

const upstreamOf = async () => {
  const stub = makeStub()
  stub.session({ name: "echo" })
  return Effect.runPromise(runtimeUpstream().pipe(Effect.provide(stub.layer)))
}

describe("MCP", () => {
  it(`survives ${inputs} malformed messages on a stream, answers with messages alone, and the next request`, async () => {
    const seed = drawSeed("mcp on a stream")
    const random = seeded(seed)
    const input = new PassThrough()
    const output = new PassThrough()
    const defects: Array<unknown> = []
    const onDefect = (error: unknown) => defects.push(error)
    const over = serveMcp({ upstream: await upstreamOf(), version: "1", readable: input, writable: output, onDefect })
    const client = wire(output, input)
    for (let sent = 0; sent < inputs;) {
      const lines: Array<Buffer> = []
      for (let n = 0; n < 200; n++, sent++) lines.push(malformed(random, sent), Buffer.from("\n"))
      const flood = Buffer.concat(lines)
      const cut = Math.floor(random() * flood.length)
      input.write(flood.subarray(0, cut))
      if (!input.write(flood.subarray(cut))) await new Promise((go) => input.once("drain", go))
      // They are many; what they say was parsed.
      client.messages.splice(0, Math.max(0, client.messages.length - 10))
    }
    // Of what it was flooded with, some is under way.
    for (let n = 0; ; n++) {
      const { result, error } = await client.request("ping", {}, `seed ${seed} ${n}`)
      if (error === undefined) {
        expect(result).toEqual({})
        break
      }
      expect(error.data.tag).toBe("LimitReached")
    }
    expect(defects).toEqual([])
    input.end()
    await over
  }, 120_000)

  it(`survives ${inputs} malformed requests over HTTP, and serves the next`, async () => {
    const seed = drawSeed("mcp over http")
    const random = seeded(seed)
    const defects: Array<unknown> = []
    const mcp = makeMcpHttp({ upstream: await upstreamOf(), version: "1", onDefect: (error) => defects.push(error) })
    const headers = new Map([
      ["accept", "application/json, text/event-stream"],
      ["content-type", "application/json"],
    ])
    const post = (text: string, session?: string) =>
      mcp.handle({
        method: "POST",
        headers: { get: (name) => (name === "mcp-session-id" ? (session ?? null) : (headers.get(name) ?? null)) },
        text: () => Promise.resolve(text),
      })
    const begun = await post(JSON.stringify({ jsonrpc: "2.0", id: 0, ...initialize }))
    const session = begun.headers["mcp-session-id"]!
    for (let sent = 0; sent < inputs; sent++) {
      const { status, body } = await post(
        malformed(random, sent).toString("utf8"),
        random() < 0.9 ? session : undefined,
      )
      expect([200, 202, 400], String(seed)).toContain(status)
      if (typeof body === "string") JSON.parse(body)
      else if (body !== null)
        for await (const text of body) expect(text).toMatch(/^(?:event: message\ndata: .*\n\n|: )/s)
    }
    const last = await post(JSON.stringify({ jsonrpc: "2.0", id: "last", method: "ping" }), session)
    expect(JSON.parse(last.body as string)).toEqual({ jsonrpc: "2.0", id: "last", result: {} })
    expect(defects).toEqual([])
    mcp.close()
  }, 120_000)
})
