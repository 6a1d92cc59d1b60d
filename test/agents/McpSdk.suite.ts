/** The official SDK's client of the Model Context Protocol, over standard input and output and over HTTP with a token. */
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { eventually } from "../acceptance/Processes.ts"
import { bin, freePort, ServedRuntime } from "../acceptance/ServedRuntime.ts"
import { connectOfficial, type McpPeer, noSdk, spawnOfficial } from "../transport/McpPeer.ts"
import { mcpSdk } from "./Tools.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>
const why = missing[mcpSdk.name] ?? noSdk
const agent = fileURLToPath(new URL("../fixtures/agents/acp/agent.ts", import.meta.url))

const skipped = why === undefined ? "" : ` (skipped: ${why})`
describe.runIf(wanted === null || wanted.includes(mcpSdk.name))(`the official MCP client${skipped}`, () => {
  let directory: string
  let runtime: ServedRuntime
  let url: string
  const tokenOf = (name: string, ...scopes: ReadonlyArray<string>): Record<string, string> => {
    const args = [bin, "token", "create", name, "--data", join(directory, "data")]
    for (const scope of scopes) args.push("--scope", scope)
    const token = execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    return { Authorization: `Bearer ${token.trim()}` }
  }
  beforeAll(async () => {
    if (why !== undefined) return
    directory = mkdtempSync(join(tmpdir(), "creche-mcp-sdk-"))
    const port = await freePort()
    url = `http://127.0.0.1:${port}/mcp`
    runtime = new ServedRuntime(join(directory, "data"), ["--http", `127.0.0.1:${port}`, "--demo"])
    await runtime.listening()
  })
  afterAll(async () => {
    await runtime?.kill("SIGTERM")
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  })

  const ways: Readonly<Record<string, () => Promise<McpPeer>>> = {
    "standard input and output": () =>
      spawnOfficial({
        command: process.execPath,
        args: [bin, "mcp", "--socket", runtime.socket],
        env: { PATH: process.env["PATH"] ?? "", HOME: directory },
        cwd: directory,
      }),
    HTTP: () => connectOfficial(url, tokenOf("host", "read", "prompt", "approve", "admin")),
  }

  for (const [way, open] of Object.entries(ways)) {
    it.skipIf(why !== undefined)(`over ${way}: tools, resources, progress, cancelling, permissions`, async () => {
      const peer = await open()
      const named = (name: string) => `${name}-${way === "HTTP" ? "http" : "stdio"}`
      const tools = (await peer.tools()).map(({ name }) => name)
      expect(tools).toEqual(expect.arrayContaining(["session_start", "session_ask", "permission_answer", "turn_wait"]))
      const session = named("echo")
      await peer.call("session_start", { name: session, command: "cat" })
      const asked = await peer.call("session_ask", { session, prompt: "hello" })
      expect(asked.structuredContent).toMatchObject({ status: "completed", text: "hello" })
      expect((await peer.call("session_get", { session: "none" })).isError).toBe(true)

      expect((await peer.resources()).map(({ uri }) => uri)).toContain(`creche://sessions/${session}`)
      expect(await peer.read(`creche://sessions/${session}/transcript`)).toContain('"turn/ended"')
      let updates = 0
      await peer.subscribe(`creche://sessions/${session}`, () => updates++)
      await peer.call("session_ask", { session, prompt: "again" })
      await eventually("it is told of the change", async () => updates > 0)
      expect(await peer.complete("creche://sessions/{session}", session.slice(0, 6))).toContain(session)

      const told: Array<string | undefined> = []
      await peer.call(
        "session_ask",
        { session: "demo", prompt: "/stream 5 word" },
        { onProgress: ({ message }) => told.push(message) },
      )
      expect(told[0]).toBe("the turn is accepted")
      expect(told.length).toBeGreaterThan(1)

      const abort = new AbortController()
      const hanging = peer.call(
        "session_ask",
        { session: "demo", prompt: "/slow 60000 never", cancelOnAbort: true },
        { signal: abort.signal, onProgress: ({ message }) => message === "the turn runs" && abort.abort() },
      )
      await expect(hanging).rejects.toThrow(/abort/i)
      const newest = async () =>
        (await peer.call("session_history", { session: "demo", limit: 1 })).structuredContent.turns[0]
      await eventually("the turn is cancelled", async () => (await newest()).status === "cancelled")

      const careful = named("careful")
      await peer.call("session_start", { name: careful, command: process.execPath, args: [agent], protocol: "acp" })
      for (const outcome of ["allow", "deny"]) {
        const early = await peer.call("session_ask", { session: careful, prompt: "run echo permitted" })
        const { id, pendingRequests } = early.structuredContent
        const { request } = pendingRequests[0]
        await peer.call("permission_answer", { session: careful, request, outcome })
        const ended = await peer.call("turn_wait", { turn: id })
        expect(ended.content[0].text.includes("permitted")).toBe(outcome === "allow")
      }
      await peer.close()
    })
  }

  it.skipIf(why !== undefined)("is offered no more than its token may, and nothing without one", async () => {
    await expect(connectOfficial(url)).rejects.toThrow(/401|token/i)
    await expect(connectOfficial(url, { Authorization: "Bearer creche_wrong" })).rejects.toThrow(/401|token/i)
    const reader = await connectOfficial(url, tokenOf("reader", "read"))
    const tools = (await reader.tools()).map(({ name }) => name)
    expect(tools).toContain("session_list")
    expect(tools).not.toContain("session_start")
    await expect(reader.call("session_start", { command: "cat" })).rejects.toThrow(/Unknown tool/)
    await reader.end()
    await reader.close()
  })
})
