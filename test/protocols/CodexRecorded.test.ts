/** The scenes of `test/agents/CodexScenes.ts`, played against what the real Codex said in them: offline, nothing installed. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { makeCodex } from "../../src/protocols/Codex.ts"
import { drive, type Driven } from "../agents/CodexDriver.ts"
import { scenes } from "../agents/CodexScenes.ts"

const fixtures = new URL("../fixtures/agents/codex/", import.meta.url).pathname
const replay = new URL("../fixtures/agents/replay.ts", import.meta.url).pathname

describe("Codex as it was recorded", () => {
  let cwd: string
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), "creche-codex-"))
  })
  afterAll(() => rmSync(cwd, { recursive: true }))

  it.each(Object.keys(scenes))("plays the scene %s", async (name) => {
    const opened: Array<Driven> = []
    try {
      await scenes[name]!((from) => {
        const args = [replay, `${fixtures}${name}.${opened.length + 1}.jsonl`, "--"]
        const launch = { command: process.execPath, args, cwd, env: {} }
        const real = drive(makeCodex(), launch, from ?? null)
        const stop: Driven["stop"] = async (signal = "SIGTERM") => {
          // The end of its stdin ends the recording, and shows that it was played to its last line.
          if (signal === "SIGTERM") real.child.stdin?.end()
          else real.child.kill(signal)
          return await real.exited
        }
        opened.push(real)
        return { ...real, stop }
      })
      expect(opened.length).toBeGreaterThan(0)
    } finally {
      for (const { child, exited } of opened) {
        child.kill("SIGKILL")
        await exited
      }
    }
  })
})
