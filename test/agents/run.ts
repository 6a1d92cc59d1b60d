/**
 * `npm run test:agents -- [NAME…] [ARGUMENTS OF VITEST]`: installs the pinned CLIs, then runs their suite in a network
 * namespace that has loopback and nothing else. What cannot be had here is said and skipped by name.
 */
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { agents } from "./Agents.ts"
import { install } from "./install.ts"
import { languageServers } from "./LanguageServers.ts"
import { tools } from "./Tools.ts"

const given = process.argv.slice(2)
const first = given.findIndex((arg) => arg.startsWith("-"))
const names = first < 0 ? given : given.slice(0, first)
const passed = first < 0 ? [] : given.slice(first).filter((arg) => arg !== "--")
const isWanted = ({ name, isByName = false }: { readonly name: string; readonly isByName?: boolean }) =>
  names.includes(name) || (names.length === 0 && !isByName)
const wanted = agents.filter(isWanted)
/** These ask nobody in the network for anything, so they may run also where there is one. */
const servers = languageServers.filter(isWanted)
const others = tools.filter(isWanted)
const missing: Record<string, string> = {}

/** The arguments that put a program into a namespace of its own; a string: why that is not possible here. */
const namespace = (): ReadonlyArray<string> | string => {
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"]
  const up = "ip link set lo up 2>/dev/null || ifconfig lo up"
  const inside = [...user, "--net", "--", "sh", "-c", `{ ${up}; } && exec "$0" "$@"`]
  const { status, error, stderr } = spawnSync("unshare", [...inside, "true"], { encoding: "utf8" })
  return status === 0 ? inside : `no network namespace can be made here: ${(error?.message ?? stderr).trim()}`
}

const inside = namespace()
for (const agent of [...wanted, ...servers, ...others]) {
  const needsNamespace =
    wanted.some(({ name }) => name === agent.name) || ("needsNamespace" in agent && agent.needsNamespace === true)
  const why = typeof inside === "string" && needsNamespace ? inside : install(agent)
  if (why === undefined) continue
  missing[agent.name] = why
  console.error(`test:agents: ${agent.name} is skipped: ${why}`)
}

const vitest = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url))
const config = fileURLToPath(new URL("vitest.config.ts", import.meta.url))
// A file without a test is a failure.
const files = [
  ...(wanted.length === 0 ? [] : ["RealAgents", "ClaudeMcp", "acp"]),
  ...(servers.length === 0 ? [] : ["LanguageServers"]),
  ...others.map(({ suite }) => suite),
].map((name) => `${name}.suite`)
const command = [process.execPath, vitest, "run", "--config", config, ...files, ...passed]
const [program, ...args] = typeof inside === "string" ? command : ["unshare", ...inside, ...command]
const child = spawn(program!, args, {
  stdio: "inherit",
  env: {
    ...process.env,
    CRECHE_AGENTS_WANTED: JSON.stringify([...wanted, ...servers, ...others].map(({ name }) => name)),
    CRECHE_AGENTS_MISSING: JSON.stringify(missing),
  },
})
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal))
child.on("exit", (code) => (process.exitCode = code ?? 1))
