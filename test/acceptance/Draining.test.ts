import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { Client } from "../../src/client/index.ts"
import type { SessionSpecInput } from "../../src/index.ts"
import { cleanUp, sse } from "../transport/HttpFixture.ts"
import { eventually, noGuard } from "./Processes.ts"
import { markedProcesses, ServedRuntime } from "./ServedRuntime.ts"

let directory = ""
let runtimes: Array<ServedRuntime> = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-drain-"))
  mkdirSync(join(directory, "data"), { mode: 0o700 })
  runtimes = []
})
afterEach(async () => {
  await cleanUp()
  for (const { child, ended } of runtimes) {
    child.kill("SIGKILL")
    await ended
  }
  await eventually("nothing is left", () => markedProcesses(...runtimes).length === 0, 5000)
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

interface Up {
  readonly runtime: ServedRuntime
  readonly client: Client
  readonly url: string
}

const up = async (...flags: ReadonlyArray<string>): Promise<Up> => {
  const runtime = new ServedRuntime(join(directory, "data"), ["--http", "127.0.0.1:0", "--no-auth", ...flags], {
    socket: join(directory, "s"),
  })
  runtimes.push(runtime)
  const client = await runtime.connect()
  await runtime.listening()
  return { runtime, client, url: /http:\/\/127\.0\.0\.1:\d+/.exec(runtime.stderr)![0] }
}

/** Answers each line once somebody writes `go` to its stdin, with `<line> done`; SIGTERM does not end it. */
const gated: SessionSpecInput = {
  shutdown: { signal: "SIGTERM", graceMs: 200 },
  command: "sh",
  args: ["-c", `trap '' TERM; while read line; do read go; echo "$line done"; done; sleep 1000`],
}
const begin = async (client: Client, name: string, spec: object = {}) => {
  await client.start({ name, ...gated, ...spec })
  const turn = await client.tell({ session: name, prompt: "first" })
  await eventually("it runs", async () => (await client.request("turn/get", { turn: turn.id })).status === "running")
  return turn
}
const go = (client: Client, session: string) => client.request("session/write", { session, data: "go\n" })
const drains = ({ client }: Up) =>
  eventually("it drains", async () => (await client.request("runtime/health", {})).status === "draining")
/** A second signal; one that comes too soon after the first counts as the same. */
const hurry = (runtime: ServedRuntime) =>
  eventually("the second signal counts", async () => {
    runtime.child.kill("SIGINT")
    await new Promise((resolve) => setTimeout(resolve, 100))
    return runtime.stderr.includes("ending at once")
  })
const longMs = "600000"

const orderly = { code: 0, signal: null }

describe("a runtime that drains", () => {
  it("refuses new work by name, still answers what is asked of it, and finishes what runs", async () => {
    const it = await up("--drain", longMs)
    const { client, runtime, url } = it
    const turn = await begin(client, "a")
    await client.start({ name: "idle", command: "cat" })
    const asked = client.request("turn/wait", { turn: turn.id })
    runtime.child.kill("SIGTERM")
    await drains(it)
    const refused = { tag: "Draining" }
    await expect(client.start({ name: "late", command: "cat" })).rejects.toMatchObject(refused)
    for (const session of ["a", "idle"]) {
      await expect(client.ask({ session, prompt: "late" })).rejects.toMatchObject(refused)
      await expect(client.tell({ session, prompt: "late" })).rejects.toMatchObject(refused)
      await expect(client.request("session/restart", { session })).rejects.toMatchObject(refused)
      await expect(client.request("session/resume", { session })).rejects.toMatchObject(refused)
    }
    const post = await fetch(`${url}/v1/sessions/idle/turns?wait=true`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ prompt: "late" }),
    })
    expect([post.status, post.headers.get("retry-after") === null]).toEqual([503, false])
    expect(await post.json()).toMatchObject({ tag: "Draining" })
    // Reads, and what helps running turns to their end.
    expect((await client.request("session/list", {})).sessions).toHaveLength(2)
    expect((await client.request("session/transcript", { session: "a" })).entries.length).toBeGreaterThan(0)
    expect(await client.request("runtime/health", {})).toMatchObject({ live: true, ready: false })
    expect([(await fetch(`${url}/livez`)).status, (await fetch(`${url}/readyz`)).status]).toEqual([200, 503])
    expect(await (await fetch(`${url}/metrics`)).text()).toContain("creche_draining 1\n")
    await go(client, "a")
    expect(await asked).toMatchObject({ status: "completed", text: "first done" })
    expect(await runtime.ended).toEqual(orderly)
  })

  it("keeps queued turns for the next runtime, which answers them in order, and tells at once who waits for them", async () => {
    const it = await up("--drain", longMs)
    const { client, runtime } = it
    const first = await begin(client, "a")
    const told = await client.tell({ session: "a", prompt: "second" })
    const asked = client.ask({ session: "a", prompt: "third", idempotencyKey: "k" }).catch((error: unknown) => error)
    const waited = client.request("turn/wait", { turn: told.id }).catch((error: unknown) => error)
    await eventually("all are there", async () => {
      return (await client.request("session/get", { session: "a" })).turns.queued === 2
    })
    runtime.child.kill("SIGTERM")
    expect(await asked).toMatchObject({ tag: "Draining" })
    expect(String(await waited)).toContain(`turn ${told.id} stays queued for the next one`)
    await drains(it)
    await expect(client.request("turn/wait", { turn: told.id })).rejects.toMatchObject({ tag: "Draining" })
    expect((await client.request("turn/get", { turn: told.id })).status).toBe("queued")
    await go(client, "a")
    expect(await runtime.ended).toEqual(orderly)
    const { client: next } = await up()
    expect(await next.request("turn/get", { turn: first.id })).toMatchObject({
      status: "completed",
      text: "first done",
    })
    const third = next.ask({ session: "a", prompt: "third", idempotencyKey: "k" })
    for (const { id, text } of [{ id: told.id, text: "second done" }]) {
      await eventually("it runs", async () => (await next.request("turn/get", { turn: id })).status === "running")
      await go(next, "a")
      expect(await next.request("turn/wait", { turn: id })).toMatchObject({ status: "completed", text })
    }
    await eventually("the next one runs", async () => {
      return (await next.request("session/get", { session: "a" })).turns.running === 1
    })
    await go(next, "a")
    expect(await third).toMatchObject({ status: "completed", text: "third done" })
  })

  it("works queued turns off where nothing is kept, and ends with a reason what it does not get to", async () => {
    const it = await up("--memory", "--drain", longMs)
    const { client, runtime } = it
    await begin(client, "a")
    const asked = ["second", "third"].map((prompt) => client.ask({ session: "a", prompt }))
    await eventually("all are there", async () => {
      return (await client.request("session/get", { session: "a" })).turns.queued === 2
    })
    runtime.child.kill("SIGTERM")
    await drains(it)
    await go(client, "a")
    await eventually("the next one runs", async () => {
      return (await client.request("session/get", { session: "a" })).turns.queued === 1
    })
    await go(client, "a")
    expect(await asked[0]).toMatchObject({ status: "completed", text: "second done" })
    await hurry(runtime)
    expect(await asked[1]).toMatchObject({ status: "cancelled", stopReason: "stopped" })
    expect(await runtime.ended).toEqual(orderly)
  })

  for (const store of ["durable", "in memory"] as const) {
    const flags = store === "durable" ? [] : ["--memory"]
    it(`stops waiting once its time is over (${store})`, async () => {
      const { client, runtime } = await up("--drain", "300", ...flags)
      await client.start({ name: "a", command: "sleep", args: ["1000"] })
      const asked = client.ask({ session: "a", prompt: "never" })
      await eventually("it runs", async () => (await client.request("session/get", { session: "a" })).status === "busy")
      runtime.child.kill("SIGTERM")
      const stopReason = store === "durable" ? "shutdown" : "stopped"
      expect(await asked).toMatchObject({ status: "cancelled", stopReason })
      expect(await runtime.ended).toEqual(orderly)
    })

    it(`waits no longer after a second signal (${store})`, async () => {
      const it = await up("--drain", longMs, ...flags)
      const { client, runtime } = it
      await client.start({ name: "a", command: "sleep", args: ["1000"] })
      const asked = client.ask({ session: "a", prompt: "never" })
      // Looked at below.
      asked.catch(() => {})
      await eventually("it runs", async () => (await client.request("session/get", { session: "a" })).status === "busy")
      runtime.child.kill("SIGTERM")
      await drains(it)
      await hurry(runtime)
      expect((await asked).status).toBe("cancelled")
      expect(await runtime.ended).toEqual(orderly)
    })

    it(`kills at the third signal what has a long grace, and leaves nothing (${store})`, async () => {
      const it = await up("--drain", longMs, ...flags)
      const { client, runtime } = it
      const shutdown = { signal: "SIGTERM", graceMs: 600_000 } as const
      await begin(client, "a", { shutdown })
      for (const [at, word] of ["message=ending ", "ending at once", "killing every process"].entries()) {
        await eventually(`signal ${at + 1} counts`, async () => {
          runtime.child.kill("SIGTERM")
          await new Promise((resolve) => setTimeout(resolve, 250))
          return runtime.stderr.includes(word)
        })
      }
      expect(await runtime.ended).toEqual(orderly)
      expect(markedProcesses(runtime)).toEqual([])
    })
  }

  it("counts signals that come together as one: a terminal and npm both pass Ctrl-C on", async () => {
    const it = await up("--drain", longMs)
    const { client, runtime } = it
    const turn = await begin(client, "a")
    for (const signal of ["SIGINT", "SIGINT", "SIGTERM"] as const) runtime.child.kill(signal)
    await drains(it)
    await go(client, "a")
    expect(await client.request("turn/wait", { turn: turn.id })).toMatchObject({ status: "completed" })
    expect(await runtime.ended).toEqual(orderly)
    expect(runtime.stderr).not.toContain("at once")
  })

  it("does so at runtime/shutdown too, answers it last, and is hurried by another one", async () => {
    const it = await up()
    const { client, runtime } = it
    await client.start({ name: "a", command: "sleep", args: ["1000"] })
    const asked = client.ask({ session: "a", prompt: "never" })
    await eventually("it runs", async () => (await client.request("session/get", { session: "a" })).status === "busy")
    const shutdown = client.request("runtime/shutdown", { drainMs: 600_000 })
    await drains(it)
    expect(await client.request("runtime/shutdown", {})).toEqual({ survivors: [] })
    expect(await shutdown).toEqual({ survivors: [] })
    expect((await asked).status).toBe("cancelled")
    expect(await runtime.ended).toEqual(orderly)
  })

  it("closes every kind of stream with a reason", async () => {
    const { client, runtime, url } = await up()
    await client.start({ name: "a", command: "cat" })
    const events = await sse(`${url}/v1/sessions/a/events?after=0`)
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`)
    await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }))
    const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener("close", resolve, { once: true }))
    const accept = { Accept: "application/json, text/event-stream", "Content-Type": "application/json" }
    const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "0" } }
    const met = await fetch(`${url}/mcp`, {
      method: "POST",
      headers: accept,
      body: JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params }),
    })
    const mcp = await sse(`${url}/mcp`, {
      Accept: "text/event-stream",
      "Mcp-Session-Id": met.headers.get("mcp-session-id")!,
    })
    expect([events.status, mcp.status]).toEqual([200, 200])
    await events.until("entries", (all) => all.length > 0)
    runtime.child.kill("SIGTERM")
    expect(await closed).toMatchObject({ code: 1001, reason: "draining", wasClean: true })
    await events.ended
    await mcp.ended
    expect(events.events().at(-1)).toMatchObject({ event: "closing", data: { tag: "Draining" } })
    expect(await runtime.ended).toEqual(orderly)
    // Its connection ends as well, after the answers.
    await client.closed
  })

  it("leaves no process of a tree that ignores every signal", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const { client, runtime } = await up("--drain", "200")
    const shutdown = { signal: "SIGTERM", graceMs: 100 } as const
    const stubborn = `trap '' TERM INT HUP; setsid sh -c "trap '' TERM; sleep 1000" & while read line; do sleep 1000; done`
    await client.start({ name: "a", command: "sh", args: ["-c", stubborn], shutdown })
    await client.tell({ session: "a", prompt: "never" })
    expect(await runtime.kill("SIGTERM")).toEqual(orderly)
    expect(markedProcesses(runtime)).toEqual([])
  })
})
