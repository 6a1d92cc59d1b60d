import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import type { SocketError } from "../../src/transport/SocketPath.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { connect, deadline } from "./Client.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

let directory: string
let scopes: Array<Scope.Closeable> = []
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "creche-socket-"))
})
afterEach(async () => {
  for (const scope of scopes) await Effect.runPromise(Scope.close(scope, Exit.void))
  scopes = []
  fs.rmSync(directory, { recursive: true, force: true })
})

const at = (name: string) => path.join(directory, name)

const serve = async (stub: Stub, options: UnixSocket.UnixSocketOptions) => {
  const scope = Scope.makeUnsafe()
  scopes.push(scope)
  const listening = await Effect.runPromise(
    UnixSocket.serve(options).pipe(Scope.provide(scope), Effect.provide(stub.layer)),
  )
  return { ...listening, close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

const failure = async (options: UnixSocket.UnixSocketOptions): Promise<SocketError> => {
  const scope = Scope.makeUnsafe()
  scopes.push(scope)
  return Effect.runPromise(
    Effect.flip(UnixSocket.serve(options)).pipe(Scope.provide(scope), Effect.provide(makeStub().layer)),
  )
}

const mode = (file: string) => (fs.lstatSync(file).mode & 0o777).toString(8)

/** A socket file whose listener was killed. */
const leaveStale = (file: string) => {
  const script = `require("net").createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, "SIGKILL"))`
  spawnSync(process.execPath, ["-e", script])
  expect(fs.lstatSync(file).isSocket()).toBe(true)
}

describe("the socket file", () => {
  it("is its owner's alone, and so is a directory made for it", async () => {
    const before = process.umask()
    await serve(makeStub(), { path: at("new/deeper/s.sock") })
    expect(mode(at("new/deeper/s.sock"))).toBe("600")
    expect(mode(at("new/deeper"))).toBe("700")
    expect(process.umask()).toBe(before)
    expect(fs.readdirSync(at("new/deeper"))).toEqual(["s.sock"])
  })

  it("is removed when the listener closes, and a second close finds nothing to do", async () => {
    const { close } = await serve(makeStub(), { path: at("s") })
    await close()
    expect(fs.readdirSync(directory)).toEqual([])
    await close()
  })

  it("of another is not removed at the close", async () => {
    const { close } = await serve(makeStub(), { path: at("s") })
    fs.rmSync(at("s"))
    const other = await serve(makeStub(), { path: at("s") })
    await close()
    const client = await connect(other.path)
    expect((await client.request("runtime/health")).result.status).toBe("ok")
    client.stream.destroy()
  })

  it("left behind by a killed runtime is replaced", async () => {
    leaveStale(at("s"))
    const { path: served } = await serve(makeStub(), { path: at("s") })
    const client = await connect(served)
    expect((await client.request("runtime/health")).result.status).toBe("ok")
    client.stream.destroy()
    expect(fs.readdirSync(directory)).toEqual(["s"])
  })

  it("that another runtime listens on is left to it", async () => {
    const first = await serve(makeStub(), { path: at("s") })
    const error = await failure({ path: at("s") })
    expect(error._tag).toBe("SocketInUse")
    expect(error.message).toContain(`another runtime is listening on ${at("s")}`)
    const client = await connect(first.path)
    expect((await client.request("runtime/health")).result.status).toBe("ok")
    client.stream.destroy()
    expect(fs.readdirSync(directory)).toEqual(["s"])
  })

  it("goes to exactly one of many runtimes that find it stale at once", async () => {
    for (let round = 0; round < 10; round++) {
      const file = at(`s${round}`)
      leaveStale(file)
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, () => {
          const scope = Scope.makeUnsafe()
          scopes.push(scope)
          return Effect.runPromise(
            Effect.exit(UnixSocket.serve({ path: file }).pipe(Scope.provide(scope), Effect.provide(makeStub().layer))),
          )
        }),
      )
      expect(outcomes.filter(Exit.isSuccess)).toHaveLength(1)
      const client = await connect(file)
      client.stream.destroy()
    }
  })

  it("goes to exactly one of several processes that find it stale at once", async () => {
    const file = at("s")
    leaveStale(file)
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, [new URL("./socketServer.ts", import.meta.url).pathname, file], {
        stdio: ["pipe", "pipe", "inherit"],
      }),
    )
    const exits = children.map((child) => new Promise((resolve) => child.once("exit", resolve)))
    const said = await Promise.all(
      children.map(
        (child) => new Promise<string>((resolve) => child.stdout.once("data", (data) => resolve(String(data).trim()))),
      ),
    )
    expect(said.toSorted()).toEqual(["SocketInUse", "SocketInUse", "SocketInUse", "listening"])
    const client = await connect(file)
    expect((await client.request("runtime/health")).result.status).toBe("ok")
    client.stream.destroy()
    for (const child of children) child.stdin.end()
    await Promise.all(exits)
    expect(fs.readdirSync(directory)).toEqual([])
  })

  it("is not made over a file, a directory or a link, which stay as they are", async () => {
    fs.writeFileSync(at("file"), "precious")
    fs.mkdirSync(at("directory"))
    fs.symlinkSync(at("nowhere"), at("link"))
    for (const [name, kind] of [
      ["file", "a file"],
      ["directory", "a directory"],
      ["link", "a symbolic link"],
    ] as const) {
      expect(await failure({ path: at(name) })).toMatchObject({ _tag: "NotASocket", path: at(name), kind })
    }
    expect(fs.readFileSync(at("file"), "utf8")).toBe("precious")
    expect(fs.readdirSync(directory).toSorted()).toEqual(["directory", "file", "link"])
  })

  it("whose path is too long is refused with the limit and the remedy; one that just fits is served", async () => {
    const room = 107 - Buffer.byteLength(directory) - 1
    const error = await failure({ path: at("s".repeat(room + 1)) })
    expect(error).toMatchObject({ _tag: "SocketPathTooLong", maxBytes: process.platform === "linux" ? 107 : 103 })
    expect(error.message).toMatch(/has 108 bytes.*107.*CRECHE_SOCKET/)
    expect((await failure({ path: at("é".repeat(room)) }))._tag).toBe("SocketPathTooLong")
    if (process.platform === "linux") await serve(makeStub(), { path: at("s".repeat(room)) })
  })

  it("in a place that cannot hold it is refused by name", async () => {
    fs.writeFileSync(at("file"), "")
    const error = await failure({ path: at("file/s") })
    expect(error._tag).toBe("SocketFailed")
    expect(error.message).toContain("not a directory")
  })
})

describe("clients of the socket", () => {
  it("are served by the hundreds at once", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served, connections } = await serve(stub, { path: at("s") })
    const clients = await Promise.all(Array.from({ length: 300 }, () => connect(served)))
    await Promise.all(
      clients.map(async (client, n) => {
        for (let k = 0; k < 5; k++) {
          const { result } = await client.request("session/ask", { session: "a", prompt: `${n}-${k}` })
          expect(result.text).toBe(`echo ${n}-${k}`)
        }
      }),
    )
    expect(connections()).toBe(300)
    for (const client of clients) client.stream.destroy()
    await deadline("all are gone", () => connections() === 0)
  })

  it("that vanish in the middle of an ask leave no ask, no subscription and no connection behind", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served, connections } = await serve(stub, { path: at("s") })
    const clients = await Promise.all(Array.from({ length: 50 }, () => connect(served)))
    for (const client of clients) {
      const params = { session: "a", prompt: "hang" }
      client.send({ jsonrpc: "2.0", id: 1, method: "session/subscribe", params: { session: "a" } })
      client.send({ jsonrpc: "2.0", id: 2, method: "session/ask", params })
      client.send({ jsonrpc: "2.0", id: 3, method: "session/ask", params: { ...params, stream: true } })
    }
    await deadline("all wait", () => stub.turns().length === 100 && stub.liveSubscriptions.count === 100)
    for (const client of clients) client.stream.destroy()
    await deadline("all are gone", () => connections() === 0 && stub.liveSubscriptions.count === 0)
    expect(stub.asks.waiting).toBe(0)
    const last = await connect(served)
    expect((await last.request("turn/get", { turn: stub.turns()[0] })).result.status).toBe("running")
    last.stream.destroy()
  })

  it("that are killed in the middle of a message are gone without a trace", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served, connections } = await serve(stub, { path: at("s") })
    const script = `const s = require("net").connect(${JSON.stringify(served)}, () => {
      s.write('{"jsonrpc":"2.0","id":1,"method":"session/ask","params":{"session":"a","prompt":"hang"}}\\n{"jsonrpc":', () =>
        process.stdout.write("sent"))})`
    const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] })
    await new Promise((resolve) => child.stdout.once("data", resolve))
    await deadline("it waits", () => stub.asks.waiting === 1)
    child.kill("SIGKILL")
    await deadline("it is gone", () => connections() === 0 && stub.asks.waiting === 0)
  })

  it("that close only their sending half get what they asked for, and then the end", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served, connections } = await serve(stub, { path: at("s") })
    const client = await connect(served)
    client.stream.end('{"jsonrpc":"2.0","id":1,"method":"session/ask","params":{"session":"a","prompt":"slow 700"}}')
    expect((await client.answer(1)).result.text).toBe("echo slow 700")
    await client.closed
    await deadline("it is gone", () => connections() === 0)
  })

  it("that close their sending half after a subscription get its events until they are gone", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served, connections } = await serve(stub, { path: at("s") })
    const client = await connect(served)
    const write = vi.spyOn(net.Socket.prototype, "write")
    client.stream.end('{"jsonrpc":"2.0","id":1,"method":"session/subscribe","params":{"session":"a"}}\n')
    await client.answer(1)
    const other = await connect(served)
    // The first look at whether the peer is still there comes at once, the second when its timer ran out.
    const looks = () => write.mock.calls.filter(([data]) => data === "").length
    await deadline("it was looked after twice", () => looks() >= 2)
    write.mockRestore()
    await other.request("session/ask", { session: "a", prompt: "x" })
    await client.until((message) => message.params?.entry?.type === "turn/ended")
    client.stream.destroy()
    other.stream.destroy()
    await deadline("both are gone", () => connections() === 0 && stub.liveSubscriptions.count === 0)
  })

  it("that never read do not cost memory, however much there is for them, and hold up nobody else", async () => {
    const stub = makeStub({ total: 100_000, text: "x".repeat(2000) })
    stub.session({ name: "flood" })
    stub.session({ name: "a" })
    const { path: served } = await serve(stub, { path: at("s") })
    const deaf = await new Promise<net.Socket>((resolve) => {
      const socket = net.connect(served, () => resolve(socket))
    })
    deaf.pause()
    const subscription = { jsonrpc: "2.0", id: 1, method: "session/subscribe", params: { session: "flood", after: 0 } }
    deaf.write(`${JSON.stringify(subscription)}\n`)
    const reading = await connect(served)
    reading.stream.removeAllListeners("data")
    const received = { bytes: 0 }
    reading.stream.on("data", (chunk: string) => (received.bytes += chunk.length))
    reading.send(subscription)
    const other = await connect(served)
    let asked = 0
    while (received.bytes < 200_000_000) {
      await other.request("session/ask", { session: "a", prompt: "x" })
      asked++
    }
    // The reader has had it all; of the deaf one's nothing was pulled beyond a batch and what the socket buffers.
    expect(stub.pulled.entries - 100_000).toBeLessThan(2000)
    expect(asked).toBeGreaterThan(20)
    for (const socket of [deaf, reading.stream, other.stream]) socket.destroy()
  })

  it("that ask and never read are not read from any more, and go on when they read again", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served } = await serve(stub, { path: at("s") })
    const client = await connect(served)
    client.stream.pause()
    const prompt = "y".repeat(20_000)
    const requests = 5000
    for (let id = 0; id < requests; id++) {
      client.send({ jsonrpc: "2.0", id, method: "session/tell", params: { session: "a", prompt } })
    }
    let before = -1
    await deadline("the runtime stops taking more", () => {
      const now = stub.turns().length
      const still = now === before && now > 0
      before = now
      return still
    })
    expect(stub.turns().length).toBeLessThan(200)
    client.stream.resume()
    await deadline("all are answered", () => client.messages.length === requests, 20_000)
    client.stream.destroy()
  })

  it("get the answers that are due when the listener closes", async () => {
    const stub = makeStub()
    stub.session({ name: "a" })
    const { path: served, close } = await serve(stub, { path: at("s") })
    const client = await connect(served)
    client.send({ jsonrpc: "2.0", id: 1, method: "session/ask", params: { session: "a", prompt: "slow 100" } })
    client.send({ jsonrpc: "2.0", id: 2, method: "session/ask", params: { session: "a", prompt: "x" } })
    await client.answer(2)
    await close()
    expect((await client.answer(1)).result.text).toBe("echo slow 100")
    client.stream.end()
    await client.closed
  })

  it("do not hold up the close of the listener by never reading or never being answered", async () => {
    const stub = makeStub({ total: 100_000, text: "x".repeat(2000) })
    stub.session({ name: "a" })
    stub.session({ name: "flood" })
    const { path: served, close } = await serve(stub, { path: at("s"), closeMs: 50 })
    const deaf = await connect(served)
    deaf.stream.pause()
    deaf.send({ jsonrpc: "2.0", id: 1, method: "session/subscribe", params: { session: "flood", after: 0 } })
    const waits = await connect(served)
    waits.send({ jsonrpc: "2.0", id: 1, method: "session/ask", params: { session: "a", prompt: "hang" } })
    await deadline("both are under way", () => stub.asks.waiting === 1 && stub.pulled.entries > 0)
    await close()
    await deadline("nothing stays", () => stub.asks.waiting === 0 && stub.liveSubscriptions.count === 0)
    deaf.stream.destroy()
  })
})
