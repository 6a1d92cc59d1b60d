/**
 * Plays the scenes against the real claude-agent-acp and the mocked model, and writes down what went over the wire:
 *
 *   unshare -n sh -c 'ip link set lo up; exec sh scripts/run test/agents/acpRecord.ts INSTALLED HOME [DIRECTORY [SCENE…]]'
 *
 * INSTALLED: where `npm run test:agents` put the agent; HOME: a directory for it, made here. Without DIRECTORY the scenes are
 * played and nothing is written. Each process of a scene has a file of its own, `SCENE.N.jsonl`, as `replay.ts` plays them.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { networkInterfaces } from "node:os"
import { join, resolve } from "node:path"
import { acpLaunch } from "./AcpAgent.ts"
import { play } from "./AcpPlay.ts"
import { scenes } from "./AcpScenes.ts"
import { startMockAnthropic } from "./mockAnthropic.ts"

const [installed = "", home = "", directory, ...only] = process.argv.slice(2)
if (home === "") throw new Error("usage: acpRecord.ts INSTALLED HOME [DIRECTORY [SCENE…]]")
if (Object.keys(networkInterfaces()).some((name) => name !== "lo")) {
  throw new Error("there is a network here; run it under `unshare -n`, as its first lines say")
}

/** Long lists of what else the agent has on offer are no part of what is recorded. */
const shortened = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(shortened)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([field, part]) => [
      field,
      (field === "availableCommands" || field === "availableModes") && Array.isArray(part)
        ? part.slice(0, 1).map((one) => ({ ...one, description: "…" }))
        : field === "options" && JSON.stringify(part).length > 600
          ? (part as ReadonlyArray<object>).map((one) => ({ ...one, description: "…" }))
          : shortened(part),
    ]),
  )
}

const { version } = JSON.parse(
  readFileSync(join(installed, "node_modules/@agentclientprotocol/claude-agent-acp/package.json"), "utf8"),
) as { version: string }

for (const [name, scene] of Object.entries(scenes)) {
  if (only.length > 0 && !only.includes(name)) continue
  const mock = await startMockAnthropic()
  const own = join(resolve(home), name)
  rmSync(own, { recursive: true, force: true })
  const cwd = join(own, "work")
  mkdirSync(cwd, { recursive: true })
  const launch = acpLaunch({ directory: resolve(installed), home: own, url: mock.url }, cwd)
  const files = new Map<number, Array<string>>()
  const begunAt = Date.now()
  try {
    const count = await play(
      scene,
      () => launch,
      (driven) => driven,
      (n, dir, line) => {
        const lines = files.get(n) ?? [
          JSON.stringify({ dir: "note", data: `claude-agent-acp ${version}, against the mock; lists shortened` }),
        ]
        files.set(n, lines)
        // Nothing of this machine.
        const said = line.replaceAll(cwd, "${cwd}").replaceAll(own, "/home/agent")
        lines.push(JSON.stringify({ dir, data: shortened(JSON.parse(said)) }))
      },
    )
    for (const [n, lines] of files) {
      if (directory !== undefined) writeFileSync(join(directory, `${name}.${n}.jsonl`), lines.join("\n") + "\n")
    }
    console.log(
      `${name}: ${Date.now() - begunAt} ms, ${count} processes, ${mock.requests.length} requests to the model`,
    )
  } finally {
    await mock.close()
  }
}
