/** The scenes of `test/agents/AcpScenes.ts`, played with the agent of our own and each of its habits. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, it } from "vitest"
import { play } from "../agents/AcpPlay.ts"
import { scenes } from "../agents/AcpScenes.ts"

const agent = new URL("../fixtures/agents/acp/agent.ts", import.meta.url).pathname

const habits: Readonly<Record<string, ReadonlyArray<string>>> = {
  "as the specification has it": [],
  "with ids that are strings, and without resume": ["--string-ids", "--no-resume"],
  "that tells of the past after it answered": ["--no-resume", "--late-history"],
  "that calls a cancelled turn an ended one": ["--cancel", "end_turn"],
  "that calls a cancelled turn an error": ["--cancel", "error"],
}

describe.each(Object.entries(habits))("an ACP agent %s", (_, flags) => {
  let directory: string
  let count = 0
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "creche-acp-"))
  })
  afterAll(() => rmSync(directory, { recursive: true, maxRetries: 5 }))

  it.each(Object.keys(scenes))("plays the scene %s", async (name) => {
    const store = join(directory, String(count++))
    const args = [agent, "--store", store, "--models", "default,haiku", ...flags]
    const launch = { command: process.execPath, args, cwd: directory, env: { PATH: process.env["PATH"] ?? "" } }
    await play(scenes[name]!, () => launch)
  })
})
