/**
 * A real runtime under malformed HTTP, WebSocket frames and MCP: it goes on, and ends in order. CRECHE_FUZZ_INPUTS says how many of
 * each (default 1500; `CRECHE_FUZZ_INPUTS=100000 npm test -- test/acceptance/MalformedHttp.test.ts` is the long form).
 */
import { WebSocket } from "@effect/platform-node-shared/NodeWS"
import { mkdtempSync, rmSync } from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { routes } from "../../src/transport/HttpRoutes.ts"
import { initialize, malformed } from "../transport/McpMalformed.ts"
import { drawSeed, seeded } from "./Processes.ts"
import { freePort, ServedRuntime } from "./ServedRuntime.ts"

const inputs = Number(process.env["CRECHE_FUZZ_INPUTS"] ?? 1500)
const timeout = 180_000 + inputs * 10

let directory: string
let runtime: ServedRuntime
let port: number
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-fuzz-"))
  port = await freePort()
  runtime = new ServedRuntime(directory, ["--http", `127.0.0.1:${port}`, "--no-auth", "--demo"])
  await runtime.listening(60_000)
})
afterAll(async () => {
  const { code } = await runtime.kill("SIGTERM")
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  expect(code).toBe(0)
  expect(runtime.stderr).not.toMatch(/defect|internal error|at .*\.ts:\d/i)
})

/** Whether it still does what it is there for; sessions that there were may have been stopped. */
const expectAlive = async (name: string) => {
  expect(runtime.outcome).toBeUndefined()
  const post = async (path: string, body: object): Promise<unknown> => {
    const headers = { "Content-Type": "application/json" }
    const url = `http://127.0.0.1:${port}${path}`
    return (await fetch(url, { method: "POST", headers, body: JSON.stringify(body) })).json()
  }
  expect(await post("/v1/sessions", { name, command: "cat" })).toMatchObject({ name, status: "ready" })
  const turn = await post(`/v1/sessions/${name}/turns?wait=true`, { prompt: "alive" })
  expect(turn).toMatchObject({ status: "completed", text: "alive" })
}

/** So many at once, each as soon as one before it is over. */
const inParallel = async (width: number, one: (n: number) => Promise<void>) => {
  let next = 0
  const worker = async () => {
    while (next < inputs) await one(next++)
  }
  await Promise.all(Array.from({ length: width }, worker))
}

const junk = [
  "\r\n",
  "\n",
  "\0",
  "%",
  "%zz",
  "{",
  "]",
  '"',
  ":",
  " ",
  "?",
  "&",
  "/",
  "..",
  "ÿ",
  "\u2028",
  "chunked",
  "-1",
  "9".repeat(20),
]

const mutated = (random: () => number, given: string): string => {
  let text = given
  for (let n = 0; n <= Math.floor(random() * 4); n++) {
    const at = Math.floor(random() * text.length)
    const how = random()
    if (how < 0.3) text = text.slice(0, at) + text.slice(at + 1 + Math.floor(random() * 6))
    else if (how < 0.75) text = text.slice(0, at) + junk[Math.floor(random() * junk.length)]! + text.slice(at)
    else if (how < 0.9) text = text.slice(0, at)
    else text = text.slice(0, at) + text.slice(Math.floor(random() * text.length))
  }
  return text
}

describe(`${inputs} malformed inputs`, () => {
  it("as HTTP requests end no runtime", { timeout }, async () => {
    const random = seeded(drawSeed("malformed HTTP"))
    const pick = <A>(from: ReadonlyArray<A>): A => from[Math.floor(random() * from.length)]!
    const bodies = [
      '{"prompt":"/echo x"}',
      '{"name":"demo","command":"cat","ifExists":"return"}',
      '{"session":"demo","outcome":"allow","request":"r"}',
      '{"data":"eA==","encoding":"base64"}',
      "{}",
    ]
    const served = routes.filter(({ method }) => method !== "runtime/shutdown" && method !== "session/remove")
    const request = () => {
      const { verb, path } = pick(served)
      const body = verb === "GET" || verb === "DELETE" ? "" : pick(bodies)
      const query = pick(["", "?wait=true", "?stream=true", "?after=1&limit=5", "?types=note,output", "?status=ready"])
      const more = pick([
        "",
        "Idempotency-Key: k\r\n",
        "Last-Event-ID: 1\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: websocket\r\n",
      ])
      const at = path.replace(/\{(\w+)\}/g, (_, name: string) => (name === "session" ? "demo" : "x"))
      const type = body === "" ? "" : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`
      return `${verb} ${at}${query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${type}${more}\r\n${body}`
    }
    await inParallel(
      50,
      () =>
        new Promise((done) => {
          const socket = net.connect(port, "127.0.0.1")
          // Streams go on by themselves.
          const cut = setTimeout(() => socket.destroy(), 100)
          socket.on("error", () => {})
          socket.on("close", () => {
            clearTimeout(cut)
            done()
          })
          socket.resume()
          socket.end(Buffer.from(mutated(random, request()), random() < 0.5 ? "latin1" : "utf8"))
        }),
    )
    await expectAlive("after-http")
  })

  it("as WebSocket frames and as bytes behind an upgrade end no runtime", { timeout }, async () => {
    const random = seeded(drawSeed("malformed WebSocket"))
    const open = () =>
      new Promise<WebSocket>((resolve, reject) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`)
        socket.on("error", reject)
        socket.once("open", () => resolve(socket))
      })
    let socket = await open()
    for (let sent = 0; sent < inputs; sent++) {
      if (socket.readyState !== WebSocket.OPEN) socket = await open()
      const frame = malformed(random, sent)
      if (random() < 0.005) {
        // No frame at all.
        const raw = (socket as unknown as { readonly _socket: net.Socket })._socket
        raw.write(frame)
        await new Promise<void>((closed) => {
          const cut = setTimeout(() => socket.terminate(), 500)
          socket.once("close", () => {
            clearTimeout(cut)
            closed()
          })
        })
      } else {
        socket.send(frame, { binary: random() < 0.5 })
        if (sent % 200 === 0) await new Promise((resolve) => socket.ping(undefined, undefined, resolve))
      }
    }
    socket.terminate()
    await expectAlive("after-frames")
  })

  it("as messages of MCP over HTTP end no runtime", { timeout }, async () => {
    const random = seeded(drawSeed("malformed MCP over HTTP"))
    const agent = new http.Agent({ keepAlive: true, maxSockets: 20 })
    const post = (body: Buffer | string, session?: string) =>
      new Promise<http.IncomingHttpHeaders>((resolve) => {
        const headers = {
          "Content-Type": "application/json",
          Accept: "application/json, text/event-stream",
          ...(session === undefined ? {} : { "Mcp-Session-Id": session }),
        }
        const request = http.request(
          { host: "127.0.0.1", port, path: "/mcp", method: "POST", agent, headers },
          (response) => {
            // What waits for a turn is not waited for.
            const cut = setTimeout(() => response.destroy(), 300)
            response.resume()
            response.on("close", () => {
              clearTimeout(cut)
              resolve(response.headers)
            })
          },
        )
        request.on("error", () => resolve({}))
        request.end(body)
      })
    const begun = await post(JSON.stringify({ jsonrpc: "2.0", id: 0, ...initialize }))
    const session = begun["mcp-session-id"] as string
    expect(session).toBeDefined()
    await inParallel(20, async (n) => void (await post(malformed(random, n), random() < 0.9 ? session : undefined)))
    agent.destroy()
    await expectAlive("after-mcp")
  })
})
