/** Server-sent events of a runtime that is killed at random moments and started again: as a browser's `EventSource` reads them. */
import { mkdtempSync, rmSync } from "node:fs"
import * as http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { connect, type WireEntry } from "../../src/client/index.ts"
import { drawSeed, eventually, seeded } from "./Processes.ts"
import { freePort, ServedRuntime } from "./ServedRuntime.ts"

/** A runtime may take its time to start on a machine that is busy with others. */
const patienceMs = 60_000

let directory: string
let port: number
let runtimes: Array<ServedRuntime>
let readers: Array<{ readonly stop: () => Promise<void> }>

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-events-"))
  port = await freePort()
  runtimes = []
  readers = []
})
afterEach(async () => {
  for (const reader of readers) await reader.stop()
  for (const runtime of runtimes) await runtime.kill()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const up = async (): Promise<ServedRuntime> => {
  const runtime = new ServedRuntime(directory, ["--http", `127.0.0.1:${port}`, "--no-auth"])
  runtimes.push(runtime)
  await runtime.listening(patienceMs)
  return runtime
}

/** Reads, is cut off, comes back with the id of the last whole event that it had; by itself, until it is stopped. */
const eventSource = (path: string, pauseMs: () => number = () => 0) => {
  const seen: Array<{ readonly id: string | undefined; readonly entry: WireEntry }> = []
  const others: Array<string> = []
  let lastId: string | undefined
  let isOver = false
  let connections = 0
  let current: http.ClientRequest | undefined
  const take = (block: string): void => {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1]
    const [id, event, data] = [field("id"), field("event"), field("data")]
    if (id !== undefined) lastId = id
    if (data === undefined) return
    if (event === undefined) seen.push({ id, entry: JSON.parse(data) })
    else others.push(event)
  }
  const once = () =>
    new Promise<void>((done) => {
      const headers = lastId === undefined ? {} : { "Last-Event-ID": lastId }
      current = http.get({ host: "127.0.0.1", port, path, headers, agent: false }, (response) => {
        connections++
        let rest = ""
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => {
          const blocks = (rest + chunk).split("\n\n")
          rest = blocks.pop()!
          for (const block of blocks) take(block)
          const pause = pauseMs()
          if (pause === 0) return
          response.pause()
          setTimeout(() => response.resume(), pause)
        })
        response.on("close", done)
        response.on("error", () => done())
      })
      current.on("error", () => done())
    })
  const reading = (async () => {
    while (!isOver) {
      await once()
      if (!isOver) await sleep(20)
    }
  })()
  const stop = async () => {
    isOver = true
    current?.destroy()
    await reading
  }
  const reader = { seen, others, connections: () => connections, stop }
  readers.push(reader)
  return reader
}

describe("the events of a session, over kills of the runtime", () => {
  it("come once each, in order, to one who reads and to one who reads slowly", { timeout: 300_000 }, async () => {
    const random = seeded(drawSeed("events over restarts"))
    let runtime = await up()
    const client = await connect({ url: `http://127.0.0.1:${port}`, reconnect: { initialMs: 5, maxMs: 50 } })
    const text = "x".repeat(2000)
    const spec = { name: "a", command: "cat", restart: "permanent" as const, backoff: { initialMs: 1, maxMs: 10 } }
    await client.start(spec)
    const quick = eventSource("/v1/sessions/a/events?after=0")
    const slow = eventSource("/v1/sessions/a/events?after=0", () => 5)
    const reached = (connections: number) => () => [quick, slow].every((reader) => reader.connections() >= connections)
    await eventually("both read", reached(1), patienceMs)
    for (let kill = 0; kill < 3; kill++) {
      const asks = Array.from({ length: 20 }, (_, n) =>
        client.ask({ session: "a", prompt: `${kill}.${n} ${text}` }).catch(() => undefined),
      )
      await sleep(random() * 150)
      await runtime.kill("SIGKILL")
      runtime = await up()
      await Promise.all(asks)
      await eventually("both came back", reached(kill + 2), patienceMs)
    }
    const said = await client.ask({ session: "a", prompt: "last" })
    expect(said.status).toBe("completed")
    const { seq } = await client.request("session/get", { session: "a" })
    for (const [name, reader] of Object.entries({ quick, slow })) {
      await eventually(`${name} has all of ${seq}`, async () => (reader.seen.at(-1)?.entry.seq ?? 0) >= seq, patienceMs)
      const seqs = reader.seen.map(({ entry }) => entry.seq)
      expect(seqs, name).toEqual(Array.from({ length: seqs.length }, (_, at) => at + 1))
      expect(reader.seen.every(({ id, entry }) => id === String(entry.seq))).toBe(true)
      expect(reader.others, name).toEqual([])
    }
    const ended = quick.seen.filter(({ entry }) => entry.type === "turn/ended")
    expect(ended.length).toBe(61)
    await client.close()
  })

  it("end with the reason when the runtime ends in order, and go on with the next", { timeout: 180_000 }, async () => {
    const runtime = await up()
    const client = await connect({ url: `http://127.0.0.1:${port}`, reconnect: { initialMs: 5, maxMs: 50 } })
    await client.start({ name: "a", command: "cat" })
    const reader = eventSource("/v1/sessions/a/events?after=0")
    await client.ask({ session: "a", prompt: "one" })
    await eventually("it read", async () => reader.seen.some(({ entry }) => entry.type === "turn/ended"), patienceMs)
    await runtime.kill("SIGTERM")
    await eventually("it was told", async () => reader.others.includes("closing"), patienceMs)
    await up()
    await client.ask({ session: "a", prompt: "two" })
    const { seq } = await client.request("session/get", { session: "a" })
    await eventually("it has all", async () => (reader.seen.at(-1)?.entry.seq ?? 0) >= seq, patienceMs)
    expect(reader.seen.map(({ entry }) => entry.seq)).toEqual(Array.from({ length: seq }, (_, at) => at + 1))
    await client.close()
  })
})
