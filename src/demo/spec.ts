/**
 * How the demo agent is started. Knows where its file lies, in the source tree and in the package; starts nothing.
 * Called by `npm start`, the CLI's `demo` and the tests.
 */
import { fileURLToPath } from "node:url"
import type { SessionSpecInput } from "../domain/SessionSpec.ts"

const isSource = import.meta.url.endsWith(".ts")

/** The agent's file: beside this one, with the same extension. */
export const demoAgentPath = fileURLToPath(new URL(isSource ? "./agent.ts" : "./agent.js", import.meta.url))

/** A spec that starts the demo agent under this very Node; `overrides` come on top. */
export const demoSpec = (overrides: SessionSpecInput = {}): SessionSpecInput => ({
  command: process.execPath,
  // Older Nodes warn on stderr of each start that reading TypeScript is experimental.
  args: [...(isSource ? ["--disable-warning=ExperimentalWarning"] : []), demoAgentPath],
  protocol: {
    type: "ndjson",
    end: { type: "result" },
    conversation: { field: "id", resume: ["--resume", "{id}"], fork: ["--resume", "{id}", "--fork"] },
  },
  ...overrides,
})
