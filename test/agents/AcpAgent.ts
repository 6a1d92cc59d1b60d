/** claude-agent-acp under test, the ACP face of Claude Code, and how it is driven by hand. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { inheritedEnvironment, type Agent, type Place } from "./Agent.ts"
import type { Launch } from "./CodexDriver.ts"

const program = "node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js"

const environment = ({ home, url }: Place) => ({
  HOME: home,
  ANTHROPIC_BASE_URL: url,
  ANTHROPIC_API_KEY: "dummy",
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  DISABLE_TELEMETRY: "1",
  DISABLE_AUTOUPDATER: "1",
})

/** The agent without creche. */
export const acpLaunch = (place: Place, cwd: string): Launch => ({
  command: process.execPath,
  args: [join(place.directory, program)],
  cwd,
  env: { ...inheritedEnvironment(), TMPDIR: place.home, ...environment(place) },
})

export const acp: Agent = {
  name: "acp",
  protocol: "acp",
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
  cannot: {
    "keeps apart what it says on its own, over background work that ended":
      "what it says there comes in pieces; `on-its-own` of AcpScenes is the same for it",
  },
  byHand: async (place, cwd) => {
    const { command, args, env } = acpLaunch(place, cwd)
    const child = spawn(command, args, { cwd, env, stdio: ["pipe", "pipe", "ignore"] })
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
    // In creche's own words: agents tell each client as much as it can take.
    await request("initialize", {
      protocolVersion: 1,
      clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
      clientInfo: { name: "creche", title: "creche", version: "1" },
    })
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
