// usage: sdkProgram.mjs SDK node|creche PROMPT: a program that asks Claude Code through its SDK, as people write them, and prints
// a word for each kind of message. Its environment is the agent's.
import { writeSync } from "node:fs"

const [sdk, how, prompt] = process.argv.slice(2)
const { query } = await import(sdk)
const { spawn } = await import("../../src/spawn/index.ts")

const guarded = {
  spawnClaudeCodeProcess: ({ command, args, cwd, env, signal }) =>
    spawn(command, args, { cwd, env, signal, stdio: ["pipe", "pipe", "ignore"] }),
}
const conversation = query({
  prompt: (async function* () {
    yield { type: "user", message: { role: "user", content: prompt }, parent_tool_use_id: null }
    // The conversation stays open, as a bot's does.
    await new Promise(() => {})
  })(),
  options: {
    includePartialMessages: true,
    canUseTool: async (_tool, input) => ({ behavior: "allow", updatedInput: input }),
    ...(how === "creche" ? guarded : {}),
  },
})
for await (const message of conversation) {
  writeSync(1, `${message.type}\n`)
  if (message.type === "result") {
    writeSync(1, `said ${message.result}\n`)
    if (prompt.startsWith("leave")) break
  }
}
writeSync(1, "over\n")
process.exit(0)
