import * as fc from "fast-check"
import { afterEach, describe, expect, it } from "vitest"
import { contract, methods } from "../../src/transport/Contract.ts"
import { routes } from "../../src/transport/HttpRoutes.ts"
import { deadline } from "./Client.ts"
import { cleanUp, serving } from "./HttpFixture.ts"
import { makeStub } from "./StubRuntime.ts"

afterEach(cleanUp)

describe("HTTP", () => {
  it("gives every method of the contract a route, but those that make sense on a connection alone", () => {
    const routed = new Set<string>(routes.map(({ method }) => method))
    const left = methods.filter((method) => !routed.has(method))
    expect(left).toEqual(["initialize", "session/ask", "session/unsubscribe"])
  })

  it("starts, asks, reads and removes a session", async () => {
    const { send, stub } = await serving()
    const started = await send("POST", "/v1/sessions", { name: "a", command: "cat" })
    expect(started.status).toBe(201)
    expect(started.headers.get("location")).toBe(`/v1/sessions/${started.json.id}`)
    expect((await send("GET", `/v1/sessions/${started.json.id}`)).json.name).toBe("a")
    const told = await send("POST", "/v1/sessions/a/turns", { prompt: "hang" })
    expect([told.status, told.json.status]).toEqual([202, "running"])
    expect((await send("GET", told.headers.get("location")!)).json.id).toBe(told.json.id)
    const asked = await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "x" })
    expect([asked.status, asked.json.text]).toEqual([200, "echo x"])
    expect((await send("GET", "/v1/sessions/a/turns?limit=1")).json.turns).toHaveLength(1)
    stub.end(told.json.id)
    expect((await send("GET", `/v1/turns/${told.json.id}/wait?timeoutMs=5000`)).status).toBe(200)
    const removed = await send("DELETE", "/v1/sessions/a")
    expect([removed.status, removed.text]).toEqual([204, ""])
    expect((await send("GET", "/v1/sessions/a")).status).toBe(404)
  })

  it("has the failures of the contract, with their tags, codes and statuses", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a" })
    const taken = await send("POST", "/v1/sessions", { name: "a", command: "cat" })
    expect(taken.headers.get("content-type")).toBe("application/problem+json")
    expect([taken.status, taken.json.tag, taken.json.code]).toEqual([409, "SessionAlreadyExists", -32002])
    expect(taken.json.data).toEqual({ tag: "SessionAlreadyExists", session: "a", field: "name" })
    const missing = await send("POST", "/v1/sessions/a/turns", { timeoutMs: 0, what: 1 })
    expect([missing.status, missing.json.tag]).toEqual([400, "InvalidParams"])
    expect(missing.json.data.issues.map(({ path }: { path: string }) => path).toSorted()).toEqual([
      "prompt",
      "timeoutMs",
      "what",
    ])
    expect((await send("GET", "/v1/sessions/a/screen")).json).toMatchObject({ status: 501, tag: "Unsupported" })
    expect((await send("GET", "/v1/nothing")).json).toMatchObject({ status: 404, tag: "RouteNotFound" })
    const wrong = await send("PUT", "/v1/sessions/a", {})
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, DELETE"])
    expect((await send("GET", "/v1/sessions/%zz")).status).toBe(400)
  })

  it("has a screen and a size for sessions that are there, and none for what has no terminal", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a", protocol: "lines" })
    const resized = await send("POST", "/v1/sessions/a/resize", { cols: 80, rows: 24 })
    expect([resized.status, resized.json.tag]).toEqual([501, "Unsupported"])
    expect(resized.json.detail).toContain("lines has no terminal")
    expect((await send("POST", "/v1/sessions/a/resize", { cols: 0, rows: 24 })).json.data.issues[0].path).toBe("cols")
    expect((await send("GET", "/v1/sessions/a/screen")).json.tag).toBe("Unsupported")
    expect((await send("GET", "/v1/sessions/b/screen")).json.tag).toBe("SessionNotFound")
  })

  it("answers a defect with 500 and nothing of its stack, and goes on", async () => {
    const { send, stub, logs } = await serving()
    stub.session({ name: "a" })
    const met = await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "die" })
    expect([met.status, met.json.tag]).toEqual([500, "InternalError"])
    expect(met.text).not.toContain("secret")
    expect(logs.join()).toContain("a request met a defect")
    expect((await send("GET", "/v1/health")).status).toBe(200)
  })

  it("takes params where they belong and says so where they are given twice or are unknown", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a" })
    const issue = async (path: string, body?: unknown, headers?: Record<string, string>) => {
      const { json, status } = await send(body === undefined ? "GET" : "POST", path, body, headers)
      expect(status).toBe(400)
      return json.data.issues[0]
    }
    expect(await issue("/v1/sessions/a/turns", { session: "b", prompt: "x" })).toMatchObject({ path: "session" })
    expect(await issue("/v1/sessions/a/turns?prompt=x", { prompt: "x" })).toMatchObject({ path: "prompt" })
    expect(await issue("/v1/sessions/a/turns?wait=perhaps", { prompt: "x" })).toMatchObject({ path: "wait" })
    expect(await issue("/v1/sessions/a/turns", { prompt: "x", stream: true })).toMatchObject({ path: "stream" })
    expect(await issue("/v1/sessions?limit=many")).toMatchObject({ path: "limit" })
    expect(await issue("/v1/sessions?limit=1&limit=2")).toMatchObject({ path: "limit" })
    expect(await issue("/v1/sessions?tag=x")).toMatchObject({ path: "tag" })
    expect(await issue("/v1/sessions?colour=x")).toMatchObject({ path: "colour" })
    expect(await issue("/v1/sessions?status=odd")).toMatchObject({ path: "status.0" })
    expect(await issue("/v1/sessions?__proto__=x")).toMatchObject({ path: "__proto__" })
    expect(await issue("/v1/events?after=3")).toMatchObject({ path: "after" })
    expect(await issue("/v1/events", undefined, { "Last-Event-ID": "3" })).toMatchObject({ path: "after" })
    expect(await issue("/v1/sessions/a/events", undefined, { "Last-Event-ID": "x" })).toMatchObject({
      path: "Last-Event-ID",
    })
  })

  it("passes on the Idempotency-Key, and refuses two of them", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a" })
    const one = await send("POST", "/v1/sessions/a/turns", { prompt: "x" }, { "Idempotency-Key": "k1" })
    expect(one.json.idempotencyKey).toBe("k1")
    const two = await send(
      "POST",
      "/v1/sessions/a/turns",
      { prompt: "x", idempotencyKey: "k2" },
      { "Idempotency-Key": "k" },
    )
    expect([two.status, two.json.data.issues[0].path]).toEqual([400, "idempotencyKey"])
  })

  it("pages through sessions and transcripts", async () => {
    const { send, stub } = await serving()
    for (let n = 0; n < 25; n++) stub.session({ name: `s${n}` })
    const seen: Array<string> = []
    for (let cursor: string | null = ""; cursor !== null;) {
      const path: string = `/v1/sessions?limit=10${cursor === "" ? "" : `&cursor=${cursor}`}`
      const { json } = await send("GET", path)
      seen.push(...json.sessions.map(({ name }: { name: string }) => name))
      cursor = json.nextCursor
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => `s${n}`))
    await send("POST", "/v1/sessions/s1/turns?wait=true", { prompt: "stream 20" })
    const { json } = await send("GET", "/v1/sessions/s1/transcript?after=3&limit=4")
    expect(json.entries.map(({ seq }: { seq: number }) => seq)).toEqual([4, 5, 6, 7])
  })

  it("does not send again what its reader has already", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a" })
    for (const path of ["/v1/sessions/a", "/v1/sessions", "/v1/sessions/a/transcript?after=0", "/v1/templates"]) {
      const first = await send("GET", path)
      const etag = first.headers.get("etag")!
      expect([etag, first.headers.get("cache-control")]).toEqual([
        expect.stringMatching(/^"[\w-]+"$/),
        "private, no-cache",
      ])
      const same = await send("GET", path, undefined, { "If-None-Match": `"other", ${etag}` })
      expect([same.status, same.text, same.headers.get("etag")]).toEqual([304, "", etag])
      expect((await send("GET", path, undefined, { "If-None-Match": '"other"' })).status).toBe(200)
    }
    const before = (await send("GET", "/v1/sessions/a")).headers.get("etag")!
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "x" })
    expect((await send("GET", "/v1/sessions/a", undefined, { "If-None-Match": before })).status).toBe(200)
    for (const path of ["/v1/stats", "/v1/health"]) {
      const { headers } = await send("GET", path)
      expect([headers.get("etag"), headers.get("cache-control")]).toEqual([null, "no-store"])
    }
  })

  it("answers HEAD as GET, without a body, and writes no CORS header, also not to OPTIONS", async () => {
    const { send } = await serving()
    const head = await send("HEAD", "/v1/info")
    expect([head.status, head.text]).toEqual([200, ""])
    const options = await send("OPTIONS", "/v1/sessions")
    expect(options.status).toBe(405)
    for (const { headers } of [head, options]) {
      expect([...headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([])
    }
  })

  it("gives up an ask whose client is gone, and carries out what else was asked", async () => {
    const { raw, stub, connections } = await serving()
    stub.session({ name: "a" })
    const { socket } = await raw()
    const body = JSON.stringify({ prompt: "hang" })
    socket.write(
      `POST /v1/sessions/a/turns?wait=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    await deadline("it waits", () => stub.asks.waiting === 1)
    socket.destroy()
    await deadline("it is given up", () => stub.asks.waiting === 0 && connections().pending === 0)
    expect(stub.turns()).toHaveLength(1)
  })

  it("lets the answers that are due go out when it closes, and takes no more", async () => {
    const serves = await serving({ closeMs: 5000 })
    serves.stub.session({ name: "a" })
    const due = serves.send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "slow 150" })
    await deadline("it is under way", () => serves.stub.asks.waiting === 1)
    const closing = serves.close()
    expect((await due).json.text).toBe("echo slow 150")
    await closing
    await expect(serves.send("GET", "/v1/info")).rejects.toThrow("fetch failed")
  })

  it("lets an answer that is long and slowly read go out when it closes", async () => {
    const stub = makeStub({ total: 4000, text: "x".repeat(2000) })
    stub.session({ name: "flood" })
    const { raw, send, close } = await serving({ closeMs: 8000 }, stub)
    const whole = (await send("GET", "/v1/sessions/flood/transcript?limit=4000")).text.length
    expect(whole).toBeGreaterThan(5_000_000)
    const reader = await raw()
    reader.socket.write("GET /v1/sessions/flood/transcript?limit=4000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.until("its beginning", (text) => text.length > 0)
    reader.socket.pause()
    await new Promise((resolve) => setTimeout(resolve, 100))
    const closed = close()
    await new Promise((resolve) => setTimeout(resolve, 100))
    reader.socket.resume()
    await reader.closed
    const text = reader.text()
    expect(text.length - text.indexOf("\r\n\r\n") - 4).toBe(whole)
    await closed
  })

  it("does not wait longer than told for answers that never come when it closes", async () => {
    const serves = await serving({ closeMs: 50 })
    serves.stub.session({ name: "a" })
    const never = serves.send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "hang" })
    const gone = never.then(
      () => "answered",
      () => "cut off",
    )
    await deadline("it is under way", () => serves.stub.asks.waiting === 1)
    await serves.close()
    expect(await gone).toBe("cut off")
  })

  it("answers a shutdown before it ends", async () => {
    const { send, stub } = await serving()
    const { status, json } = await send("POST", "/v1/shutdown", { drainMs: 5 })
    expect([status, json]).toEqual([200, { survivors: [] }])
    expect(stub.shutdowns).toEqual([5])
  })
})

describe("limits", () => {
  const post = (headers: string) =>
    `POST /v1/sessions/a/turns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}\r\n\r\n`

  it("refuse a body that says it is too long, before it came", async () => {
    const { raw } = await serving({ maxMessageBytes: 1000 })
    const { socket, until, closed } = await raw()
    socket.write(post("Content-Length: 1001"))
    const text = await until("it is refused", (text) => text.includes("MessageTooLarge"))
    expect(text).toMatch(/^HTTP\/1.1 413 /)
    expect(text).toContain('"limitBytes":1000')
    await closed
  })

  it("refuse a body that does not say how long it is, where it has got too long", async () => {
    const { raw } = await serving({ maxMessageBytes: 1000 })
    const { socket, until } = await raw()
    socket.write(post("Transfer-Encoding: chunked"))
    const chunk = `400\r\n${"x".repeat(1024)}\r\n`
    socket.write(chunk)
    expect(await until("it is refused", (text) => text.includes("MessageTooLarge"))).toMatch(/^HTTP\/1.1 413 /)
  })

  it("take a body of exactly the limit, and invite one that is announced", async () => {
    const { raw, stub } = await serving({ maxMessageBytes: 1000 })
    stub.session({ name: "a" })
    const { socket, until } = await raw()
    const body = JSON.stringify({ prompt: "y".repeat(1000 - 13) })
    expect(body).toHaveLength(1000)
    socket.write(post("Content-Length: 1000\r\nExpect: 100-continue"))
    await until("it is invited", (text) => text.startsWith("HTTP/1.1 100 "))
    socket.write(body)
    await until("it is taken", (text) => text.includes("HTTP/1.1 202 "))
  })

  it("do not invite a body from whom is not let in", async () => {
    const { raw } = await serving({ tokens: { file: "/nonexistent/tokens.json", required: false } })
    const { socket, until, text } = await raw()
    socket.write(post("Content-Length: 10\r\nExpect: 100-continue"))
    await until("it is refused", (text) => text.includes("Unauthorized"))
    expect(text()).toMatch(/^HTTP\/1.1 401 /)
  })

  it("refuse other types and encodings, and bodies that are no JSON object, without repeating them", async () => {
    const { send } = await serving()
    const path = "/v1/sessions/a/turns"
    expect((await send("POST", path, "{}", { "Content-Type": "text/plain" })).status).toBe(415)
    expect((await send("POST", path, "{}", { "Content-Encoding": "gzip" })).status).toBe(415)
    for (const body of ["{", "[]", "1", "null", '"s3cr3t"', "{s3cr3t", "[".repeat(100_000)]) {
      const refused = await send("POST", path, body)
      expect([refused.status, refused.json.tag]).toEqual([400, "ParseError"])
      expect(refused.text).not.toContain("s3cr3t")
    }
    const deep = `{"prompt":${"[".repeat(5000)}${"]".repeat(5000)}}`
    expect((await send("POST", path, deep)).json.tag).toBe("InvalidParams")
  })

  it("refuse headers that are too long", async () => {
    const { raw } = await serving()
    const { socket, until } = await raw()
    socket.write(`GET /v1/info HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(40_000)}\r\n\r\n`)
    expect(await until("it is refused", (text) => text.includes("HeadersTooLarge"))).toMatch(/^HTTP\/1.1 431 /)
  })

  it("end a request whose headers or body come drop by drop, and go on serving others", async () => {
    const { raw, send } = await serving({ headersMs: 150, requestMs: 300 })
    const dropping = async (head: string) => {
      const { socket, until, closed } = await raw()
      socket.write(head)
      const drops = setInterval(() => socket.write("x"), 20)
      await until("it is ended", (text) => text.startsWith("HTTP/1.1 408 "))
      clearInterval(drops)
      await closed
    }
    const all = [
      dropping("GET /v1/info HTTP/1.1\r\nX: "),
      dropping(post("Content-Length: 100000")),
      ...Array.from({ length: 50 }, () => dropping("GET /v1/info HTTP/1.1\r\nX: ")),
    ]
    expect((await send("GET", "/v1/info")).status).toBe(200)
    await Promise.all(all)
    expect((await send("GET", "/v1/info")).status).toBe(200)
  })

  it("hold for requests under way at once", async () => {
    const { send, stub } = await serving({ maxPending: 3 })
    stub.session({ name: "a" })
    const turns = Array.from({ length: 3 }, () => send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "hang" }))
    await deadline("they wait", () => stub.asks.waiting === 3)
    const refused = await send("GET", "/v1/info")
    expect([refused.status, refused.json.tag, refused.headers.get("retry-after")]).toEqual([429, "LimitReached", "1"])
    for (const turn of stub.turns()) stub.end(turn)
    await Promise.all(turns)
    expect((await send("GET", "/v1/info")).status).toBe(200)
  })

  it("hold for all that is on its way, in and out", async () => {
    const { send, raw, stub } = await serving(
      { maxHeldBytes: 100_000 },
      makeStub({ total: 1000, text: "x".repeat(200) }),
    )
    stub.session({ name: "flood" })
    const tooMuch = await send("GET", "/v1/sessions/flood/transcript?limit=1000")
    expect([tooMuch.status, tooMuch.json.tag]).toEqual([429, "LimitReached"])
    const slow = await raw()
    slow.socket.write(`${post("Content-Length: 90000")}${"x".repeat(80_000)}`)
    const another = async () => (await send("POST", "/v1/sessions/flood/turns", { prompt: "y".repeat(30_000) })).status
    await expect.poll(another, { timeout: 10_000 }).toBe(429)
    slow.socket.destroy()
    await expect.poll(another, { timeout: 10_000 }).toBe(202)
  })

  it("cut off a peer that takes no answer", async () => {
    const { raw, stub, connections } = await serving(
      { stalledMs: 100 },
      makeStub({ total: 10_000, text: "x".repeat(5000) }),
    )
    stub.session({ name: "flood" })
    const { socket, closed } = await raw()
    socket.pause()
    socket.write("GET /v1/sessions/flood/transcript?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4))
    await deadline("it came that far", () => connections().pending > 0)
    await deadline("it is cut off", () => connections().pending === 0)
    socket.resume()
    await closed
  })
})

describe("whatever comes", () => {
  const seed = Number(process.env["CRECHE_SEED"] ?? Date.now() % 1_000_000)
  /** Times 20 requests. */
  const numRuns = Number(process.env["CRECHE_FUZZ_RUNS"] ?? 100)
  const verbs = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "HEAD", "get", "", "\0"]
  const paths = [
    ...routes.map(({ path }) => path),
    "/v1/ws",
    "/",
    "*",
    "//",
    "/v1/../v1/info",
    "http://x/v1/info",
    "/%00",
  ]
  const odd = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("\r\n", "\n\n", "\0", "%", "{", "ÿ"))
  const headers = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Upgrade",
    "Connection",
    "Authorization",
    "Last-Event-ID",
    "Origin",
    "Expect",
  ]
  const values = fc.oneof(
    odd,
    fc.constantFrom("localhost", "chunked", "websocket", "-1", "5", "Bearer x", "100-continue", "close"),
  )

  it(`answers or closes, and serves the next one (seed ${seed})`, { timeout: 60_000 + numRuns * 100 }, async () => {
    const { raw, send, stub, logs } = await serving({ headersMs: 200, requestMs: 300 })
    stub.session({ name: "a" })
    const request = fc
      .record({
        verb: fc.oneof(fc.constantFrom(...verbs), odd),
        path: fc.oneof(fc.constantFrom(...paths), odd),
        query: fc.option(odd, { nil: "" }),
        version: fc.constantFrom("HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "HTCPCP/1.0"),
        host: fc.boolean(),
        headers: fc.array(fc.tuple(fc.oneof(fc.constantFrom(...headers), odd), values), { maxLength: 5 }),
        body: fc.oneof(odd, fc.json(), fc.constant("")),
      })
      .map(({ verb, path, query, version, host, headers, body }) => {
        const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")
        return `${verb} ${path}?${query} ${version}\r\n${host ? "Host: localhost\r\n" : ""}${lines}\r\n${body}`
      })
    const input = fc.oneof({ weight: 4, arbitrary: request }, { weight: 1, arbitrary: odd })
    for (const texts of fc.sample(fc.array(input, { minLength: 20, maxLength: 20 }), { seed, numRuns })) {
      const sockets = await Promise.all(texts.map(() => raw()))
      for (const [at, { socket }] of sockets.entries()) socket.end(Buffer.from(texts[at]!, "utf8"))
      await Promise.all(
        sockets.map(({ closed, socket }) =>
          Promise.race([closed, new Promise((r) => setTimeout(r, 30))]).then(() => socket.destroy()),
        ),
      )
    }
    expect((await send("GET", "/v1/sessions/a")).status).toBe(200)
    expect(logs.join("\n")).not.toContain("defect")
    expect(Object.keys(contract)).toHaveLength(methods.length)
  })
})
