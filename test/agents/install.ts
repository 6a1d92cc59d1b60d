/**
 * Where the real CLIs are: outside of the project and its dependencies, in $CRECHE_AGENTS (default: ~/.cache/creche-agents),
 * a directory for each package and version. Installing is the only thing here that needs a network.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import type { Agent } from "./Agent.ts"

const root = process.env["CRECHE_AGENTS"] ?? join(homedir(), ".cache", "creche-agents")

type Installable = Pick<Agent, "name" | "packages" | "program">

export const directoryOf = ({ name, packages: [first] }: Installable): string =>
  join(root, `${name}-${first.slice(first.lastIndexOf("@") + 1)}`)

export const isInstalled = (agent: Installable): boolean => existsSync(join(directoryOf(agent), agent.program))

/** undefined: it is there now; else why it is not. */
export const install = (agent: Installable): string | undefined => {
  if (isInstalled(agent)) return undefined
  const directory = directoryOf(agent)
  // Whole or not at all: one that was interrupted is no install.
  const half = `${directory}.${process.pid}`
  try {
    mkdirSync(half, { recursive: true })
    writeFileSync(join(half, "package.json"), "{}")
    const args = ["install", "--no-audit", "--no-fund", "--prefix", half, ...agent.packages]
    const { status, error, stderr } = spawnSync("npm", args, { cwd: half, encoding: "utf8", timeout: 600_000 })
    if (status !== 0)
      return `npm could not install ${agent.packages.join(" ")}: ${error?.message ?? stderr.slice(0, 400).trim()}`
    if (!existsSync(join(half, agent.program))) return `${agent.packages[0]} brought no ${agent.program}`
    rmSync(directory, { recursive: true, force: true })
    renameSync(half, directory)
    return undefined
  } catch (error) {
    return `${directory} cannot be made: ${(error as Error).message}`
  } finally {
    if (existsSync(half)) rmSync(half, { recursive: true, force: true })
  }
}
