/** The real CLIs that `npm run test:agents` installs and puts through the suite. */
import { acp } from "./AcpAgent.ts"
import type { Agent } from "./Agent.ts"
import { claude } from "./ClaudeAgent.ts"
import { codex } from "./CodexAgent.ts"
import { gemini } from "./GeminiAgent.ts"
import { opencode } from "./OpencodeAgent.ts"

export const agents: ReadonlyArray<Agent> = [claude, codex, acp, gemini, opencode]
