/** The real CLIs that `npm run test:agents` installs and puts through the suite. */
import type { Agent } from "./Agent.ts"
import { claude } from "./ClaudeAgent.ts"

export const agents: ReadonlyArray<Agent> = [claude]
