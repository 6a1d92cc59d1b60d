/** The scenes of `test/agents/AcpScenes.ts`, played against what the real agent said in them: offline, nothing installed. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { play } from "../agents/AcpPlay.ts"
import { scenes } from "../agents/AcpScenes.ts"

const fixtures = new URL("../fixtures/agents/acp/", import.meta.url).pathname
const replay = new URL("../fixtures/agents/replay.ts", import.meta.url).pathname

describe("claude-agent-acp as it was recorded", () => {
  let cwd: string
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), "creche-acp-"))
  })
  afterAll(() => rmSync(cwd, { recursive: true }))

  it.each(Object.keys(scenes))("plays the scene %s", async (name) => {
    const launch = (n: number) => ({
      command: process.execPath,
      args: [replay, `${fixtures}${name}.${n}.jsonl`],
      cwd,
      env: {},
    })
    const count = await play(scenes[name]!, launch, (driven) => ({
      ...driven,
      stop: async (signal = "SIGTERM") => {
        if (signal === "SIGKILL") return await driven.stop(signal)
        // The end of its stdin ends the recording, and shows that it was played to its last line.
        driven.child.stdin?.end()
        const how = await driven.exited
        expect(how).toBe(0)
        return how
      },
    }))
    expect(count).toBeGreaterThan(0)
  })
})
