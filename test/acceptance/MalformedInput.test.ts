import { spawn, type ChildProcess } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { connect as connectSocket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Duplex } from "node:stream"
import { Duplex as DuplexStream } from "node:stream"
import { describe, expect, it } from "vitest"
import { drawSeed, eventually, seeded } from "./Processes.ts"

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))
const inputs = 100_000

const requests = [
  { jsonrpc: "2.0", id: 1, method: "runtime/info", params: {} },
  { jsonrpc: "2.0", id: "a", method: "session/get", params: { session: "demo" } },
  { jsonrpc: "2.0", method: "session/list", params: { limit: 3 } },
  { jsonrpc: "2.0", id: null, method: "session/transcript", params: { session: "x", after: -1 } },
]
const junk = [
  "\u0000",
  "\ufffd",
  "[",
  "]",
  "{",
  "}",
  '"',
  "\\",
  ",",
  ":",
  "-",
  "1e999",
  "\r",
  "null",
  "\u2028",
  "\ud800",
  "]]]]",
  "{}",
]

/** A line that was a request, or a batch of them, until something happened to it. */
const malformed = (random: () => number): Buffer => {
  const pick = <A>(from: ReadonlyArray<A>): A => from[Math.floor(random() * from.length)]!
  const kind = random()
  if (kind < 0.1)
    return Buffer.from(Array.from({ length: 1 + Math.floor(random() * 40) }, () => Math.floor(random() * 256)))
  let text = JSON.stringify(kind < 0.3 ? [pick(requests), pick(requests)] : pick(requests))
  for (let i = 0; i <= Math.floor(random() * 4); i++) {
    const at = Math.floor(random() * text.length)
    const how = random()
    if (how < 0.35) text = text.slice(0, at) + text.slice(at + 1 + Math.floor(random() * 5))
    else if (how < 0.7) text = text.slice(0, at) + pick(junk) + text.slice(at)
    else text = text.slice(0, at)
  }
  return Buffer.from(text)
}

/** Sends the flood in pieces of any size and reads all the while; then one valid request must be answered. */
const flood = async (stream: Duplex, seed: number): Promise<void> => {
  const random = seeded(seed)
  let tail = ""
  stream.on("data", (chunk: Buffer) => {
    tail = (tail + chunk.toString("latin1")).slice(-200_000)
  })
  stream.on("error", () => {})
  for (let sent = 0; sent < inputs;) {
    const lines: Array<Buffer> = []
    for (let i = 0; i < 500 && sent < inputs; i++, sent++) lines.push(malformed(random), Buffer.from("\n"))
    const block = Buffer.concat(lines)
    const cut = Math.floor(random() * block.length)
    stream.write(block.subarray(0, cut))
    if (!stream.write(block.subarray(cut))) await new Promise((resolve) => stream.once("drain", resolve))
  }
  stream.write(`\n${JSON.stringify({ jsonrpc: "2.0", id: "the valid one", method: "runtime/info" })}\n`)
  await eventually(
    "the valid request is answered",
    () => tail.split("\n").some((line) => line.includes('"the valid one"') && line.includes('"protocolVersion":1')),
    60_000,
  )
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))

describe("100,000 malformed inputs", () => {
  it("on the unix socket: the runtime answers the next valid request, there and on a new connection", async () => {
    const directory = mkdtempSync(join(tmpdir(), "creche-fuzz-"))
    const socket = join(directory, "s")
    const runtime = spawn(process.execPath, [bin, "serve", "--demo", "--data", directory, "--socket", socket], {
      stdio: ["ignore", "ignore", "ignore"],
    })
    const over = ended(runtime)
    try {
      const open = () =>
        new Promise<Duplex | undefined>((resolve) => {
          const connection = connectSocket(socket, () => resolve(connection))
          connection.once("error", () => resolve(undefined))
        })
      let stream: Duplex | undefined
      await eventually("the runtime listens", async () => (stream = await open()) !== undefined)
      const seed = drawSeed("malformed input on the socket")
      await flood(stream!, seed)
      stream!.destroy()
      const another = (await open())!
      const answer = new Promise<string>((resolve) =>
        another.once("data", (chunk: Buffer) => resolve(chunk.toString())),
      )
      another.write(
        '{"jsonrpc":"2.0","id":1,"method":"session/ask","params":{"session":"demo","prompt":"/echo alive"}}\n',
      )
      expect(JSON.parse(await answer)).toMatchObject({ id: 1, result: { status: "completed", text: "alive" } })
      another.destroy()
    } finally {
      runtime.kill("SIGTERM")
      expect(await over).toBe(0)
      rmSync(directory, { recursive: true, force: true })
    }
  }, 120_000)

  it("on stdio: the same, and the end of stdin still ends it with exit code 0", async () => {
    const directory = mkdtempSync(join(tmpdir(), "creche-fuzz-"))
    const runtime = spawn(process.execPath, [bin, "stdio", "--data", directory], { stdio: ["pipe", "pipe", "ignore"] })
    const over = ended(runtime)
    try {
      await flood(
        DuplexStream.from({ readable: runtime.stdout!, writable: runtime.stdin! }),
        drawSeed("malformed input on stdio"),
      )
      runtime.stdin!.end()
      expect(await over).toBe(0)
    } finally {
      runtime.kill("SIGKILL")
      rmSync(directory, { recursive: true, force: true })
    }
  }, 120_000)
})
