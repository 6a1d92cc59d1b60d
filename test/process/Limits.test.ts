/** A tree that takes more than it may is ended, and says why; one that stays within its limits is left alone. */
import { spawnSync } from "node:child_process"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { probeCgroup } from "../../src/process/CgroupTree.ts"
import type { Containment } from "../../src/domain/Session.ts"
import { eventually, fixture, freshToken, noLevel, openBench, pidsWith, type SpawnerBench } from "./SpawnerBench.ts"

const noPython = spawnSync("python3", ["--version"]).status === 0 ? "" : "there is no python3"
const mib = 1024 * 1024
const levels: ReadonlyArray<Containment> = ["guard", "namespace", "cgroup"]
const skipped = new Map(await Promise.all(levels.map(async (level) => [level, await noLevel(level)] as const)))
const cgroups = probeCgroup()

for (const level of levels) {
  const why = skipped.get(level)!
  describe.skipIf(why !== "")(`limits at the level ${level}${why && ` (${why})`}`, () => {
    let bench: SpawnerBench
    let token: string
    beforeEach(async () => {
      token = freshToken()
      bench = await openBench(level)
    })
    afterEach(() => bench.close())

    const held = level === "cgroup" && cgroups.available ? cgroups.controllers : []

    it("a fork bomb is ended while it is small, its neighbours answer, and nothing of it is left", async () => {
      const neighbour = await bench.start("cat")
      const { recorder, close } = await bench.start("sh", [fixture("fork-bomb.sh"), token, "11"], {
        limits: { processes: 20 },
      })
      neighbour.subprocess.write("during\n")
      const exit = await recorder.exit
      expect(exit).toMatchObject({ kind: "killedByRuntime", signal: "SIGKILL" })
      expect(exit).toHaveProperty("detail", expect.stringMatching(/^limits\.processes: more than 20 at once$/))
      expect(await recorder.closed).toEqual([])
      expect(pidsWith(token)).toEqual([])
      await eventually("the neighbour", () => neighbour.recorder.stdout === "during\n")
      await neighbour.close()
      await close()
    })

    it("a bomb that begins after a long rest is ended as well", async () => {
      const { subprocess, recorder, close } = await bench.start(
        "sh",
        ["-c", `read go; exec sh ${fixture("fork-bomb.sh")} ${token} 11`],
        {
          limits: { processes: 20 },
        },
      )
      // Long enough for the looks to have become rare.
      await new Promise((resolve) => setTimeout(resolve, 500))
      subprocess.write("go\n")
      expect(await recorder.exit).toMatchObject({ kind: "killedByRuntime" })
      await recorder.closed
      expect(pidsWith(token)).toEqual([])
      await close()
    })

    it("as many processes as are allowed are left alone, and one more is too many", async () => {
      // The shell and four others; who called setsid, and daemons, count like everybody. A subshell that makes a daemon is one
      // more for a moment, so that one is allowed.
      const script = `for i in 1 2; do sleep 1000.${token} & done; setsid sleep 1000.${token} & (setsid sleep 1000.${token} >/dev/null 2>&1 &)
while read line; do sleep 1000.${token} & sleep 1000.${token} & echo "$line"; done`
      const { subprocess, recorder, close } = await bench.start("sh", ["-c", script], { limits: { processes: 6 } })
      await eventually("five", () => pidsWith(token).length === 5)
      await new Promise((resolve) => setTimeout(resolve, 400))
      expect(recorder.exits).toEqual([])
      subprocess.write("one more\n")
      expect(await recorder.exit).toMatchObject({ detail: "limits.processes: more than 6 at once" })
      await recorder.closed
      expect(pidsWith(token)).toEqual([])
      await close()
    })

    it("dead children that nobody reaps are no processes", async () => {
      const script = "for i in 1 2 3 4 5 6 7 8 9; do sh -c : & done; echo started; exec sleep 1000"
      const { recorder, close } = await bench.start("sh", ["-c", script], { limits: { processes: 12 } })
      await eventually("started", () => recorder.stdout !== "")
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(recorder.exits).toEqual([])
      await close()
    })

    it("memory over the limit ends the tree, whichever process of it takes it", async () => {
      const script = `echo ready; read go; head -c ${400 * mib} /dev/zero | tail -c 300000000 | sleep 1000.${token}`
      const { subprocess, recorder, close } = await bench.start("sh", ["-c", script], {
        limits: { memoryBytes: 64 * mib },
      })
      await eventually("ready", () => recorder.stdout === "ready\n")
      subprocess.write("go\n")
      const exit = await recorder.exit
      expect(exit).toMatchObject({ kind: "killedByRuntime" })
      expect(exit).toHaveProperty(
        "detail",
        expect.stringMatching(new RegExp(`^limits\\.memoryBytes: \\d+ bytes, and ${64 * mib} are allowed$`)),
      )
      expect(await recorder.closed).toEqual([])
      expect(pidsWith(token)).toEqual([])
      await close()
    })

    it.skipIf(noPython !== "")(
      `memory that processes share counts once${noPython && ` (skipped, ${noPython})`}`,
      async () => {
        const script = `
import os, time
block = bytearray(60_000_000)
for i in range(0, len(block), 4096): block[i] = 1
for i in range(5):
  if os.fork() == 0: time.sleep(1000)
print("forked", flush=True)
time.sleep(1000)`
        const { recorder, close } = await bench.start("python3", ["-c", script], {
          limits: { memoryBytes: 160 * mib, processes: 50 },
        })
        await eventually("forked", () => recorder.stdout === "forked\n")
        await new Promise((resolve) => setTimeout(resolve, 600))
        expect(recorder.exits).toEqual([])
        await close()
      },
    )

    it.skipIf(noPython !== "")(
      `memory of a process that lets nobody look counts as well${noPython && ` (skipped, ${noPython})`}`,
      async () => {
        const script = `
import ctypes, sys, time
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("closed", flush=True)
sys.stdin.readline()
block = bytearray(300_000_000)
time.sleep(1000)`
        const { subprocess, recorder, close } = await bench.start("python3", ["-c", script], {
          limits: { memoryBytes: 64 * mib },
        })
        await eventually("closed", () => recorder.stdout === "closed\n")
        subprocess.write("go\n")
        expect(await recorder.exit).toMatchObject({ detail: expect.stringContaining("limits.memoryBytes") })
        await close()
      },
    )

    it("without limits nobody looks, and a tree may grow", async () => {
      const script = `i=0; while [ $i -lt 60 ]; do sleep 1000.${token} & i=$((i+1)); done; echo ready; exec sleep 1000.${token}`
      const { recorder, close } = await bench.start("sh", ["-c", script])
      await eventually("ready", () => recorder.stdout === "ready\n")
      expect(recorder.exits).toEqual([])
      await close()
      expect(pidsWith(token)).toEqual([])
    })

    it.skipIf(!held.includes("memory"))(
      `the kernel holds the memory${held.includes("memory") ? "" : " (skipped, the controller is not to be had here)"}`,
      async () => {
        const { recorder, close } = await bench.start(
          "sh",
          ["-c", `head -c ${400 * mib} /dev/zero | tail -c 300000000`],
          {
            limits: { memoryBytes: 64 * mib },
          },
        )
        expect(await recorder.exit).toMatchObject({
          kind: "killedByRuntime",
          detail: `limits.memoryBytes: ${64 * mib} bytes, and ${64 * mib} are allowed`,
        })
        await close()
      },
    )
  })
}
