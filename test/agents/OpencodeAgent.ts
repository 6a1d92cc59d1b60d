/** opencode under test, over ACP. Only by name: `npm run test:agents -- opencode`. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Agent } from "./Agent.ts"

const program = "node_modules/.bin/opencode"

export const opencode: Agent = {
  name: "opencode",
  protocol: "acp",
  isByName: true,
  packages: ["opencode-ai@1.18.33"],
  program,
  mock: new URL("mockAnthropic.ts", import.meta.url),
  spec: ({ directory, home, url }) => {
    const own = join(home, ".config", "opencode")
    mkdirSync(own, { recursive: true })
    const mock = {
      npm: "@ai-sdk/anthropic",
      options: { baseURL: `${url}/v1`, apiKey: "dummy" },
      models: { "mock-model": { tool_call: true, reasoning: true } },
    }
    const config = {
      ...{ autoupdate: false, model: "mock/mock-model", small_model: "mock/mock-model", provider: { mock } },
      permission: { bash: "ask", edit: "ask" },
    }
    writeFileSync(join(own, "opencode.json"), JSON.stringify(config))
    return {
      template: "opencode",
      command: join(directory, program),
      protocol: { type: "acp", files: "write" },
      env: {
        HOME: home,
        XDG_CONFIG_HOME: join(home, ".config"),
        XDG_DATA_HOME: join(home, ".local"),
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_DISABLE_MODELS_FETCH: "1",
      },
    }
  },
  asksToRun: (command) => `use bash ${JSON.stringify({ command, description: "by the mock" })}`,
  writes: (file, text) => `use write ${JSON.stringify({ filePath: file, content: text })}`,
  cannot: { "is told its system prompt, in every process of it": "it takes none over ACP" },
}
