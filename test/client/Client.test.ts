import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Client, connect, CrecheError } from "../../src/client/index.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { deadline } from "../transport/Client.ts"
import { makeStub, type Stub } from "../transport/StubRuntime.ts"

let directory: string
let scope: Scope.Closeable
let stub: Stub
let client: Client
const socket = () => path.join(directory, "s")

beforeEach(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "creche-client-"))
  scope = Scope.makeUnsafe()
  stub = makeStub({ total: 100_000, text: "x".repeat(200) })
  stub.session({ name: "a" })
  stub.session({ name: "flood" })
  await Effect.runPromise(
    UnixSocket.serve({ path: socket(), closeMs: 50 }).pipe(Scope.provide(scope), Effect.provide(stub.layer)),
  )
  client = await connect({ socket: socket() })
})
afterEach(async () => {
  await client.close()
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

describe("the client", () => {
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
        expect(stub.pulled.entries).toBeLessThan(10_000)
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

  it("says that no runtime is there, and what to do", async () => {
    const none = await failureOf(connect({ socket: path.join(directory, "none") }))
    expect(none).toMatchObject({ tag: "NoRuntime", data: { errno: "ENOENT" } })
    expect(none.message).toContain("creche serve")
    fs.writeFileSync(path.join(directory, "file"), "")
    expect((await failureOf(connect({ socket: path.join(directory, "file") }))).tag).toBe("NoRuntime")
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
    expect(loaded.length).toBeLessThan(8)
  })
})
