/** The scenes of ACP against the real claude-agent-acp, besides those that all agents share. `run.ts` runs it, without a network. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, it } from "vitest"
import { acp, acpLaunch } from "./AcpAgent.ts"
import { play } from "./AcpPlay.ts"
import { scenes } from "./AcpScenes.ts"
import { directoryOf, isInstalled } from "./install.ts"
import { startMockAnthropic, type MockModel } from "./mockAnthropic.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>
const why = missing[acp.name] ?? (isInstalled(acp) ? undefined : "it is not installed; npm run test:agents does")

describe.skipIf(wanted !== null && !wanted.includes(acp.name))("acp, by its protocol alone", () => {
  let root: string
  let mock: MockModel
  beforeAll(async () => {
    root = mkdtempSync(join(process.env["CRECHE_AGENTS_WORK"] ?? tmpdir(), "creche-acp-"))
    mock = await startMockAnthropic()
  })
  afterAll(async () => {
    await mock.close()
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  })

  it.for(Object.keys(scenes))("plays the scene %s", async (name, context) => {
    if (why !== undefined) return context.skip(why)
    const home = join(root, name)
    const cwd = join(home, "work")
    mkdirSync(cwd, { recursive: true })
    const launch = acpLaunch({ directory: directoryOf(acp), home, url: mock.url }, cwd)
    await play(scenes[name]!, () => launch)
  })
})
