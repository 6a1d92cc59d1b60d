import { WebSocket } from "@effect/platform-node-shared/NodeWS"
import * as fc from "fast-check"
import * as fs from "node:fs"
import { afterEach, describe, expect, it } from "vitest"
import { deadline } from "./Client.ts"
import { bearer, cleanUp, cleanups, serving, tokenFile } from "./HttpFixture.ts"
import { makeStub } from "./StubRuntime.ts"

afterEach(cleanUp)

interface Client {
  readonly socket: WebSocket
  readonly messages: Array<any>
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>
  readonly request: (method: string, params?: unknown) => Promise<any>
  readonly until: (what: string, fits: (message: any) => boolean) => Promise<any>
}

let requests = 0
const connect = (url: string, headers: Record<string, string> = {}): Promise<Client> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`, { headers })
    cleanups.push(() => socket.terminate())
    const messages: Array<any> = []
    socket.on("message", (data) => messages.push(JSON.parse(String(data))))
    const closed = new Promise<{ code: number; reason: string }>((done) =>
      socket.on("close", (code, reason) => done({ code, reason: String(reason) })),
    )
    socket.on("error", reject)
    const until = async (what: string, fits: (message: any) => boolean) => {
      await deadline(what, () => messages.some(fits))
      return messages.find(fits)
    }
    const request = (method: string, params?: unknown) => {
      const id = ++requests
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }))
      return until(`an answer to ${method}`, (message) => message.id === id)
    }
    socket.once("open", () => resolve({ socket, messages, closed, request, until }))
  })

const refused = (url: string, headers: Record<string, string> = {}, path = "/v1/ws") =>
  new Promise<number>((resolve, reject) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}${path}`, { headers })
    socket.on("error", () => {})
    socket.on("unexpected-response", (_request, response) => {
      resolve(response.statusCode ?? 0)
      response.destroy()
    })
    socket.on("open", () => reject(new Error("it was let in")))
  })

describe("a WebSocket", () => {
  it("speaks the whole JSON-RPC, one message a frame, text or bytes, with newlines or without", async () => {
    const { url, stub } = await serving()
    stub.session({ name: "a" })
    const { socket, messages, until, request } = await connect(url)
    expect((await request("session/ask", { session: "a", prompt: "x" })).result.text).toBe("echo x")
    socket.send(Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: "pretty", method: "runtime/info" }, null, 2)))
    expect((await until("it is answered", ({ id }) => id === "pretty")).result.name).toBe("creche")
    socket.send(`[{"jsonrpc":"2.0","id":"b1","method":"runtime/info"},{"jsonrpc":"2.0","id":"b2","method":"nope"}]`)
    const batch = await until("a batch", Array.isArray)
    expect(batch.map(({ id }: { id: string }) => id).toSorted()).toEqual(["b1", "b2"])
    const asked = await request("session/ask", { session: "a", prompt: "stream 3", stream: true })
    const streamed = messages.filter(({ params }) => params?.turn === asked.result.id)
    expect(streamed.map(({ params }) => params.entry.type).at(-1)).toBe("turn/ended")
    expect(messages.indexOf(streamed.at(-1))).toBeLessThan(messages.indexOf(asked))
  })

  it("takes no headers for framing", async () => {
    const { url } = await serving()
    const { socket, until, request } = await connect(url)
    socket.send("Content-Length: 30\r\n\r\n")
    expect((await until("it is refused", ({ id }) => id === null)).error.code).toBe(-32700)
    expect((await request("runtime/info")).result.name).toBe("creche")
  })

  it("subscribes, and a client that comes back with `after` has every entry once", async () => {
    const { url, stub, connections } = await serving()
    stub.session({ name: "a" })
    const seen: Array<number> = []
    for (let round = 0; round < 5; round++) {
      const client = await connect(url)
      await client.request("session/subscribe", { session: "a", after: seen.length })
      await client.request("session/ask", { session: "a", prompt: "stream 4" })
      await client.until(
        "the end",
        ({ params }) => params?.entry?.type === "turn/ended" && params.entry.seq > round * 7,
      )
      client.socket.terminate()
      seen.push(...client.messages.flatMap(({ params }) => (params?.entry === undefined ? [] : [params.entry.seq])))
    }
    expect(seen).toEqual(Array.from({ length: 35 }, (_, at) => at + 1))
    await deadline("all are gone", () => connections().webSockets === 0 && stub.liveSubscriptions.count === 0)
  })

  it("that is gone gives up what it waited for", async () => {
    const { url, stub, connections } = await serving()
    stub.session({ name: "a" })
    const { socket } = await connect(url)
    socket.send('{"jsonrpc":"2.0","id":1,"method":"session/ask","params":{"session":"a","prompt":"hang"}}')
    await deadline("it waits", () => stub.asks.waiting === 1)
    socket.terminate()
    await deadline("it is given up", () => stub.asks.waiting === 0 && connections().webSockets === 0)
  })

  it("that sends too much in a message is closed with that reason, and others go on", async () => {
    const { url } = await serving({ maxMessageBytes: 1000 })
    const other = await connect(url)
    const { socket, closed } = await connect(url)
    socket.send("x".repeat(1001))
    expect((await closed).code).toBe(1009)
    expect((await other.request("runtime/info")).result.name).toBe("creche")
  })

  it("that never reads costs no memory, and is ended in time", async () => {
    const { url, stub, connections } = await serving(
      { heartbeatMs: 50, stalledMs: 300 },
      makeStub({ total: 100_000, text: "x".repeat(2000) }),
    )
    stub.session({ name: "flood" })
    const { socket } = await connect(url)
    socket.send('{"jsonrpc":"2.0","id":1,"method":"session/subscribe","params":{"session":"flood","after":0}}')
    socket.pause()
    await deadline("it is under way", () => stub.pulled.entries > 0)
    await deadline("it is ended", () => connections().webSockets === 0)
    expect(stub.pulled.entries).toBeLessThan(5000)
  })

  it("that answers pings stays, also where nothing happens", async () => {
    const { url, connections } = await serving({ heartbeatMs: 20, stalledMs: 400 })
    const { socket, request } = await connect(url)
    let pings = 0
    socket.on("ping", () => pings++)
    await deadline("many pings", () => pings >= 30)
    expect(connections().webSockets).toBe(1)
    expect((await request("runtime/info")).result.name).toBe("creche")
  })

  it("gets the answers that are due when the server closes, and the reason", async () => {
    const serves = await serving({ closeMs: 5000 })
    serves.stub.session({ name: "a" })
    const { request, closed } = await connect(serves.url)
    const due = request("session/ask", { session: "a", prompt: "slow 100" })
    await deadline("it is under way", () => serves.stub.asks.waiting === 1)
    const closing = serves.close()
    expect((await due).result.text).toBe("echo slow 100")
    expect(await closed).toEqual({ code: 1001, reason: "draining" })
    await closing
  })

  it("is refused from other origins, under other names, on other paths, and with a wrong token", async () => {
    const { file } = tokenFile({ name: "t", scopes: ["read"] })
    const { url } = await serving({ tokens: { file, required: true } })
    expect(await refused(url, { Origin: "http://evil.example" })).toBe(403)
    expect(await refused(url, { Host: "evil.example" })).toBe(403)
    expect(await refused(url, bearer("creche_x"))).toBe(401)
    expect(await refused(url, {}, "/v1/sessions")).toBe(404)
  })

  it("may say by initialize who it is, and can do nothing before", async () => {
    const { file, tokens } = tokenFile({ name: "t", scopes: ["read"] })
    const { url, stub } = await serving({ tokens: { file, required: true } })
    stub.session({ name: "a" })
    const { request } = await connect(url)
    for (const method of ["runtime/info", "session/list", "nope"]) {
      expect((await request(method)).error.data.tag).toBe("Unauthorized")
    }
    expect((await request("initialize", { protocolVersion: 1 })).error.data.tag).toBe("Unauthorized")
    expect((await request("initialize", { protocolVersion: 1, token: tokens["t"] })).result.protocolVersion).toBe(1)
    expect((await request("runtime/info")).result.name).toBe("creche")
    expect((await request("session/ask", { session: "a", prompt: "x" })).error.data.tag).toBe("Forbidden")
  })

  it("that has not said who it is has no room for a whole message, nor time", async () => {
    const { file, tokens } = tokenFile({ name: "t", scopes: ["read"] }, { name: "u", scopes: ["admin"] })
    const { url } = await serving({ tokens: { file, required: true } })
    const big = await connect(url)
    big.socket.send("x".repeat(100_000))
    expect((await big.closed).code).toBe(1006)
    const known = await connect(url)
    await known.request("initialize", { protocolVersion: 1, token: tokens["t"] })
    const long = await known.request("session/get", { session: "x".repeat(200_000) })
    expect(long.error.data.tag).toBe("SessionNotFound")
    const other = await known.request("initialize", { protocolVersion: 1, token: tokens["u"] })
    expect(other.error.data.tag).toBe("Forbidden")
  })

  it("that guesses is closed, and nothing of its guesses is logged", async () => {
    const { file } = tokenFile({ name: "t", scopes: ["read"] })
    const { url, logs } = await serving({ tokens: { file, required: true } })
    const { socket, closed } = await connect(url)
    for (let n = 0; n < 3; n++) {
      const params = { protocolVersion: 1, token: `creche_0123456789ab_${"5ec3e7".repeat(10)}${n}000` }
      socket.send(JSON.stringify({ jsonrpc: "2.0", id: n, method: "initialize", params }))
    }
    expect(await closed).toEqual({ code: 1008, reason: "unauthorized" })
    expect(logs.length).toBeGreaterThan(0)
    expect(logs.join()).not.toContain("5ec3e7")
  })

  it("is closed once its token is revoked", async () => {
    const { file, tokens } = tokenFile({ name: "t", scopes: ["read"] })
    const { url } = await serving({ tokens: { file, required: true }, heartbeatMs: 40 })
    const { request, closed } = await connect(url, bearer(tokens["t"]))
    expect((await request("runtime/info")).result.name).toBe("creche")
    fs.rmSync(file)
    expect(await closed).toEqual({ code: 1008, reason: "unauthorized" })
  })
})

const seed = Number(process.env["CRECHE_SEED"] ?? Date.now() % 1_000_000)
/** Times 100 frames. */
const numRuns = Number(process.env["CRECHE_FUZZ_RUNS"] ?? 10)

describe("whatever comes in frames", () => {
  it(`is answered or ignored, and the next is served (seed ${seed})`, { timeout: 60_000 + numRuns * 200 }, async () => {
    const { url, stub, logs } = await serving()
    stub.session({ name: "a" })
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc
        .record(
          {
            jsonrpc: fc.constantFrom("2.0", "1.0", 2),
            id: fc.jsonValue(),
            method: fc.oneof(
              fc.string(),
              fc.constantFrom(
                "initialize",
                "session/get",
                "session/list",
                "$/cancelRequest",
                "session/subscribe",
                "__proto__",
                "constructor",
              ),
            ),
            params: fc.jsonValue(),
          },
          { requiredKeys: [] },
        )
        .map((value) => JSON.stringify(value)),
    )
    let client = await connect(url)
    for (const frames of fc.sample(fc.array(fc.oneof(text, fc.uint8Array()), { minLength: 100, maxLength: 100 }), {
      seed,
      numRuns,
    })) {
      client.messages.length = 0
      for (const frame of frames) client.socket.send(frame)
      const answered = await client.request("runtime/info").catch(() => undefined)
      if (answered === undefined) client = await connect(url)
    }
    expect((await (await connect(url)).request("session/get", { session: "a" })).result.name).toBe("a")
    expect(logs.join("\n")).not.toContain("defect")
  })
})
