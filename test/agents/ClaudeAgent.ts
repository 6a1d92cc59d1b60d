/** Claude Code under test, and how it is driven by hand. */
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { inheritedEnvironment, type Agent, type Place } from "./Agent.ts"

const program = "node_modules/.bin/claude"

const environment = ({ home, url }: Place) => ({
  HOME: home,
  ANTHROPIC_BASE_URL: url,
  ANTHROPIC_API_KEY: "dummy",
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  DISABLE_TELEMETRY: "1",
  DISABLE_AUTOUPDATER: "1",
})

const flags =
  "-p --input-format=stream-json --output-format=stream-json --verbose --include-partial-messages --permission-prompt-tool=stdio"

export const claude: Agent = {
  name: "claude",
  protocol: "claude",
  packages: ["@anthropic-ai/claude-code@2.1.329"],
  program,
  mock: new URL("mockAnthropic.ts", import.meta.url),
  spec: (place) => ({
    template: "claude",
    command: join(place.directory, program),
    env: { CLAUDECODE: null, ...environment(place) },
  }),
  // Not one of the commands that it runs without asking.
  asksToRun: (command) => `run touch asked; ${command}`,
  runsAside: (command) =>
    `use Bash ${JSON.stringify({ command: `touch aside; ${command}`, description: "aside", run_in_background: true })}`,
  cannot: {},
  byHand: async (place, cwd) => {
    const child = spawn(join(place.directory, program), [...flags.split(" "), `--session-id=${randomUUID()}`], {
      cwd,
      // A directory for temporary files that it shares with nobody, as a session has one.
      env: { ...inheritedEnvironment(), TMPDIR: place.home, ...environment(place) },
      stdio: ["pipe", "pipe", "ignore"],
    })
    const exited = new Promise<void>((resolve) => child.on("exit", () => resolve()))
    let waiting: { readonly type: string; readonly resolve: () => void } | undefined
    createInterface({ input: child.stdout }).on("line", (line) => {
      if ((JSON.parse(line) as { type: string }).type === waiting?.type) waiting.resolve()
    })
    const tell = (message: object, type: string) =>
      new Promise<void>((resolve) => {
        waiting = { type, resolve }
        child.stdin.write(JSON.stringify(message) + "\n")
      })
    await tell({ type: "control_request", request_id: "1", request: { subtype: "initialize" } }, "control_response")
    return {
      ask: (text) => tell({ type: "user", message: { role: "user", content: [{ type: "text", text }] } }, "result"),
      close: async () => {
        child.kill("SIGKILL")
        await exited
      },
    }
  },
}
