/** gemini-cli under test, over ACP. Only by name: `npm run test:agents -- gemini`. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Agent } from "./Agent.ts"

const program = "node_modules/.bin/gemini"
const keepsNothing = "it keeps no conversation that it could go on with: session/load finds none"

export const gemini: Agent = {
  name: "gemini",
  protocol: "acp",
  isByName: true,
  packages: ["@google/gemini-cli@0.61.0"],
  program,
  mock: new URL("mockGemini.ts", import.meta.url),
  spec: ({ directory, home, url }) => {
    mkdirSync(join(home, ".gemini"), { recursive: true })
    const settings = {
      security: { auth: { selectedType: "gemini-api-key" } },
      telemetry: { enabled: false },
      privacy: { usageStatisticsEnabled: false },
    }
    writeFileSync(join(home, ".gemini", "settings.json"), JSON.stringify(settings))
    return {
      template: "gemini",
      command: join(directory, program),
      protocol: { type: "acp", files: "write", forgets: true },
      env: { HOME: home, GEMINI_API_KEY: "dummy", GOOGLE_GEMINI_BASE_URL: url },
    }
  },
  // Not one of the commands that it runs without asking.
  asksToRun: (command) => `run touch asked; ${command}`,
  writes: (file, text) => `use write_file ${JSON.stringify({ file_path: file, content: text })}`,
  cannot: {
    "is told its system prompt, in every process of it": "it takes none over ACP",
    "remembers after its process was killed in the middle of an answer": keepsNothing,
    "remembers after it was suspended and woken": keepsNothing,
    "remembers after creche was killed in the middle of an answer": keepsNothing,
    "is forked, and the two go their own ways": keepsNothing,
  },
}
