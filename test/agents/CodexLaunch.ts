/** How the real Codex is run offline: a HOME of its own, with a configuration that knows a mock of the model's API alone. */
import { mkdirSync, writeFileSync } from "node:fs"
import { networkInterfaces } from "node:os"

export const codexPackage = "@openai/codex@0.169.0"
export const codexProgram = "node_modules/.bin/codex"

/** Whether this is a network namespace that has loopback alone. */
export const inLoopbackOnly = (): boolean => Object.keys(networkInterfaces()).every((name) => name === "lo")

const config = (url: string): string => `model = "mock-model"
model_provider = "mock"
approval_policy = "on-request"
sandbox_mode = "workspace-write"

[model_providers.mock]
name = "mock"
base_url = "${url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 1

[analytics]
enabled = false
`

/** The variables for a Codex that keeps everything in `home` and speaks to the mock at `url`. */
export const codexEnvironment = (home: string, url: string): Readonly<Record<string, string>> => {
  const own = `${home}/.codex`
  mkdirSync(own, { recursive: true })
  writeFileSync(`${own}/config.toml`, config(url))
  return { HOME: home, CODEX_HOME: own }
}
