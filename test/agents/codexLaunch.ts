/**
 * How the real Codex is run offline: its own HOME, nothing of the machine's environment, a mock of the model's API. Never to be
 * called outside of a network namespace with loopback alone; `inLoopbackOnly` says whether this is one.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { networkInterfaces } from "node:os"
import type { Launch } from "./codexDriver.ts"

export const codexVersion = "0.169.0"

export const inLoopbackOnly = (): boolean => Object.keys(networkInterfaces()).every((name) => name === "lo")

/** Makes `home` (not below a temporary directory: Codex's sandbox needs it elsewhere) ready for the mock at `url`. */
export const codexLaunch = (command: string, home: string, url: string): Launch => {
  const cwd = `${home}/work`
  mkdirSync(`${home}/.codex`, { recursive: true })
  mkdirSync(cwd, { recursive: true })
  writeFileSync(`${home}/.codex/config.toml`, codexConfig(url))
  return { command, args: [], cwd, env: { PATH: process.env["PATH"] ?? "", HOME: home, LANG: "C.UTF-8" } }
}

export const codexConfig = (url: string): string => `model = "mock-model"
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
