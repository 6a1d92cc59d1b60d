/**
 * Kernels that lack what the guard uses by preference: the list of children in /proc (CONFIG_PROC_CHILDREN), `cgroup.kill`
 * (Linux 5.14). A guard that was compiled to look for files of other names is in the same position.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { eventually, fixture, freshToken, noLevel, openBench, pidsWith, type SpawnerBench } from "./SpawnerBench.ts"

const sources = fileURLToPath(new URL("../../native/guard", import.meta.url))
const compiler = process.env["CC"] || "cc"
const levels = ["guard", "cgroup"] as const
const missing = new Map(await Promise.all(levels.map(async (level) => [level, await noLevel(level)] as const)))
const hasCompiler = spawnSync(compiler, ["--version"]).status === 0

for (const level of levels) {
  const why = !hasCompiler ? `skipped, there is no ${compiler}` : missing.get(level)!
  describe.skipIf(why !== "")(`a kernel of long ago, level ${level}${why && ` (${why})`}`, () => {
    let directory: string
    let bench: SpawnerBench
    const before = process.env["CRECHE_GUARD"]
    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), "creche-old-"))
      const guard = join(directory, "guard")
      const files = readdirSync(sources).filter((name) => name.endsWith(".c"))
      const flags = ["-O1", "-std=gnu11", '-DCHILDREN_FILE="no-children"', '-DKILL_FILE="no.kill"']
      const compiled = spawnSync(compiler, [...flags, "-o", guard, ...files.map((name) => join(sources, name))], {
        encoding: "utf8",
      })
      expect(compiled.stderr).toBe("")
      process.env["CRECHE_GUARD"] = guard
      bench = await openBench(level)
    })
    afterAll(async () => {
      await bench?.close()
      if (before === undefined) delete process.env["CRECHE_GUARD"]
      else process.env["CRECHE_GUARD"] = before
      rmSync(directory, { recursive: true, force: true })
    })

    it("a hostile tree, a hydra and 31 processes in many sessions are ended", async () => {
      for (const script of ["hostile-tree.sh", "hydra.sh", "process-tree.sh"]) {
        const token = freshToken()
        const scratch = join(directory, script)
        mkdirSync(scratch)
        const args = script === "hostile-tree.sh" ? [scratch, token] : [token]
        const { recorder, close } = await bench.start("sh", [fixture(script), ...args], { shutdown: "brutal_kill" })
        await eventually("it stands", () => /ready|here/.test(recorder.stdout) && pidsWith(token).length > 4)
        await close()
        expect(pidsWith(token)).toEqual([])
        expect(await recorder.closed).toEqual([])
      }
    })

    it("a limit of processes is held", async () => {
      const token = freshToken()
      const { recorder, close } = await bench.start("sh", [fixture("fork-bomb.sh"), token, "9"], {
        limits: { processes: 20 },
      })
      expect(await recorder.exit).toMatchObject({ kind: "killedByRuntime" })
      await recorder.closed
      expect(pidsWith(token)).toEqual([])
      await close()
    })
  })
}
