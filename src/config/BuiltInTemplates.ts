/**
 * The templates that every runtime has without being told: agents by their protocols, and programs that need no key. Data
 * alone. A template of the same name in the configuration file, or put by a client, hides the one here.
 */
import { demoSpec } from "../demo/spec.ts"
import { specDefaults } from "../domain/SessionSpec.ts"
import type { Template } from "../domain/Template.ts"

/** Each agent is also passed the variables that hold its credentials and its place; HOME is among the defaults. */
const inheritEnv = (...names: ReadonlyArray<string>): ReadonlyArray<string> => [...specDefaults.inheritEnv, ...names]

const providerKeys = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENROUTER_API_KEY"]

export const builtInTemplates: Readonly<Record<string, Template>> = {
  claude: {
    description: "Claude Code, over its stream-json",
    command: "claude",
    // Set in the shells that Claude Code runs; an agent must not take itself for one's child.
    env: { CLAUDECODE: null },
    inheritEnv: inheritEnv(
      "ANTHROPIC_API_KEY",
      "ANTHROPIC_AUTH_TOKEN",
      "ANTHROPIC_BASE_URL",
      "CLAUDE_CODE_OAUTH_TOKEN",
      "CLAUDE_CONFIG_DIR",
    ),
    protocol: { type: "claude" },
  },
  codex: {
    description: "Codex, over its app-server",
    command: "codex",
    inheritEnv: inheritEnv("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_HOME"),
    protocol: { type: "codex" },
  },
  gemini: {
    description: "Gemini CLI, over ACP",
    command: "gemini",
    args: ["--acp"],
    inheritEnv: inheritEnv(
      "GEMINI_API_KEY",
      "GOOGLE_API_KEY",
      "GOOGLE_CLOUD_PROJECT",
      "GOOGLE_CLOUD_LOCATION",
      "GOOGLE_GENAI_USE_VERTEXAI",
    ),
    // It says that it loads conversations, and finds none of its own.
    protocol: { type: "acp", forgets: true },
  },
  opencode: {
    description: "opencode, over ACP",
    command: "opencode",
    args: ["acp"],
    inheritEnv: inheritEnv("XDG_CONFIG_HOME", "XDG_DATA_HOME", ...providerKeys),
    protocol: { type: "acp" },
  },
  goose: {
    description: "goose, over ACP",
    command: "goose",
    args: ["acp"],
    inheritEnv: inheritEnv("XDG_CONFIG_HOME", "GOOSE_PROVIDER", "GOOSE_MODEL", ...providerKeys),
    protocol: { type: "acp" },
  },
  python: {
    description: "a Python interpreter that keeps its variables from one prompt to the next",
    command: "python3",
    args: ["-i", "-q"],
    protocol: { type: "text", endOfTurn: { sentinel: { send: "print('§{id}')", expect: "§{id}" } } },
  },
  node: {
    description: "a JavaScript REPL of the Node that runs creche",
    command: process.execPath,
    args: ["-i"],
    protocol: { type: "text", endOfTurn: { prompt: "> $" } },
  },
  bash: {
    description: "a shell that keeps its variables and directory from one prompt to the next",
    command: "bash",
    protocol: { type: "text", endOfTurn: { sentinel: { send: "echo §{id}", expect: "§{id}" } } },
  },
  demo: {
    description: "the small scripted agent that ships with creche; /help tells what it can do",
    ...demoTemplate(),
  },
}

function demoTemplate(): Template {
  const { name: _name, task: _task, template: _template, ...spec } = demoSpec()
  return spec
}
