/**
 * `npm run test:agents -- [NAME…] [ARGUMENTS OF VITEST]`: installs the pinned CLIs, then runs their suite in a network
 * namespace that has loopback and nothing else. What cannot be had here is said and skipped by name.
 */
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { agents } from "./Agents.ts"
import { install } from "./install.ts"

const given = process.argv.slice(2)
const first = given.findIndex((arg) => arg.startsWith("-"))
const names = first < 0 ? given : given.slice(0, first)
const passed = first < 0 ? [] : given.slice(first).filter((arg) => arg !== "--")
const wanted = agents.filter(({ name }) => names.length === 0 || names.includes(name))
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
for (const agent of wanted) {
  const why = typeof inside === "string" ? inside : install(agent)
  if (why === undefined) continue
  missing[agent.name] = why
  console.error(`test:agents: ${agent.name} is skipped: ${why}`)
}

const vitest = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url))
const config = fileURLToPath(new URL("vitest.config.ts", import.meta.url))
const command = [process.execPath, vitest, "run", "--config", config, ...passed]
const [program, ...args] = typeof inside === "string" ? command : ["unshare", ...inside, ...command]
const child = spawn(program!, args, {
  stdio: "inherit",
  env: {
    ...process.env,
    CRECHE_AGENTS_WANTED: JSON.stringify(wanted.map(({ name }) => name)),
    CRECHE_AGENTS_MISSING: JSON.stringify(missing),
  },
})
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal))
child.on("exit", (code) => (process.exitCode = code ?? 1))
