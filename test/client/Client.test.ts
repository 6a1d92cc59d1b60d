import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Client, connect, CrecheError } from "../../src/client/index.ts"
import * as Http from "../../src/transport/Http.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { deadline } from "../transport/Client.ts"
import { makeStub, type Stub } from "../transport/StubRuntime.ts"

let directory: string
let scope: Scope.Closeable
let stub: Stub
let client: Client
let url: string
const socket = () => path.join(directory, "s")

beforeEach(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "creche-client-"))
  scope = Scope.makeUnsafe()
  stub = makeStub({ total: 100_000, text: "x".repeat(200) })
  stub.session({ name: "a" })
  stub.session({ name: "flood" })
  const serving = Effect.gen(function* () {
    yield* UnixSocket.serve({ path: socket(), closeMs: 50 })
    return yield* Http.serve({ address: { host: "127.0.0.1", port: 0 }, tokens: null, closeMs: 50 })
  })
  ;({ url } = await Effect.runPromise(serving.pipe(Scope.provide(scope), Effect.provide(stub.layer))))
})
afterEach(async () => {
  await client?.close()
  await Effect.runPromise(Scope.close(scope, Exit.void))
  fs.rmSync(directory, { recursive: true, force: true })
})

const failureOf = async (promise: Promise<unknown>): Promise<CrecheError> => {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(CrecheError)
  return error as CrecheError
}

describe.each(["unix socket", "WebSocket"] as const)("the client over a %s", (way) => {
  beforeEach(async () => {
    client = await connect(way === "WebSocket" ? { url } : { socket: socket() })
  })

  it("starts, asks, tells and waits", async () => {
    const session = await client.start({ name: "b", command: "cat" })
    expect(session).toMatchObject({ name: "b", status: "ready" })
    expect((await client.ask({ session: "b", prompt: "hi" })).text).toBe("echo hi")
    const told = await client.tell({ session: "b", prompt: "slow 20" })
    expect((await client.request("turn/wait", { turn: told.id })).status).toBe("completed")
  })

  it("matches a thousand answers to their questions", async () => {
    const prompts = Array.from({ length: 900 }, (_, n) => (n % 3 === 0 ? `slow ${n % 17}` : `p${n}`))
    const turns = await Promise.all(prompts.map((prompt) => client.ask({ session: "a", prompt })))
    expect(turns.map((turn) => turn.text)).toEqual(prompts.map((prompt) => `echo ${prompt}`))
  })

  it("fails with the code, the tag and the identity of the runtime's error", async () => {
    const missing = await failureOf(client.request("session/get", { session: "nobody" }))
    expect(missing).toMatchObject({ code: -32001, tag: "SessionNotFound", data: { session: "nobody" } })
    expect(missing.message).toContain("nobody")
    const wrong = await failureOf(client.start({ command: "" }))
    expect(wrong).toMatchObject({ code: -32602, tag: "InvalidParams", data: { issues: [{ path: "command" }] } })
    const unknown = await failureOf(client.request("nope" as "runtime/info", {}))
    expect(unknown).toMatchObject({ code: -32601, tag: "MethodNotFound" })
    expect(unknown.message).toContain("nope")
  })

  it("hands over a turn's entries as they come, all before the answer", async () => {
    const types: Array<string> = []
    const turn = await client.ask({ session: "a", prompt: "stream 3" }, { onEntry: (entry) => types.push(entry.type) })
    expect(turn.status).toBe("completed")
    expect(types).toEqual(["turn/queued", "turn/started", "turn/delta", "turn/delta", "turn/delta", "turn/ended"])
  })

  it("hands over one entry at a time to a listener that takes its time, and reads no more meanwhile", async () => {
    let working = 0
    let most = 0
    const types: Array<string> = []
    const asked = client.ask(
      { session: "a", prompt: "stream 50" },
      {
        onEntry: async (entry) => {
          most = Math.max(most, ++working)
          await new Promise((resolve) => setImmediate(resolve))
          types.push(entry.type)
          working--
        },
      },
    )
    expect(await client.request("session/get", { session: "a" })).toMatchObject({ name: "a" })
    expect((await asked).status).toBe("completed")
    expect({ most, working }).toEqual({ most: 1, working: 0 })
    expect(types).toHaveLength(53)
    expect(types.at(-1)).toBe("turn/ended")
  })

  it("is over when a listener's promise fails, and leaves no ask waiting", async () => {
    const onEntry = (entry: { readonly type: string }) =>
      entry.type === "turn/ended" ? Promise.reject(new Error("the listener broke")) : undefined
    const failed = await failureOf(client.ask({ session: "a", prompt: "stream 2" }, { onEntry }))
    expect(failed.tag).toBe("ConnectionLost")
    expect(failed.message).toContain("the listener broke")
  })

  it("does not send a message that a runtime would skip, and goes on", async () => {
    const prompt = "x".repeat(16 * 1024 * 1024)
    const refused = await failureOf(client.ask({ session: "a", prompt }))
    expect(refused).toMatchObject({ tag: "MessageTooLarge", data: { limitBytes: 16 * 1024 * 1024 } })
    // In bytes, not in characters.
    expect((await failureOf(client.ask({ session: "a", prompt: "ä".repeat(9_000_000) }))).tag).toBe("MessageTooLarge")
    expect((await client.ask({ session: "a", prompt: "hi" })).text).toBe("echo hi")
  })

  it("cancels a request whose signal aborts, before or after it was sent", async () => {
    const controller = new AbortController()
    const asked = client.ask({ session: "a", prompt: "hang" }, { signal: controller.signal })
    await deadline("it waits", () => stub.asks.waiting === 1)
    controller.abort()
    expect(await failureOf(asked)).toMatchObject({ code: -32800, tag: "RequestCancelled" })
    expect((await failureOf(client.ask({ session: "a", prompt: "hang" }, { signal: AbortSignal.abort() }))).tag).toBe(
      "RequestCancelled",
    )
    expect(stub.asks.waiting).toBe(0)
  })

  it("gives a subscription's events in order, from the first, and ends it when the loop is left", async () => {
    for (let n = 0; n < 5; n++) await client.ask({ session: "a", prompt: "x" })
    const subscription = await client.subscribe({ session: "a", after: 3 })
    const seen: Array<number> = []
    for await (const event of subscription) {
      if ("entry" in event) seen.push(event.entry.seq)
      if (seen.length === 9) await client.ask({ session: "a", prompt: "x" })
      if (seen.length === 15) break
    }
    expect(seen).toEqual(Array.from({ length: 15 }, (_, n) => n + 4))
    await deadline("the runtime forgot it", () => stub.liveSubscriptions.count === 0)
  })

  it("ends the loop of a subscription whose session is removed, and tells it from a lost connection", async () => {
    await client.start({ name: "gone", command: "cat" })
    const subscription = await client.subscribe({ session: "gone", after: 0 })
    await client.ask({ session: "gone", prompt: "x" })
    await client.request("session/remove", { session: "gone" })
    const seen: Array<string> = []
    for await (const event of subscription) if ("entry" in event) seen.push(event.entry.type)
    expect([seen.at(-1), subscription.ending()]).toEqual(["turn/ended", "removed"])
    await deadline("the runtime forgot it", () => stub.liveSubscriptions.count === 0)
  })

  it("iterates over a whole transcript, a history and the sessions, page by page", async () => {
    for (let n = 0; n < 5; n++) await client.ask({ session: "a", prompt: `p${n}` })
    const seqs: Array<number> = []
    for await (const entry of client.transcript({ session: "a", pageSize: 4 })) seqs.push(entry.seq)
    expect(seqs).toEqual(Array.from({ length: 15 }, (_, n) => n + 1))
    const prompts: Array<unknown> = []
    for await (const turn of client.history({ session: "a", pageSize: 2 })) prompts.push(turn.prompt)
    expect(prompts).toEqual(["p4", "p3", "p2", "p1", "p0"])
    const names: Array<string> = []
    for await (const session of client.sessions({ pageSize: 1 })) names.push(session.name)
    expect(names).toEqual(["a", "flood"])
    expect((await client.search({ query: "p3", session: "a" })).map((hit) => hit.snippet)).toEqual(["p3"])
    expect((await failureOf(client.transcript({ session: "nobody" }).next())).tag).toBe("SessionNotFound")
  })

  it("gives up an iteration whose signal aborts", async () => {
    const controller = new AbortController()
    const entries = client.transcript({ session: "flood", pageSize: 10 }, { signal: controller.signal })
    expect((await entries.next()).value).toMatchObject({ seq: 1 })
    controller.abort()
    const rest = async () => {
      for await (const _ of entries);
    }
    expect((await failureOf(rest())).tag).toBe("RequestCancelled")
  })

  it("holds few events for a slow loop, and still answers requests made inside it", async () => {
    let seen = 0
    for await (const event of await client.subscribe({ session: "flood", after: 0 })) {
      expect("entry" in event && event.entry.seq).toBe(++seen)
      if (seen === 1) {
        let before = -1
        await deadline("the runtime has stopped pulling", () => {
          const still = stub.pulled.entries === before
          before = stub.pulled.entries
          return still
        })
        // What the kernel holds for TCP is more than for a unix socket.
        expect(stub.pulled.entries).toBeLessThan(way === "WebSocket" ? 60_000 : 10_000)
      }
      if (seen % 10_000 === 0) expect((await client.ask({ session: "a", prompt: "x" })).text).toBe("echo x")
      if (seen === 100_000) break
    }
    expect(seen).toBe(100_000)
  })

  it("fails what is asked, and ends what is subscribed to, when the runtime goes away", async () => {
    const asked = failureOf(client.ask({ session: "a", prompt: "hang" }))
    const subscription = await client.subscribe({ session: "a" })
    await Effect.runPromise(Scope.close(scope, Exit.void))
    for await (const _ of subscription) expect.fail("an event")
    expect((await asked).tag).toBe("ConnectionLost")
    await client.closed
    expect((await failureOf(client.request("runtime/info", {}))).tag).toBe("ConnectionLost")
    await subscription.close()
  })
})

describe("connecting", () => {
  it("fails what waits when the runtime refuses a message without knowing whose it was", async () => {
    const strict = path.join(directory, "strict")
    await Effect.runPromise(
      UnixSocket.serve({ path: strict, closeMs: 50, maxMessageBytes: 1000 }).pipe(
        Scope.provide(scope),
        Effect.provide(stub.layer),
      ),
    )
    const other = await connect({ socket: strict })
    const refused = await failureOf(other.ask({ session: "a", prompt: "x".repeat(2000) }))
    expect(refused).toMatchObject({ tag: "MessageTooLarge", data: { limitBytes: 1000 } })
    expect((await other.ask({ session: "a", prompt: "hi" })).text).toBe("echo hi")
    await other.close()
  })

  it("ends a subscription that the runtime ended, and says why", async () => {
    const ending = path.join(directory, "ending")
    const server = net.createServer((stream) => {
      stream.on("data", () => {
        const event = { jsonrpc: "2.0", method: "session/event", params: { subscription: "s1", ended: true } }
        stream.write(
          `${JSON.stringify({ jsonrpc: "2.0", id: 1, result: { subscription: "s1" } })}\n${JSON.stringify(event)}\n`,
        )
      })
    })
    await new Promise<void>((resolve) => server.listen(ending, resolve))
    const other = await connect({ socket: ending })
    const subscription = await other.subscribe({ session: "a" })
    for await (const _ of subscription) expect.fail("an event")
    expect(subscription.ending()).toBe("removed")
    await other.close()
    server.close()
  })

  it("says that no runtime is there, and what to do", async () => {
    const none = await failureOf(connect({ socket: path.join(directory, "none") }))
    expect(none).toMatchObject({ tag: "NoRuntime", data: { errno: "ENOENT" } })
    expect(none.message).toContain("creche serve")
    fs.writeFileSync(path.join(directory, "file"), "")
    expect((await failureOf(connect({ socket: path.join(directory, "file") }))).tag).toBe("NoRuntime")
  })

  it.skipIf(process.platform !== "linux")(
    "waits where more connections wait than are taken, as long as it may",
    async () => {
      const busy = path.join(directory, "busy")
      const script = `require("node:net").createServer((c) => c.resume()).listen({ path: process.argv[1], backlog: 1 }, () => console.log("listens"))`
      const server = spawn(process.execPath, ["-e", script, busy], { stdio: ["ignore", "pipe", "inherit"] })
      const waiting: Array<net.Socket> = []
      try {
        await once(server.stdout, "data")
        server.kill("SIGSTOP")
        let isFull = false
        await deadline("the queue is full", () => {
          const one = net
            .connect(busy)
            .on("error", (error: NodeJS.ErrnoException) => (isFull ||= error.code === "EAGAIN"))
          waiting.push(one)
          return isFull
        })
        const late = await failureOf(connect({ socket: busy, timeoutMs: 50 }))
        expect(late).toMatchObject({ tag: "NoRuntime", data: { errno: expect.stringMatching(/EAGAIN|ETIMEDOUT/) } })
        const waits = connect({ socket: busy })
        for (const one of waiting) one.destroy()
        server.kill("SIGCONT")
        await (await waits).close()
      } finally {
        server.kill("SIGKILL")
      }
    },
  )

  it("finds the socket as the CLI does, where none is named", async () => {
    const before = process.env["CRECHE_SOCKET"]
    process.env["CRECHE_SOCKET"] = socket()
    try {
      for (const found of [await connect(), await connect({ socket: undefined })]) {
        expect((await found.ask({ session: "a", prompt: "hi" })).text).toBe("echo hi")
        await found.close()
      }
    } finally {
      if (before === undefined) delete process.env["CRECHE_SOCKET"]
      else process.env["CRECHE_SOCKET"] = before
    }
  })

  it.each([
    ["/a/path", "a string"],
    [null, "null"],
    [{ socket: 7 }, "socket"],
    [{ path: "/s" }, "path"],
  ])("says what is wrong with %j as what to connect to", async (wrong, named) => {
    await expect(connect(wrong as never)).rejects.toThrow(named)
  })

  it("is lost, not broken, where the other side speaks something else", async () => {
    const other = path.join(directory, "other")
    const server = net.createServer((socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))
    await new Promise<void>((resolve) => server.listen(other, resolve))
    const confused = await connect({ socket: other })
    expect((await failureOf(confused.request("runtime/info", {}))).tag).toBe("ConnectionLost")
    server.close()
  })

  it("loads nothing of Effect", () => {
    const script = `
      const { registerHooks } = require("node:module")
      registerHooks({ load(url, context, next) { console.log(url); return next(url, context) } })
      import(process.argv[1])`
    const index = new URL("../../src/client/index.ts", import.meta.url)
    const { stdout, status } = spawnSync(process.execPath, ["-e", script, index.href], { encoding: "utf8" })
    expect(status).toBe(0)
    const loaded = stdout
      .trim()
      .split("\n")
      .filter((url) => url.startsWith("file:"))
    expect(loaded).toContain(index.href)
    expect(loaded.filter((url) => url.includes("node_modules"))).toEqual([])
    // What only some programs need (reconnecting, spawning, WebSockets) is loaded when they ask for it.
    expect(loaded.length).toBeLessThan(14)
  })
})
