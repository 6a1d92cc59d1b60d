// Claude Code through its SDK, in a program that leaves nothing: not when it ends, not when it is killed in the middle of a
// tool. The SDK asks its host to start the CLI; creche/spawn does it as Node would, under a guard.
//
//   npm install creche @anthropic-ai/claude-agent-sdk
//   node guarded-claude-agent.mjs "which files are here?"
import { query } from "@anthropic-ai/claude-agent-sdk"
import { spawn } from "creche/spawn"

const [prompt = "which files are here?"] = process.argv.slice(2)

const conversation = query({
  prompt,
  options: {
    allowedTools: ["Bash", "Read", "Glob"],
    spawnClaudeCodeProcess: ({ command, args, cwd, env, signal }) =>
      spawn(command, args, { cwd, env, signal, stdio: ["pipe", "pipe", "inherit"] }),
  },
})

for await (const message of conversation) {
  if (message.type === "system" && message.subtype === "init") console.log("started", spawn.containment.level)
  if (message.type === "result") console.log(message.subtype, message.result)
}
