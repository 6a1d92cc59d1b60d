import { fileURLToPath } from "node:url"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { drawSeed, seeded } from "../acceptance/Processes.ts"
import { malformed } from "../transport/McpMalformed.ts"
import { noSdk, type Program, type Spawned, spawnByHand, spawnOfficial, wire } from "../transport/McpPeer.ts"
import { bin, Home, processesWith, until } from "./Cli.ts"

const agent = fileURLToPath(new URL("../fixtures/agents/acp/agent.ts", import.meta.url))

const program = (home: Home, ...flags: ReadonlyArray<string>): Program => ({
  command: process.execPath,
  args: [bin, "mcp", ...flags],
  env: { PATH: process.env["PATH"] ?? "", HOME: home.directory, CRECHE_DATA: home.data, TERM: home.mark },
  cwd: home.directory,
})

const clients = [
  { name: "a client by hand", spawn: spawnByHand, missing: undefined },
  { name: "the official SDK's client", spawn: spawnOfficial, missing: noSdk },
]

for (const { name, spawn, missing } of clients) {
  const why = missing === undefined ? "" : ` (skipped: ${missing})`
  describe.skipIf(missing !== undefined)(`creche mcp, spoken to by ${name}${why}`, () => {
    let home: Home
    let peer: Spawned
    let other: Spawned
    beforeAll(async () => {
      home = new Home()
      await home.serve("--demo")
      ;[peer, other] = await Promise.all([spawn(program(home)), spawn(program(home))])
    })
    afterAll(async () => {
      await Promise.all([peer, other].map((each) => each?.close().catch(() => {})))
      await home.dispose()
    })

    it("starts, asks, lists, cancels and stops sessions of the running runtime", async () => {
      expect(peer.server.name).toBe("creche")
      const names = (await peer.tools()).map((tool) => tool.name)
      expect(names).toEqual(expect.arrayContaining(["session_start", "session_ask", "permission_answer", "turn_wait"]))

      const started = await peer.call("session_start", { name: "echo", command: "cat" })
      expect(started).toMatchObject({ structuredContent: { name: "echo", status: "ready" } })
      const answered = await peer.call("session_ask", { session: "echo", prompt: "hello" })
      expect(answered.content).toEqual([{ type: "text", text: "hello" }])
      expect(answered.structuredContent).toMatchObject({ status: "completed", text: "hello", prompt: "hello" })

      const listed = await peer.call("session_list")
      expect(listed.structuredContent.sessions.map((each: any) => each.name)).toEqual(["demo", "echo"])
      expect(listed.content[0].text).toContain("echo: ready")

      const told = await peer.call("session_tell", { session: "demo", prompt: "/slow 60000 never" })
      const cancelled = await peer.call("session_cancel", { session: "demo" })
      expect(cancelled.structuredContent).toMatchObject({ id: told.structuredContent.id, status: "cancelled" })
      const waited = await peer.call("turn_wait", { turn: told.structuredContent.id })
      expect(waited).toMatchObject({ isError: true, structuredContent: { status: "cancelled" } })

      const { pid } = (await peer.call("session_get", { session: "echo" })).structuredContent
      await peer.call("session_stop", { session: "echo" })
      expect(() => process.kill(pid, 0)).toThrow("ESRCH")
      const outcome = await home.run(["ps", "--json"])
      expect(outcome.stdout).toContain('"status":"stopped"')
    })

    it("tells the progress of a turn while it runs", async () => {
      await peer.call("session_start", { name: "counts", command: process.execPath, args: [agent], protocol: "acp" })
      const told: Array<{ progress: number; message?: string }> = []
      const answered = await peer.call(
        "session_ask",
        { session: "counts", prompt: "count 10 40" },
        { onProgress: (progress) => told.push(progress) },
      )
      const text: string = answered.content[0].text
      expect(text.trim()).toBe("1 2 3 4 5 6 7 8 9 10")
      expect(told.slice(0, 2).map(({ message }) => message)).toEqual(["the turn is accepted", "the turn runs"])
      // The last words may come with the answer; whatever is told are the answer's own.
      const words = told.slice(2).map(({ message }) => message)
      expect(words.length).toBeGreaterThan(1)
      expect(text.startsWith(words.join(""))).toBe(true)
      const counted = told.map(({ progress }) => progress)
      expect(counted).toEqual([...new Set(counted)].toSorted((a, b) => a - b))
    })

    it("ends the waiting, not the turn, when a call is cancelled; both with cancelOnAbort", async () => {
      for (const cancelOnAbort of [false, true]) {
        const abort = new AbortController()
        const asked = peer.call(
          "session_ask",
          { session: "demo", prompt: `/slow ${cancelOnAbort ? 60_000 : 500} late`, cancelOnAbort },
          { signal: abort.signal, onProgress: ({ message }) => message === "the turn runs" && abort.abort() },
        )
        await expect(asked).rejects.toThrow(/cancel|abort/i)
        const { id } = (await peer.call("session_history", { session: "demo", limit: 1 })).structuredContent.turns[0]
        const ended = await peer.call("turn_wait", { turn: id })
        expect(ended.structuredContent.status).toBe(cancelOnAbort ? "cancelled" : "completed")
      }
    })

    it("answers early when the agent asks for leave, and goes on once it is given", async () => {
      const spec = { name: "careful", command: process.execPath, args: [agent], protocol: "acp" }
      expect((await peer.call("session_start", spec)).isError).toBeUndefined()
      for (const outcome of ["allow", "deny"]) {
        const asked = await peer.call("session_ask", { session: "careful", prompt: "run echo permitted" })
        expect(asked).toMatchObject({ structuredContent: { status: "running", pendingRequests: [{}] } })
        expect(asked.content[0].text).toContain("permission_answer")
        const { id, pendingRequests } = asked.structuredContent
        // It still waits: who waits for the turn is told at once.
        const again = await peer.call("turn_wait", { turn: id })
        expect(again.structuredContent.pendingRequests[0].request).toBe(pendingRequests[0].request)
        const { request } = pendingRequests[0]
        await peer.call("permission_answer", { session: "careful", request, outcome })
        const late = await peer.call("permission_answer", { session: "careful", request, outcome: "allow" })
        expect(late).toMatchObject({ isError: true, structuredContent: { error: { tag: "RequestNotFound" } } })
        const ended = await peer.call("turn_wait", { turn: id })
        expect(ended.structuredContent.status).toBe("completed")
        if (outcome === "allow") expect(ended.content[0].text).toContain("permitted")
      }
      const types = ["permission/resolved"]
      const { entries } = (await peer.call("session_transcript", { session: "careful", types })).structuredContent
      expect(entries.map((entry: any) => entry.by)).toEqual(["mcp", "mcp"])
    })

    it("offers sessions, transcripts and turns as resources, and tells when one changed", async () => {
      const asked = await peer.call("session_ask", { session: "demo", prompt: "/echo found" })
      const uris = (await peer.resources()).map(({ uri }) => uri)
      expect(uris.slice(0, 3)).toEqual([
        "creche://sessions",
        "creche://sessions/demo",
        "creche://sessions/demo/transcript",
      ])
      expect((await peer.resourceTemplates()).map(({ uriTemplate }) => uriTemplate)).toContain(
        "creche://sessions/{session}/transcript{?after,limit}",
      )
      expect(JSON.parse(await peer.read("creche://sessions")).sessions[0]).toMatchObject({ name: "demo" })
      expect(JSON.parse(await peer.read("creche://sessions/demo"))).toMatchObject({ name: "demo", status: "ready" })
      const lines = (await peer.read("creche://sessions/demo/transcript")).trim().split("\n")
      const entries = lines.map((line) => JSON.parse(line))
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, at) => at + 1))
      expect(entries.at(-1)).toMatchObject({ type: "turn/ended", text: "found" })
      const tail = await peer.read(`creche://sessions/demo/transcript?after=${entries.length - 2}&limit=1`)
      expect(JSON.parse(tail).seq).toBe(entries.length - 1)
      const { id } = asked.structuredContent
      expect(JSON.parse(await peer.read(`creche://turns/${id}`))).toMatchObject({ id, text: "found" })
      await expect(peer.read("creche://sessions/nobody")).rejects.toThrow("Resource not found")
      expect(await peer.complete("creche://sessions/{session}", "de")).toEqual(["demo"])

      let updates = 0
      await peer.subscribe("creche://sessions/demo", () => updates++)
      await peer.call("session_ask", { session: "demo", prompt: "again" })
      await until("the client is told that the session changed", () => updates > 0)
    })

    it("says what went wrong with its tag and what to do, and goes on", async () => {
      const unknown = await peer.call("session_ask", { session: "nobody", prompt: "x" })
      expect(unknown).toMatchObject({
        isError: true,
        structuredContent: { error: { tag: "SessionNotFound", code: -32001 } },
      })
      expect(unknown.content[0].text).toContain("session_list")
      const wrong = await peer.call("session_ask", { session: "demo", promt: "x", waitMs: -1 })
      expect(wrong).toMatchObject({ isError: true, structuredContent: { error: { tag: "InvalidParams" } } })
      const missing = await peer.call("session_start", { name: "no", command: "/no/such/program" })
      expect(missing.structuredContent.error).toMatchObject({ tag: "SpawnFailed", field: "command", errno: "ENOENT" })
      const failed = await peer.call("session_ask", { session: "demo", prompt: "/fail because" })
      expect(failed).toMatchObject({ isError: true, structuredContent: { status: "failed" } })
      expect(failed.content[0].text).toContain("because")
      expect((await peer.call("session_ask", { session: "demo", prompt: "/echo fine" })).content[0].text).toBe("fine")
    })

    it("serves two clients at once, each with its own answers", async () => {
      await peer.call("session_start", { name: "other", template: "demo" })
      const asks = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          (n % 2 === 0 ? peer : other).call("session_ask", {
            session: n % 3 === 0 ? "demo" : "other",
            prompt: `/echo number ${n}`,
          }),
        ),
      )
      expect(asks.map(({ content }) => content[0].text)).toEqual(asks.map((_, n) => `number ${n}`))
    })

    it("killed in the middle of an ask leaves the turn and the runtime as they were", async () => {
      peer.call("session_ask", { session: "demo", prompt: "/slow 60000 still" }).catch(() => {})
      const newest = async () =>
        (await other.call("session_history", { session: "demo", limit: 1 })).structuredContent.turns[0]
      await until("the turn runs", async () => (await newest()).status === "running")
      process.kill(peer.pid, "SIGKILL")
      await peer.close().catch(() => {})
      const { id, status } = await newest()
      expect(status).toBe("running")
      const cancelled = await other.call("session_cancel", { session: "demo" })
      expect(cancelled.structuredContent).toMatchObject({ id, status: "cancelled" })
    })

    it("with --embedded has a runtime of its own, and leaves nothing when its client goes", async () => {
      const own = new Home()
      try {
        const embedded = await spawn(program(own, "--embedded"))
        await embedded.call("session_start", { name: "own", command: "sleep", args: ["1000"], protocol: "text" })
        const { dataDirectory } = (await embedded.call("runtime_info")).structuredContent
        expect(dataDirectory).toBe(own.data)
        await embedded.close()
        await until("nothing is left", () => processesWith(own.mark).length === 0)
      } finally {
        await own.dispose()
      }
    })
  })
}

describe("creche mcp", () => {
  let home: Home
  let peer: Spawned | undefined
  beforeEach(() => {
    home = new Home()
  })
  afterEach(async () => {
    await peer?.close()
    peer = undefined
    await home.dispose()
  })

  it("serves without a runtime, says so at each call, and finds one that starts later, and the next after it", async () => {
    peer = await spawnByHand(program(home))
    const nobody = await peer.call("session_list")
    expect(nobody).toMatchObject({ isError: true, structuredContent: { error: { tag: "NoRuntime" } } })
    expect(nobody.content[0].text).toContain("creche serve")
    for (let round = 1; round <= 2; round++) {
      const serving = await home.serve()
      const started = await peer.call("session_start", { name: `s${round}`, command: "cat" })
      expect(started).toMatchObject({ structuredContent: { status: "ready" } })
      const asked = peer.call("session_ask", { session: `s${round}`, prompt: "x" })
      expect((await asked).content[0].text).toBe("x")
      serving.child.kill("SIGTERM")
      await serving.ended
    }
  })

  it("offers only what changes nothing with --read-only", async () => {
    await home.serve("--demo")
    peer = await spawnByHand(program(home, "--read-only"))
    const names = (await peer.tools()).map((tool) => tool.name)
    expect(names).toContain("session_list")
    expect(names).not.toContain("session_ask")
    await expect(peer.call("session_stop", { session: "demo" })).rejects.toThrow("Unknown tool")
  })

  it("answers what was piped in, ends with its input, and writes nothing else to stdout", async () => {
    await home.serve("--demo")
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "session_list" } }
    const { code, stdout } = await home.run(["mcp"], { input: `${JSON.stringify(call)}\nnonsense\n` })
    expect(code).toBe(0)
    const messages = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(messages.map(({ id }) => id).toSorted()).toEqual([1, null])
    expect(messages.find(({ id }) => id === null).error.code).toBe(-32700)
  })

  it("survives 100000 malformed messages, and answers with messages alone", async () => {
    await home.serve("--demo")
    const seed = drawSeed("creche mcp")
    const random = seeded(seed)
    const running = home.spawn(["mcp"])
    const client = wire(running.child.stdout!, running.child.stdin!)
    for (let sent = 0; sent < 100_000;) {
      const lines: Array<Buffer> = []
      for (let n = 0; n < 500; n++, sent++) lines.push(malformed(random, sent), Buffer.from("\n"))
      if (!running.child.stdin!.write(Buffer.concat(lines))) {
        await new Promise((go) => running.child.stdin!.once("drain", go))
      }
      client.messages.splice(0, Math.max(0, client.messages.length - 10))
    }
    const ask = { name: "session_ask", arguments: { session: "demo", prompt: "/echo alive" } }
    let answer: any
    await until(`an ask is answered (seed ${seed})`, async () => {
      answer = await client.request("tools/call", ask, `ask ${Math.random()}`)
      // Of what it was flooded with, some is under way.
      return answer.error?.data.tag !== "LimitReached"
    })
    expect(answer.result.content[0].text).toBe("alive")
    running.child.stdin!.end()
    expect((await running.ended).code).toBe(0)
  }, 120_000)

  it("ends when its host dies in the middle of an ask; the turn does not", async () => {
    await home.serve("--demo")
    peer = await spawnByHand(program(home))
    const running = home.spawn(["mcp"])
    const params = { name: "session_ask", arguments: { session: "demo", prompt: "/slow 60000 never" } }
    running.child.stdin!.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params })}\n`)
    const newest = async () =>
      (await peer!.call("session_history", { session: "demo", limit: 1 })).structuredContent.turns[0]
    await until("the turn runs", async () => (await newest())?.status === "running")
    running.child.stdin!.destroy()
    running.child.stdout!.destroy()
    await until("it ended", () => running.child.exitCode !== null)
    expect(running.child.exitCode).toBe(0)
    expect((await newest()).status).toBe("running")
  })

  it("ends at SIGTERM, also while an ask waits", async () => {
    await home.serve("--demo")
    const running = home.spawn(["mcp"])
    const params = { name: "session_ask", arguments: { session: "demo", prompt: "/slow 60000 never" } }
    running.child.stdin!.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params })}\n`)
    await until("the turn runs", async () => (await home.run(["ps", "--json"])).stdout.includes('"status":"busy"'))
    running.child.kill("SIGTERM")
    expect((await running.ended).code).toBe(0)
  })
})
