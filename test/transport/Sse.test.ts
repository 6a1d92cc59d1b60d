import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as path from "node:path"
import { afterEach, describe, expect, it } from "vitest"
import { runtimeLayer } from "../../src/main.ts"
import * as Http from "../../src/transport/Http.ts"
import { deadline } from "./Client.ts"
import {
  bearer,
  cleanUp,
  cleanups,
  eventsOf,
  serving,
  type SseClient,
  type SseEvent,
  sse,
  temporary,
  tokenFile,
} from "./HttpFixture.ts"
import { makeStub } from "./StubRuntime.ts"

afterEach(cleanUp)

const seqs = (client: Pick<SseClient, "events">) =>
  client
    .events()
    .filter(({ event }) => event === undefined)
    .map(({ data }) => data.seq as number)
const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, at) => at + from)

describe("the events of a session", () => {
  it("are its entries, with seq as id: first what is stored after `after`, then what comes", async () => {
    const { url, send, stub } = await serving()
    stub.session({ name: "a" })
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "stream 5" })
    const client = await sse(`${url}/v1/sessions/a/events?after=3`)
    expect(client.status).toBe(200)
    await client.until("the stored ones", () => seqs(client).length === 5)
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "x" })
    await client.until("the live ones", () => seqs(client).length === 8)
    expect(seqs(client)).toEqual(upTo(11, 4))
    for (const { id, data } of client.events()) expect(id).toBe(String(data.seq))
  })

  it("go on after the Last-Event-ID, whatever `after` in the address said", async () => {
    const { url, send, stub } = await serving()
    stub.session({ name: "a" })
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "stream 5" })
    const client = await sse(`${url}/v1/sessions/a/events?after=0`, { "Last-Event-ID": "6" })
    await client.until("the rest", () => seqs(client).length === 2)
    expect(seqs(client)).toEqual([7, 8])
  })

  it("without `after` are those from now on; who is cut off before the first one can say where it began", async () => {
    const { url, send, stub } = await serving()
    stub.session({ name: "a" })
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "x" })
    const first = await sse(`${url}/v1/sessions/a/events`)
    await deadline("it has an id", () => first.lastId() === "3")
    first.cut()
    await first.ended
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "y" })
    const second = await sse(`${url}/v1/sessions/a/events`, { "Last-Event-ID": "3" })
    await second.until("what came meanwhile", () => seqs(second).length === 3)
    expect([seqs(first), seqs(second)]).toEqual([[], [4, 5, 6]])
  })

  it("can be chosen by their types", async () => {
    const { url, send, stub } = await serving()
    stub.session({ name: "a" })
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "stream 3" })
    const client = await sse(`${url}/v1/sessions/a/events?after=0&types=turn/queued,turn/ended`)
    await client.until("both", () => seqs(client).length === 2)
    expect(client.events().map(({ data }) => data.type)).toEqual(["turn/queued", "turn/ended"])
  })

  it("say what the session's limits had dropped, as a place to come back to", async () => {
    const { url, stub } = await serving({}, makeStub({ total: 100, text: "x", ring: 30 }))
    stub.session({ name: "flood" })
    const client = await sse(`${url}/v1/sessions/flood/events?after=10`)
    await client.until("all", () => seqs(client).length === 30)
    expect(client.events()[0]).toMatchObject({ event: "missed", id: "70", data: { after: 10, through: 70 } })
    expect(seqs(client)).toEqual(upTo(100, 71))
  })

  it("end with the session, and there are none of one that is not there", async () => {
    const { url, send, stub } = await serving()
    stub.session({ name: "a" })
    const client = await sse(`${url}/v1/sessions/a/events?after=0`)
    await send("DELETE", "/v1/sessions/a")
    await client.ended
    expect(client.events().at(-1)?.event).toBe("ended")
    expect((await send("GET", "/v1/sessions/a/events")).json).toMatchObject({ status: 404, tag: "SessionNotFound" })
    expect((await send("GET", "/v1/sessions/a/events?after=x")).json).toMatchObject({ status: 400 })
  })

  it("come once each to a client that is cut off again and again", async () => {
    const { url, stub } = await serving({}, makeStub({ total: 3000, text: "y".repeat(300) }))
    stub.session({ name: "flood" })
    const seen: Array<number> = []
    let last: string | undefined = "0"
    let cuts = 0
    while (seen.length < 3000) {
      const client: SseClient = await sse(`${url}/v1/sessions/flood/events`, { "Last-Event-ID": last! })
      const want = Math.min(3000, seen.length + 1 + ((cuts * 7919) % 400))
      await client.until("some more", () => seen.length + seqs(client).length >= want)
      client.cut()
      await client.ended
      seen.push(...seqs(client))
      last = client.lastId()
      cuts++
    }
    expect(cuts).toBeGreaterThan(5)
    expect(seen).toEqual(upTo(3000))
  })

  it("carry a comment where nothing happens", async () => {
    const { url, stub } = await serving({ heartbeatMs: 30 })
    stub.session({ name: "a" })
    const client = await sse(`${url}/v1/sessions/a/events`)
    await deadline("three heartbeats", () => client.text().split(": heartbeat\n\n").length > 3)
    expect(client.events()).toEqual([])
  })

  it("cost nothing for who never reads, and are ended for it in time", async () => {
    const { raw, stub, connections } = await serving(
      { stalledMs: 300, heartbeatMs: 50 },
      makeStub({ total: 100_000, text: "x".repeat(2000) }),
    )
    stub.session({ name: "flood" })
    const { socket } = await raw()
    socket.pause()
    socket.write("GET /v1/sessions/flood/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await deadline("it is under way", () => stub.pulled.entries > 0)
    await deadline("it is ended", () => connections().streams === 0 && stub.liveSubscriptions.count === 0)
    expect(stub.pulled.entries).toBeLessThan(5000)
  })

  it("end with a reason when the server closes", async () => {
    const serves = await serving()
    serves.stub.session({ name: "a" })
    const client = await sse(`${serves.url}/v1/sessions/a/events`)
    await deadline("it is there", () => serves.connections().streams === 1)
    await serves.close()
    await client.ended
    expect(client.events()).toMatchObject([{ event: "closing", data: { tag: "Draining" } }])
  })

  it("go to two thousand at once, and leave nothing behind", { timeout: 60_000 }, async () => {
    const { url, raw, send, stub, connections } = await serving()
    stub.session({ name: "a" })
    const sockets = []
    for (let n = 0; n < 2000; n++) {
      const client = await raw()
      client.socket.write("GET /v1/sessions/a/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
      sockets.push(client)
    }
    await deadline("all are there", () => connections().streams === 2000, 30_000)
    await send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "x" })
    for (const { until } of sockets) await until("the end of the turn", (text) => text.includes("turn/ended"))
    for (const { socket } of sockets) socket.destroy()
    await deadline("all are gone", () => connections().streams === 0 && stub.liveSubscriptions.count === 0)
    expect(url).toContain("127.0.0.1")
  })

  it("are limited in number", async () => {
    const { url, send, stub, connections } = await serving({ maxStreams: 1 })
    stub.session({ name: "a" })
    await sse(`${url}/v1/sessions/a/events`)
    await deadline("one is there", () => connections().streams === 1)
    expect((await send("GET", "/v1/sessions/a/events")).json).toMatchObject({ status: 429, tag: "LimitReached" })
    expect((await send("GET", "/v1/info")).status).toBe(200)
  })
})

describe("a turn that streams", () => {
  it("answers with its entries and last with itself", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a" })
    const { text, status } = await send("POST", "/v1/sessions/a/turns?stream=true", { prompt: "stream 3" })
    const events = eventsOf(text)
    expect(status).toBe(200)
    expect(events.slice(0, -1).map(({ data }) => data.type)).toEqual([
      "turn/queued",
      "turn/started",
      "turn/delta",
      "turn/delta",
      "turn/delta",
      "turn/ended",
    ])
    expect(events.at(-1)).toMatchObject({ event: "turn", data: { status: "completed", text: "echo stream 3" } })
  })

  it("fails as any request where it is not accepted", async () => {
    const { send } = await serving()
    const { json, headers } = await send("POST", "/v1/sessions/none/turns?stream=true", { prompt: "x" })
    expect(json).toMatchObject({ status: 404, tag: "SessionNotFound" })
    expect(headers.get("content-type")).toBe("application/problem+json")
  })

  it("goes on when its client is cut off, and its entries can still be had", async () => {
    const { url, raw, stub } = await serving()
    stub.session({ name: "a" })
    const { socket, until } = await raw()
    const body = JSON.stringify({ prompt: "slow 200" })
    socket.write(
      `POST /v1/sessions/a/turns?stream=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const text = await until("its first entry", (text) => text.includes("turn/queued"))
    const last = /^id: (\d+)/m.exec(text)![1]!
    socket.destroy()
    await deadline("nobody listens", () => stub.liveSubscriptions.count === 0)
    const client = await sse(`${url}/v1/sessions/a/events`, { "Last-Event-ID": last })
    await client.until("its end", (events) => events.some(({ data }) => data.type === "turn/ended"))
  })
})

const open = async (dataDirectory: string, tokens: Http.HttpOptions["tokens"] = null) => {
  const scope = Scope.makeUnsafe()
  const listening = await Effect.runPromise(
    Effect.flatMap(Layer.build(runtimeLayer({ dataDirectory, socket: path.join(dataDirectory, "s") })), (services) =>
      Effect.provideContext(Http.serve({ address: { host: "127.0.0.1", port: 0 }, tokens }), services),
    ).pipe(Scope.provide(scope)),
  )
  let closed: Promise<void> | undefined
  const close = () => (closed ??= Effect.runPromise(Scope.close(scope, Exit.void)))
  cleanups.push(close)
  const post = async (at: string, body: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${listening.url}${at}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
    })
    expect(response.ok).toBe(true)
    return (await response.json()) as any
  }
  return { ...listening, close, post }
}

describe("the events of all sessions", () => {
  it("come from now on; a confined token has those of its own sessions alone", { timeout: 60_000 }, async () => {
    const { file, tokens } = tokenFile(
      { name: "all", scopes: ["admin"] },
      { name: "some", scopes: ["read"], confinement: { tags: { team: "a" } } },
    )
    const { url, post } = await open(temporary(), { file, required: true })
    const all = await sse(`${url}/v1/events`, bearer(tokens["all"]))
    const some = await sse(`${url}/v1/events`, bearer(tokens["some"]))
    const ids: Array<string> = []
    for (const team of ["b", "a", "b"]) {
      const spec = { name: `s${ids.length}`, command: "cat", tags: { team } }
      ids.push((await post("/v1/sessions", spec, bearer(tokens["all"]))).id)
      await post(`/v1/sessions/${ids.at(-1)}/turns?wait=true`, { prompt: "x" }, bearer(tokens["all"]))
    }
    const ends = (id: string) => (events: ReadonlyArray<SseEvent>) =>
      events.some(({ data }) => data.session === id && data.type === "turn/ended")
    await all.until("the last turn", ends(ids[2]!))
    await some.until("its own turn", ends(ids[1]!))
    expect(new Set(all.events().map(({ data }) => data.session))).toEqual(new Set(ids))
    expect(new Set(some.events().map(({ data }) => data.session))).toEqual(new Set([ids[1]]))
    expect(all.lastId()).toBeUndefined()
  })
})

describe("over a restart of the runtime", () => {
  it("a client that comes back with its last id has every entry once", { timeout: 60_000 }, async () => {
    const dataDirectory = temporary()
    const seen: Array<number> = []
    const before = await open(dataDirectory)
    await before.post("/v1/sessions", { name: "a", command: "cat" })
    const first = await sse(`${before.url}/v1/sessions/a/events?after=0`)
    for (let n = 0; n < 5; n++) await before.post("/v1/sessions/a/turns?wait=true", { prompt: `p${n}` })
    await first.until("five turns", (events) => events.filter(({ data }) => data.type === "turn/ended").length === 5)
    await before.close()
    await first.ended
    seen.push(...seqs(first))
    const after = await open(dataDirectory)
    const second = await sse(`${after.url}/v1/sessions/a/events?after=0`, { "Last-Event-ID": first.lastId()! })
    await after.post("/v1/sessions/a/turns?wait=true", { prompt: "last" })
    await second.until("the turn after", (events) => events.some(({ data }) => data.type === "turn/ended"))
    seen.push(...seqs(second))
    expect(seen).toEqual(upTo(seen.length))
    expect(seqs(second).length).toBeGreaterThan(3)
  })
})
