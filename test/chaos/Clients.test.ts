import { connect as connectSocket, type Socket } from "node:net"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { eventually, noGuard } from "../acceptance/Processes.ts"
import { ChaosRuntime } from "./ChaosRuntime.ts"
import { isLong } from "./ChaosReport.ts"

const clients = isLong ? 10_000 : 1_000

const line = (id: number, method: string, params: object) =>
  `${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`

type Address = string | { readonly host: string; readonly port: number }

/** As a blocking connect does, waits where the queue of connections is full. */
const open = async (address: Address): Promise<Socket> => {
  let socket: Socket | undefined
  await eventually("a place in the queue of connections", async () => {
    socket = await connected(address).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "EAGAIN") return undefined
      throw error
    })
    return socket !== undefined
  })
  return socket!
}

const connected = (path: Address): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = typeof path === "string" ? connectSocket(path) : connectSocket(path)
    socket.on("error", reject)
    socket.once("connect", () => {
      socket.removeListener("error", reject)
      socket.on("error", () => {})
      resolve(socket)
    })
  })

describe.skipIf(noGuard !== undefined)("clients under attack", () => {
  let world: ChaosRuntime
  let port = 0
  beforeAll(async () => {
    world = await ChaosRuntime.open({
      faults: "47–50",
      title: "clients",
      flags: ["--http", "127.0.0.1:0", "--no-auth"],
    })
    port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(world.runtime.stderr)![1])
    await world.start({ name: "cat", command: "cat" })
  })
  afterAll(() => world?.discard())
  const serves = async () => expect((await world.ask("cat", "still here")).text).toBe("still here")

  it(`${clients} that connect and vanish in the middle of a request: the others are served, nothing of them stays`, async () => {
    const requests = [
      line(1, "session/ask", { session: "cat", prompt: "who asks" }),
      line(1, "session/subscribe", { session: "cat", after: 0 }),
      line(1, "session/transcript", { session: "cat" }),
      line(1, "session/list", {}),
      `Content-Length: 100\r\n\r\n{"jsonrpc"`,
      `[${line(1, "runtime/info", {}).trim()},`,
    ]
    for (let at = 0; at < clients; at += 100) {
      await Promise.all(
        Array.from({ length: 100 }, async () => {
          const socket = await open(world.random() < 0.8 ? world.runtime.socket : { host: "127.0.0.1", port })
          const text = world.pick(requests)
          socket.write(text.slice(0, world.below(text.length + 1)))
          if (world.random() < 0.5) socket.destroy()
          else socket.end(() => socket.destroy())
        }),
      )
      world.inject("client that vanishes", 100)
      await serves()
    }
    // What they asked for is answered to nobody; it ends all the same.
    await eventually("every turn ended", async () => {
      const { turns } = await world.client.request("session/get", { session: "cat" })
      return turns.queued === 0 && turns.running === 0
    })
  })

  it("a client that goes away while its ask runs: the turn ends and stays to be read", async () => {
    await world.start({ name: "slow", command: "sh", args: ["-c", "while read line; do sleep 0.2; echo $line; done"] })
    for (let round = 0; round < (isLong ? 50 : 5); round++) {
      const socket = await open(world.runtime.socket)
      const idempotencyKey = `key${round}`
      socket.write(line(1, "session/ask", { session: "slow", prompt: `answer ${round}`, idempotencyKey }))
      await eventually("the turn runs", async () => {
        const { turns } = await world.client.request("session/get", { session: "slow" })
        return turns.running === 1
      })
      socket.destroy()
      world.inject("client that goes away while its ask runs")
      // The same key is the same turn.
      const turn = await world.ask("slow", `answer ${round}`, { idempotencyKey })
      expect([turn.status, turn.text]).toEqual(["completed", `answer ${round}`])
      expect(await world.client.request("turn/get", { turn: turn.id })).toEqual(turn)
    }
    const { turns } = await world.client.request("session/get", { session: "slow" })
    expect(turns.completed).toBe(isLong ? 50 : 5)
  })

  it("connections that say a byte now and then, and bodies without end, cost nobody else anything", async () => {
    const head = `POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n`
    const slow: Array<Socket> = []
    for (let at = 0; at < 200; at++) {
      const socket = await open({ host: "127.0.0.1", port })
      socket.write(head.slice(0, 1 + world.below(head.length)))
      slow.push(socket)
    }
    world.inject("slow-loris", slow.length)
    const before = world.memory
    const endless = await open({ host: "127.0.0.1", port })
    let answer = ""
    endless.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")))
    const closed = new Promise((resolve) => endless.once("close", resolve))
    endless.write(`${head}Transfer-Encoding: chunked\r\n\r\n`)
    const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`
    world.inject("body without end")
    for (let at = 0; at < 4096 && !endless.destroyed; at++) {
      if (!endless.write(chunk)) await Promise.race([new Promise((resolve) => endless.once("drain", resolve)), closed])
      if (at % 64 === 0) await serves()
      for (const socket of at % 64 === 0 ? slow : []) if (!socket.destroyed) socket.write("X")
      if (answer !== "") break
    }
    expect(answer).toContain("413")
    expect(world.memory - before).toBeLessThan(96 * 2 ** 20)
    endless.destroy()
    for (const socket of slow) socket.destroy()
    await serves()
  })

  it("nothing is left of any of it", () => world.finish())
})
