/**
 * A real Claude Code that uses creche as its MCP server, over standard input and output and over HTTP: a session of the same
 * runtime, whose model calls the tools that its prompts name. `run.ts` runs it, without a network.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Client } from "../../src/client/Client.ts"
import { eventually } from "../acceptance/Processes.ts"
import { bin, markedProcesses, ServedRuntime } from "../acceptance/ServedRuntime.ts"
import { claude } from "./ClaudeAgent.ts"
import { directoryOf, isInstalled } from "./install.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>
const acpAgent = fileURLToPath(new URL("../fixtures/agents/acp/agent.ts", import.meta.url))
const patience = { timeoutMs: 60_000 }

const transports = ["stdio", "http"] as const

describe.runIf(wanted === null || wanted.includes("claude"))("creche as the MCP server of Claude Code", () => {
  const why =
    missing["claude"] ?? (isInstalled(claude) ? undefined : "claude is not installed; npm run test:agents does")
  let root: string
  let cwd: string
  let mock: ChildProcess
  let served: ServedRuntime
  let client: Client
  let servers: Readonly<Record<(typeof transports)[number], object>>

  beforeAll(async () => {
    if (why !== undefined) return
    root = mkdtempSync(join(process.env["CRECHE_AGENTS_WORK"] ?? tmpdir(), "creche-claude-mcp-"))
    cwd = join(root, "work")
    for (const directory of [cwd, join(root, "home")]) mkdirSync(directory)
    mock = spawn(process.execPath, [fileURLToPath(claude.mock)], { stdio: ["ignore", "pipe", "inherit"] })
    served = new ServedRuntime(join(root, "data"), ["--http", "127.0.0.1:0"])
    client = await served.connect()
    await served.listening()
    const address = /http:\/\/127\.0\.0\.1:\d+/.exec(served.stderr)?.[0]
    const scopes = ["read", "prompt", "approve", "admin"].flatMap((scope) => ["--scope", scope])
    const create = [bin, "token", "create", "claude", ...scopes, "--data", join(root, "data")]
    const token = execFileSync(process.execPath, create, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim()
    servers = {
      stdio: { command: process.execPath, args: [bin, "mcp", "--socket", served.socket] },
      http: { type: "http", url: `${address}/mcp`, headers: { Authorization: `Bearer ${token}` } },
    }
  })
  afterAll(async () => {
    if (why !== undefined) return
    await client.request("runtime/shutdown", {})
    await client.close()
    await served.ended
    mock.kill()
    const left = markedProcesses(served)
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
    expect(left).toEqual([])
  })

  /** A Claude Code that has creche for a server and may use its tools; `use` calls one, and answers what came of it. */
  const boss = async (transport: (typeof transports)[number]) => {
    const name = `boss-${transport}`
    const config = join(root, `${transport}.json`)
    writeFileSync(config, JSON.stringify({ mcpServers: { creche: servers[transport] } }), { mode: 0o600 })
    const url = await mockUrl
    const session = await client.start({
      name,
      cwd,
      ...claude.spec({ directory: directoryOf(claude), home: join(root, "home"), url }),
      protocol: { type: "claude", extraArgs: [`--mcp-config=${config}`, "--strict-mcp-config"] },
      permissions: { default: "deny", rules: [{ tool: "mcp__creche__*", decision: "allow" }] },
    } as Parameters<Client["start"]>[0])
    const use = async (tool: string, params: object): Promise<string> => {
      const prompt = `use mcp__creche__${tool} ${JSON.stringify(params)}`
      const turn = await client.ask({ session: name, prompt, ...patience })
      expect([turn.status, turn.error]).toEqual(["completed", null])
      expect(turn.text).toContain("a tool: ")
      return turn.text.slice(turn.text.indexOf("ran: "))
    }
    // It connects to its servers on its own time.
    await eventually("its tools are there", async () => (await use("runtime_info", {})).includes("containment"), 30_000)
    return { name, pid: session.pid!, use }
  }
  let mockUrl: Promise<string>
  beforeAll(() => {
    if (why !== undefined) return
    mockUrl = once(createInterface({ input: mock.stdout! }), "line").then(([line]) => String(line))
  })

  it.for(transports)(
    "over %s starts a session, asks it, reads what it did, lists, and stops it",
    async (transport, context) => {
      if (why !== undefined) return context.skip(why)
      const { name, use } = await boss(transport)
      const worker = `worker-${transport}`
      expect(await use("session_start", { name: worker, template: "demo" })).toContain(worker)
      expect(await use("session_ask", { session: worker, prompt: "/echo hello from inside" })).toContain(
        "hello from inside",
      )
      expect(await use("session_transcript", { session: worker, types: ["turn/ended"] })).toContain("hello from inside")
      const list = await use("session_list", {})
      for (const each of [name, worker]) expect(list).toContain(each)
      expect(await use("session_history", { session: worker })).toContain("/echo hello from inside")
      expect(await client.request("session/get", { session: worker })).toMatchObject({ turns: { completed: 1 } })
      expect(await use("session_ask", { session: "nobody", prompt: "x" })).toContain("SessionNotFound")
      expect(await use("session_ask", { session: worker, prompt: "/fail on purpose" })).toContain("on purpose")
      expect(await use("session_stop", { session: worker })).toContain("stopped")
      expect(await client.request("session/get", { session: worker })).toMatchObject({ status: "stopped" })
      await client.request("session/remove", { session: name })
      await client.request("session/remove", { session: worker })
    },
  )

  it.for(transports)(
    "over %s answers what a session of its own asks leave for, and waits for its turn",
    async (transport, context) => {
      if (why !== undefined) return context.skip(why)
      const { name, use } = await boss(transport)
      const worker = `asker-${transport}`
      const file = join(cwd, worker)
      await use("session_start", {
        name: worker,
        command: process.execPath,
        args: [acpAgent, "--store", join(root, worker)],
        protocol: "acp",
      })
      const asked = await use("session_ask", { session: worker, prompt: `run touch ${file}` })
      const request = /req\d+/.exec(asked)?.[0]
      expect(asked).toContain("permission_answer")
      expect(request).toBeDefined()
      expect(existsSync(file)).toBe(false)
      const turn = (await client.request("session/history", { session: worker, limit: 1 })).turns[0]?.id
      await use("permission_answer", { session: worker, request, outcome: "allow" })
      expect(await use("turn_wait", { turn })).toContain("completed")
      expect(existsSync(file)).toBe(true)
      const { entries } = await client.request("session/transcript", {
        session: worker,
        types: ["permission/resolved"],
      })
      expect(entries).toMatchObject([{ by: "mcp" }])
      await client.request("session/remove", { session: name })
      await client.request("session/remove", { session: worker })
    },
  )

  it("leaves nothing of its server behind when it is stopped while a tool of it waits", async (context) => {
    if (why !== undefined) return context.skip(why)
    const { name } = await boss("stdio")
    await client.start({ name: "slow", template: "demo" } as Parameters<Client["start"]>[0])
    const prompt = `use mcp__creche__session_ask ${JSON.stringify({ session: "slow", prompt: "/slow 60000 x" })}`
    await client.tell({ session: name, prompt })
    await eventually(
      "the other works",
      async () => (await client.request("session/get", { session: "slow" })).status === "busy",
    )
    const servers = () => markedProcesses(served).filter(({ command }) => command.includes(`${bin} mcp `))
    expect(servers()).toHaveLength(1)
    await client.request("session/stop", { session: name })
    expect(servers()).toEqual([])
    // Its turn goes on: who asked is gone, and has cancelled nothing.
    expect(await client.request("session/get", { session: "slow" })).toMatchObject({ status: "busy" })
    await client.request("session/remove", { session: "slow" })
  })
})
