/**
 * Plays the scenes against the real Codex and the mocked model, and writes down what went over the wire:
 *
 *   unshare -n sh -c 'ip link set lo up; exec sh scripts/run test/agents/codexRecord.ts CODEX HOME [DIRECTORY [SCENE…]]'
 *
 * CODEX: the CLI; HOME: a directory for it, made here, outside of the temporary ones. Without DIRECTORY the scenes are played
 * and nothing is written. Each process of a scene has a file of its own, `SCENE.N.jsonl`, as `replay.ts` plays them.
 */
import { execFileSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { makeCodex } from "../../src/protocols/Codex.ts"
import { drive, type Driven } from "./CodexDriver.ts"
import { codexEnvironment, inLoopbackOnly } from "./CodexLaunch.ts"
import { scenes } from "./CodexScenes.ts"
import { startMockOpenai } from "./mockOpenai.ts"

const [command = "", home = "", directory, ...only] = process.argv.slice(2)
if (home === "") throw new Error("usage: codexRecord.ts CODEX HOME [DIRECTORY [SCENE…]]")
if (!inLoopbackOnly()) throw new Error("there is a network here; run it under `unshare -n`, as its first lines say")

/** Nothing of this machine. */
const told = (dir: "in" | "out", line: string, cwd: string): string => {
  const own = line
    .replaceAll(cwd, "${cwd}")
    .replaceAll(resolve(home), "/home/agent")
    .replace(/"installationId":"[^"]*"/, '"installationId":"00000000-0000-4000-8000-000000000000"')
    .replace(/"serverName":"[^"]*"/, '"serverName":"host"')
    .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:1")
  return JSON.stringify({ dir, data: JSON.parse(own) as unknown })
}

const version = execFileSync(command, ["--version"], {
  encoding: "utf8",
  env: { PATH: process.env["PATH"], HOME: home },
})
for (const [name, play] of Object.entries(scenes)) {
  if (only.length > 0 && !only.includes(name)) continue
  const mock = await startMockOpenai()
  const own = `${resolve(home)}/${name}`
  rmSync(own, { recursive: true, force: true })
  const cwd = `${own}/work`
  mkdirSync(cwd, { recursive: true })
  const env = { PATH: process.env["PATH"] ?? "", ...codexEnvironment(own, mock.url) }
  const launch = { command, args: [], cwd, env }
  const opened: Array<Driven> = []
  const begunAt = Date.now()
  try {
    await play((from) => {
      const lines = [JSON.stringify({ dir: "note", data: `${version.trim()}, against the mock` })]
      const it = drive(makeCodex(), launch, from ?? null, (dir, line) => lines.push(told(dir, line, cwd)))
      const file = directory === undefined ? undefined : `${directory}/${name}.${opened.push(it)}.jsonl`
      if (directory === undefined) opened.push(it)
      void it.exited.then((how) => {
        // What it did after it was told to end, and how, is the replaying test's own doing.
        if (file !== undefined) writeFileSync(file, lines.join("\n") + "\n")
        return how
      })
      return it
    })
    console.log(`${name}: ${Date.now() - begunAt} ms, ${mock.requests.length} requests to the model`)
  } finally {
    for (const { child, exited } of opened) {
      child.kill("SIGKILL")
      await exited
    }
    await mock.close()
  }
}
