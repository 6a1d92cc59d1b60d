import * as Effect from "effect/Effect"
import { duplexPair } from "node:stream"
import { describe, expect, it } from "vitest"
import { Connection } from "../../src/transport/Connection.ts"
import { methods as contractMethods, notOffered } from "../../src/transport/Contract.ts"
import { makeMethods } from "../../src/transport/Handlers.ts"
import { deadline, rawClient } from "./Client.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

const open = async (stub: Stub, options: { readonly maxMessageBytes?: number; readonly maxPending?: number } = {}) => {
  const [near, far] = duplexPair()
  const methods = await Effect.runPromise(Effect.provide(makeMethods(options), stub.layer))
  const services = await Effect.runPromise(Effect.context<never>())
  const connection = new Connection({ readable: near, writable: near, methods, services, ...options })
  return { connection, client: rawClient(far), near }
}

const withSession = async (options?: Parameters<typeof open>[1]) => {
  const stub = makeStub()
  stub.session({ name: "a" })
  return { stub, ...(await open(stub, options)) }
}

const ask = (id: unknown, prompt: unknown, more: object = {}) => ({
  jsonrpc: "2.0",
  id,
  method: "session/ask",
  params: { session: "a", prompt, ...more },
})
const cancel = (id: unknown) => ({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id } })

describe("requests", () => {
  it("are answered with the wire's shapes: RFC 3339 times, a duration, no environment values", async () => {
    const { client } = await open(makeStub())
    const spec = { name: "a", command: "cat", env: { KEY: "hunter2", GONE: null } }
    expect(await client.request("session/start", spec)).toMatchObject({
      result: {
        name: "a",
        createdAt: "2025-06-15T15:06:40.000Z",
        exit: { kind: "signaled", at: "2025-06-15T15:06:40.123Z" },
        spec: { env: { KEY: "***", GONE: null }, cwd: null },
      },
    })
    const { result } = await client.request("session/ask", { session: "a", prompt: "hello" })
    expect(result).toMatchObject({ text: "echo hello", status: "completed", durationMs: 5 })
    expect(JSON.stringify(client.messages)).not.toContain("hunter2")
  })

  it("reach every method of the contract", async () => {
    const { client } = await withSession()
    for (const method of contractMethods) {
      const { error } = await client.request(method, { nonsense: 1 })
      expect(error).toMatchObject({ code: -32602, data: { tag: "InvalidParams" } })
      expect(error.data.issues.map((issue: any) => issue.path)).toContain("nonsense")
    }
    const { result } = await client.request("initialize", { protocolVersion: 1, clientInfo: { name: "test" } })
    expect(result).toMatchObject({ protocolVersion: 1, serverInfo: { name: "creche" } })
    expect(result.capabilities.methods).toEqual(contractMethods)
  })

  it("are Unsupported by name where this build does not offer the method", async () => {
    const { client } = await withSession()
    for (const method of notOffered) {
      const { error } = await client.request(method, { session: "a" })
      expect(error).toMatchObject({ code: -32012, data: { tag: "Unsupported", what: method } })
      expect(error.message).toContain(method)
    }
  })

  it("run concurrently and are answered in any order", async () => {
    const { client } = await withSession()
    client.send(ask(1, "slow 50"), ask(2, "quick"))
    await client.answer(1)
    expect(client.messages.map((message) => message.id)).toEqual([2, 1])
  })

  it("meet a defect as -32603 without a stack, and the connection goes on", async () => {
    const { client } = await withSession()
    client.send(ask(1, "die"), ask(2, "x"))
    expect((await client.answer(1)).error).toMatchObject({ code: -32603, message: "Internal error" })
    expect((await client.answer(2)).result.text).toBe("echo x")
    expect(JSON.stringify(client.messages)).not.toContain("secret")
  })

  it("beyond the limit of pending ones are LimitReached, and room comes back", async () => {
    const { client, stub } = await withSession({ maxPending: 3 })
    client.send(ask(1, "hang"), ask(2, "hang"), ask(3, "hang"), ask(4, "x"))
    expect((await client.answer(4)).error).toMatchObject({ code: -32011, data: { tag: "LimitReached", value: 3 } })
    stub.end(stub.turns()[2] ?? "")
    await client.answer(3)
    client.send(ask(5, "x"))
    expect((await client.answer(5)).result.text).toBe("echo x")
  })

  it("in a batch are answered together, the slow with the quick, and notifications not at all", async () => {
    const { client } = await withSession()
    const { id: _, ...notification } = ask(0, "x")
    client.send([
      ask(1, "slow 30"),
      notification,
      cancel(99),
      ask(2, "x"),
      7,
      { jsonrpc: "2.0", id: 3, method: "nope" },
    ])
    client.send([notification, cancel(99)])
    client.send(ask(4, "slow 60"))
    await client.answer(4)
    expect(client.messages).toHaveLength(2)
    const [batch] = client.messages
    expect(batch.map((answer: any) => answer.id).toSorted()).toEqual([1, 2, 3, null])
  })

  it("as notifications are carried out and never answered, whatever is wrong with them", async () => {
    const { client, stub } = await withSession()
    const base = { jsonrpc: "2.0" }
    client.send(
      { ...base, method: "session/write", params: { session: "a", data: "x" } },
      { ...base, method: "session/write", params: { session: "nobody", data: "x" } },
      { ...base, method: "session/write", params: { wrong: 1 } },
      { ...base, method: "session/write", params: [1] },
      { ...base, method: "session/ask", params: { session: "a", prompt: "die" } },
      { ...base, method: "nope" },
      { ...base, method: "$/cancelRequest" },
    )
    await client.request("runtime/info")
    expect(client.messages).toHaveLength(1)
    expect(stub.written.map(String)).toEqual(["x"])
  })

  it("write text and base64, and refuse what is no base64", async () => {
    const { client, stub } = await withSession()
    await client.request("session/write", { session: "a", data: "é\n" })
    await client.request("session/write", { session: "a", data: "AP/+", encoding: "base64" })
    await client.request("session/write", { session: "a", data: "", encoding: "base64" })
    expect(stub.written.map((bytes) => [...bytes])).toEqual([[195, 169, 10], [0, 255, 254], []])
    for (const data of ["A", "A===", "*", "AP/+\n", "AP_-"]) {
      const { error } = await client.request("session/write", { session: "a", data, encoding: "base64" })
      expect(error).toMatchObject({ code: -32602, data: { issues: [{ path: "data" }] } })
    }
  })

  it("append attachments to the prompt as content blocks", async () => {
    const { client } = await withSession()
    const attachments = [{ type: "file", path: "/x" }]
    const { result } = await client.request("session/ask", { session: "a", prompt: "look", attachments })
    expect(result.prompt).toEqual([{ type: "text", text: "look" }, ...attachments])
    const plain = await client.request("session/ask", { session: "a", prompt: "look", attachments: [] })
    expect(plain.result.prompt).toBe("look")
  })
})

describe("cancelling", () => {
  it("answers the pending request with -32800 and leaves its turn running", async () => {
    const { client, stub } = await withSession()
    client.send(ask(1, "hang"), cancel(1))
    expect((await client.answer(1)).error).toMatchObject({ code: -32800, data: { tag: "RequestCancelled" } })
    expect(stub.asks).toEqual({ waiting: 0, interrupted: 1 })
    expect((await client.request("turn/get", { turn: stub.turns()[0] })).result.status).toBe("running")
  })

  it('finds ids of every kind, and tells 1 from "1"', async () => {
    const { client } = await withSession()
    client.send(ask(1, "hang"), ask("1", "hang"), ask(null, "hang"))
    client.send(cancel("1"))
    expect((await client.answer("1")).error.code).toBe(-32800)
    client.send(cancel(null))
    expect((await client.answer(null)).error.code).toBe(-32800)
    expect(client.messages).toHaveLength(2)
    client.send(cancel(1))
    expect((await client.answer(1)).error.code).toBe(-32800)
  })

  it("cancels every pending request of an id that was used twice", async () => {
    const { client } = await withSession()
    client.send(ask(1, "hang"), ask(1, "hang"), cancel(1))
    await deadline("both are answered", () => client.messages.length === 2)
    expect(client.messages.map((message) => message.error.code)).toEqual([-32800, -32800])
  })

  it("of what is answered already, or never was, is nothing", async () => {
    const { client } = await withSession()
    client.send(ask(1, "x"))
    await client.answer(1)
    client.send(cancel(1), cancel("nobody"), cancel({}), { ...cancel(1), id: 2 }, { ...cancel({}), id: 3 })
    expect((await client.answer(2)).result).toBe(null)
    expect((await client.answer(3)).error.code).toBe(-32602)
    expect(client.messages).toHaveLength(3)
  })

  it("works inside the batch that asked", async () => {
    const { client } = await withSession()
    client.send([ask(1, "hang"), cancel(1)])
    await deadline("the batch is answered", () => client.messages.length === 1)
    expect(client.messages[0]).toMatchObject([{ id: 1, error: { code: -32800 } }])
  })
})

describe("events", () => {
  const subscribe = (id: unknown, params: object) => ({ jsonrpc: "2.0", id, method: "session/subscribe", params })

  it("come after the answer that names their subscription: the stored, then the live, no gap and no duplicate", async () => {
    const { client } = await withSession()
    for (let n = 0; n < 3; n++) await client.request("session/ask", { session: "a", prompt: `stream ${n}` })
    client.messages.length = 0
    client.send(subscribe(1, { session: "a", after: 2 }))
    const { result } = await client.answer(1)
    expect(client.messages[0].id).toBe(1)
    await client.request("session/ask", { session: "a", prompt: "stream 5" })
    await client.until((message) => message.params?.entry?.seq === 20)
    const events = client.messages.filter((message) => message.method === "session/event")
    expect(events.every((event) => event.params.subscription === result.subscription && !("id" in event))).toBe(true)
    expect(events.map((event) => event.params.entry.seq)).toEqual(Array.from({ length: 18 }, (_, n) => n + 3))
    expect(events[0].params.entry.at).toMatch(/^2025-06-15T15:06:40\.\d{3}Z$/)
  })

  it("come after the whole batch in which they were subscribed to", async () => {
    const { client } = await withSession()
    await client.request("session/ask", { session: "a", prompt: "x" })
    client.messages.length = 0
    client.send([subscribe(1, { session: "a", after: 0 }), ask(2, "slow 50")])
    await client.until((message) => message.method === "session/event")
    expect(client.messages[0]).toHaveLength(2)
  })

  it("end with their subscription, which is then unknown", async () => {
    const { client, stub } = await withSession()
    client.send(subscribe(1, { session: "a", after: 0 }))
    const { subscription } = (await client.answer(1)).result
    expect(stub.liveSubscriptions.count).toBe(1)
    expect((await client.request("session/unsubscribe", { subscription })).result).toEqual({})
    await deadline("its scope is closed", () => stub.liveSubscriptions.count === 0)
    await client.request("session/ask", { session: "a", prompt: "x" })
    expect(client.messages.filter((message) => message.method)).toEqual([])
    expect((await client.request("session/unsubscribe", { subscription })).error).toMatchObject({
      code: -32001,
      data: { tag: "SubscriptionNotFound", subscription },
    })
  })

  it("end with the removal of their session, after its last entry", async () => {
    const { client, stub } = await withSession()
    client.send(subscribe(1, { session: "a", after: 0 }))
    const { subscription } = (await client.answer(1)).result
    await client.request("session/ask", { session: "a", prompt: "x" })
    await client.request("session/remove", { session: "a" })
    await client.until((message) => message.params?.ended === true)
    const events = client.messages.filter(({ method }) => method === "session/event").map(({ params }) => params)
    expect(events.at(-2).entry.type).toBe("turn/ended")
    expect(events.at(-1)).toEqual({ subscription, ended: true })
    await deadline("its scope is closed", () => stub.liveSubscriptions.count === 0)
    expect((await client.request("session/unsubscribe", { subscription })).error.data.tag).toBe("SubscriptionNotFound")
  })

  it("are refused for sessions that are not there, and `after` without a session", async () => {
    const { client, stub } = await withSession()
    expect((await client.request("session/subscribe", { session: "b" })).error.data.tag).toBe("SessionNotFound")
    expect((await client.request("session/subscribe", { after: 3 })).error).toMatchObject({
      code: -32602,
      data: { issues: [{ path: "after" }] },
    })
    expect(stub.liveSubscriptions.count).toBe(0)
  })

  it("of a turn that is asked with stream all come before its answer, and those of no other turn", async () => {
    const { client, stub } = await withSession()
    client.send(ask(1, "stream 300", { stream: true }), ask(2, "stream 4", { stream: true }), ask(3, "stream 3"))
    await client.answer(3)
    const answer = await client.answer(1)
    await client.answer(2)
    const before = client.messages.slice(0, client.messages.indexOf(answer))
    const events = before.filter((message) => message.params?.request === 1).map((message) => message.params)
    expect(events.every((event) => event.turn === answer.result.id && event.entry.turn === event.turn)).toBe(true)
    expect(events.map((event) => event.entry.type)).toEqual([
      "turn/queued",
      "turn/started",
      ...Array.from({ length: 300 }, () => "turn/delta"),
      "turn/ended",
    ])
    expect(client.messages.filter((message) => message.params?.request === 2)).toHaveLength(7)
    expect(client.messages.filter((message) => message.params?.request === 3)).toHaveLength(0)
    await deadline("nothing stays subscribed", () => stub.liveSubscriptions.count === 0)
  })

  it("of a streamed turn stop when it is cancelled as a request", async () => {
    const { client, stub } = await withSession()
    client.send(ask(1, "hang", { stream: true }))
    await client.until((message) => message.method === "session/event")
    client.send(cancel(1))
    expect((await client.answer(1)).error.code).toBe(-32800)
    await deadline("nothing stays subscribed", () => stub.liveSubscriptions.count === 0)
  })
})

describe("bad input", () => {
  it("over the limit is answered once, skipped, and the connection goes on", async () => {
    const { client } = await withSession({ maxMessageBytes: 1000 })
    client.raw(`{"jsonrpc":"2.0","id":1,"method":"${"x".repeat(100_000)}`)
    client.raw(`${"x".repeat(100_000)}"}\n`)
    expect((await client.answer(null)).error).toMatchObject({
      code: -32600,
      data: { tag: "MessageTooLarge", limitBytes: 1000 },
    })
    await client.request("runtime/info")
    expect(client.messages).toHaveLength(2)
  })

  it("is answered in the framing in which it came", async () => {
    const stub = makeStub()
    const { client } = await open(stub)
    const seen: Array<string> = []
    client.stream.removeAllListeners("data")
    client.stream.on("data", (chunk: string) => seen.push(chunk))
    const framed = (text: string) => `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
    client.raw(framed('{"jsonrpc":"2.0","id":"é","method":"nope"}'))
    client.raw(framed("{"))
    await deadline("both are answered", () => seen.join("").includes("-32700"))
    const [, first = "", second = ""] =
      /^(Content-Length: \d+\r\n\r\n\{.*\})(Content-Length: .*)$/s.exec(seen.join("")) ?? []
    for (const message of [first, second]) {
      const [, length = "", body = ""] = /^Content-Length: (\d+)\r\n\r\n(.*)$/s.exec(message) ?? []
      expect(Buffer.byteLength(body)).toBe(Number(length))
      expect(JSON.parse(body)).toMatchObject({ jsonrpc: "2.0", error: {} })
    }
  })

  it("100,000 times over leaves the runtime answering the next valid request", async () => {
    const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31))
    console.log(`fuzz seed ${seed} (FUZZ_SEED=${seed} repeats it)`)
    let state = seed
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const names = [...contractMethods, ...notOffered, "$/cancelRequest", "nope", "__proto__", ""].filter(
      (name) => name !== "runtime/shutdown",
    )
    const values: ReadonlyArray<() => unknown> = [
      () => null,
      () => random(3) - 1,
      () => 1e300 * random(10),
      () => "a",
      () => "\u0000\ud800",
      () => true,
      () => [],
      () => ({}),
      () => [value(), value()],
      () => ({ [key()]: value(), [key()]: value() }),
    ]
    const keys = [
      "jsonrpc",
      "id",
      "method",
      "params",
      "session",
      "prompt",
      "__proto__",
      "constructor",
      "then",
      "toJSON",
      "",
    ]
    const key = () => keys[random(keys.length)] ?? ""
    const value = (): unknown => values[random(values.length)]?.()
    const valid = () => ({
      jsonrpc: random(8) === 0 ? value() : "2.0",
      id: random(3) === 0 ? value() : random(100),
      method: random(8) === 0 ? value() : names[random(names.length)],
      params: random(3) === 0 ? value() : { session: "a", prompt: "x", [key()]: value() },
    })
    const malformed = (): Buffer => {
      const kind = random(6)
      if (kind === 0) return Buffer.from(Array.from({ length: random(40) }, () => random(256)))
      if (kind === 1) return Buffer.from(JSON.stringify(value()) ?? "")
      const text = Buffer.from(JSON.stringify(random(5) === 0 ? [valid(), value(), valid()] : valid()))
      if (kind === 2) return text.subarray(0, random(text.length))
      if (kind === 3) text[random(text.length)] = random(256)
      if (kind === 4) return Buffer.concat([text, text.subarray(random(text.length))])
      return text
    }
    const { client, near } = await withSession()
    near.on("error", (error) => expect.fail(String(error)))
    for (let round = 0; round < 100; round++) {
      const lines = Array.from({ length: 1000 }, () => Buffer.concat([malformed(), Buffer.from("\n")]))
      client.raw(Buffer.concat(lines))
      client.send({ jsonrpc: "2.0", id: `round ${round}`, method: "runtime/health" })
      expect((await client.answer(`round ${round}`)).result.status).toBe("ok")
      expect(client.messages.every((each) => Array.isArray(each) || each.jsonrpc === "2.0")).toBe(true)
      client.messages.length = 0
    }
  })

  it("nested more deeply than any stack is answered, alone and as params", async () => {
    const { client } = await withSession()
    const deep = "[".repeat(200_000) + "]".repeat(200_000)
    client.raw(`${deep}\n`)
    client.raw(`{"jsonrpc":"2.0","id":1,"method":"session/start","params":{"command":"x","metadata":${deep}}}\n`)
    expect((await client.answer(1)).error.code).toBe(-32602)
    client.raw(`${"[".repeat(200_000)}\n`)
    await client.request("runtime/info")
  })
})
