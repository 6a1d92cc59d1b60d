/** claude-agent-acp under test, the ACP face of Claude Code, and how it is driven by hand. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Agent, Place } from "./Agent.ts"

const program = "node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js"

const environment = ({ home, url }: Place) => ({
  HOME: home,
  ANTHROPIC_BASE_URL: url,
  ANTHROPIC_API_KEY: "dummy",
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  DISABLE_TELEMETRY: "1",
  DISABLE_AUTOUPDATER: "1",
})

export const acp: Agent = {
  name: "acp",
  packages: ["@agentclientprotocol/claude-agent-acp@0.100.0"],
  program,
  mock: new URL("mockAnthropic.ts", import.meta.url),
  spec: (place) => ({
    protocol: "acp",
    command: process.execPath,
    args: [join(place.directory, program)],
    env: { CLAUDECODE: null, ...environment(place) },
  }),
  // Not one of the commands that it runs without asking.
  asksToRun: (command) => `run touch asked; ${command}`,
  cannot: {},
  byHand: async (place, cwd) => {
    const child = spawn(process.execPath, [join(place.directory, program)], {
      cwd,
      env: { PATH: process.env["PATH"], ...environment(place) },
      stdio: ["pipe", "pipe", "ignore"],
    })
    const exited = new Promise<void>((resolve) => child.on("exit", () => resolve()))
    const waiting = new Map<number, (result: Readonly<Record<string, unknown>>) => void>()
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, result } = JSON.parse(line) as { id?: number; result?: Readonly<Record<string, unknown>> }
      if (id !== undefined && result !== undefined) waiting.get(id)?.(result)
    })
    let id = 0
    const request = (method: string, params: object) =>
      new Promise<Readonly<Record<string, unknown>>>((resolve) => {
        waiting.set(++id, resolve)
        child.stdin.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n")
      })
    await request("initialize", { protocolVersion: 1, clientCapabilities: {} })
    const { sessionId } = await request("session/new", { cwd, mcpServers: [] })
    return {
      ask: async (text) => void (await request("session/prompt", { sessionId, prompt: [{ type: "text", text }] })),
      close: async () => {
        child.kill("SIGKILL")
        await exited
      },
    }
  },
}
