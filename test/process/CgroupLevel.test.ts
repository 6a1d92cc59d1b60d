/** The level `cgroup`: all that a spawner promises, and what its cgroup adds to it. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { ownCgroup, probeCgroup } from "../../src/process/CgroupTree.ts"
import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import {
  eventually,
  fixture,
  freshToken,
  guardsOf,
  noLevel,
  openBench,
  pidsWith,
  serverOf,
  type SpawnerBench,
} from "./SpawnerBench.ts"

const skipped = await noLevel("cgroup")

spawnerSuite("cgroup", skipped)

describe("finding the own cgroup", () => {
  const hybrid = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
  const unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

  it.each([
    ["of version 2 alone", unified, "0::/user.slice/a.scope\n", "/sys/fs/cgroup/user.slice/a.scope"],
    ["beside version 1", hybrid, "4:memory:/x\n0::/\n", "/sys/fs/cgroup/unified"],
    [
      "in a container without a cgroup namespace",
      "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
      "0::/docker/ab/c\n",
      "/sys/fs/cgroup/c",
    ],
    [
      "with a space in its path",
      "30 23 0:26 / /sys/my\\040groups rw - cgroup2 cgroup2 rw\n",
      "0::/a\n",
      "/sys/my groups/a",
    ],
  ])("%s", (_, mountinfo, cgroup, path) => {
    expect(ownCgroup({ mountinfo, cgroup })).toEqual({ path })
  })

  it.each([
    ["version 1 alone", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "4:memory:/x\n"],
    ["version 2 not mounted", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "0::/\n"],
    ["a cgroup outside of the namespace", unified, "0::/../other\n"],
    ["no /proc", "", ""],
  ])("%s: there is none, and why", (_, mountinfo, cgroup) => {
    expect(ownCgroup({ mountinfo, cgroup })).toEqual({ detail: expect.stringMatching(/cgroup/) })
  })

  it("a directory that is no cgroup is told, and left as it was", () => {
    const directory = mkdtempSync(join(tmpdir(), "creche-no-cgroup-"))
    for (const [root, detail] of [
      ["/no/such/cgroup", /ENOENT/],
      [directory, /ENOENT/],
    ] as const) {
      const probe = probeCgroup({ CRECHE_CGROUP: root })
      expect(probe).toMatchObject({ available: false, detail: expect.stringMatching(detail) })
    }
    expect(readdirSync(directory)).toEqual([])
    rmSync(directory, { recursive: true })
  })
})

describe.skipIf(skipped !== "")(`the cgroup of a session${skipped && ` (${skipped})`}`, () => {
  let bench: SpawnerBench
  beforeAll(async () => {
    bench = await openBench("cgroup")
  })
  afterAll(() => bench?.close())

  const probe = probeCgroup()
  const root = probe.available ? probe.root : ""
  const pathOf = (pid: number) => {
    const found = ownCgroup({
      mountinfo: readFileSync("/proc/self/mountinfo", "utf8"),
      cgroup: readFileSync(`/proc/${pid}/cgroup`, "utf8"),
    })
    if ("detail" in found) throw new Error(found.detail)
    return found.path
  }

  it("holds the whole tree and not its guard, and is removed with the session", async () => {
    const token = freshToken()
    const { subprocess, close } = await bench.start("sh", [
      "-c",
      `setsid sleep 1000.${token} & sleep 1000.${token}; true`,
    ])
    const tree = await eventually("three", () => {
      const pids = pidsWith(token)
      return pids.length === 3 && pids
    })
    const path = pathOf(subprocess.pid)
    expect(path.startsWith(`${root}/creche-`)).toBe(true)
    expect(tree.map(pathOf)).toEqual([path, path, path])
    const [guard] = guardsOf(serverOf(process.pid, bench.directory)!)
    expect(pathOf(guard!)).toBe(pathOf(process.pid))
    await close()
    expect(existsSync(path)).toBe(false)
  })

  it("cgroups that the session made below its own are removed as well", async () => {
    const { subprocess, recorder, close } = await bench.start("sh", [
      "-c",
      `own=$(sed -n 's/^0:://p' /proc/self/cgroup); mkdir -p ${probeMount()}$own/a/b 2>/dev/null && echo made || echo not; exec sleep 1000`,
    ])
    await eventually("said", () => recorder.stdout !== "")
    const path = pathOf(subprocess.pid)
    if (recorder.stdout === "made\n") expect(existsSync(join(path, "a/b"))).toBe(true)
    await close()
    expect(existsSync(path)).toBe(false)
  })

  it("nothing is left of it when the command could not be started", async () => {
    const before = await bench.start("sleep", ["1000"])
    const above = dirname(pathOf(before.subprocess.pid))
    const subgroups = () => readdirSync(above, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    await expect(bench.start("/no/such/program")).rejects.toMatchObject({ errno: "ENOENT" })
    await expect(bench.start("true", [], { cwd: "/no/such/directory" })).rejects.toMatchObject({ field: "cwd" })
    await eventually("one", () => subgroups().length === 1)
    await before.close()
    expect(subgroups()).toEqual([])
  })

  it("is ended and removed although its guard was killed", async () => {
    const token = freshToken()
    const { subprocess, recorder, close } = await bench.start("sh", [
      "-c",
      `setsid sleep 1000.${token} & exec sleep 1000.${token}`,
    ])
    await eventually("two", () => pidsWith(token).length === 2)
    const path = pathOf(subprocess.pid)
    const [guard] = guardsOf(serverOf(process.pid, bench.directory)!)
    process.kill(guard!, "SIGKILL")
    await recorder.closed
    expect(pidsWith(token)).toEqual([])
    await eventually("removed", () => !existsSync(path))
    await close()
  })

  it("the runtime's own is removed at its close", async () => {
    const own = await openBench("cgroup")
    const { subprocess } = await own.start("sleep", ["1000"], { shutdown: "brutal_kill" })
    const above = dirname(pathOf(subprocess.pid))
    await own.close()
    expect(existsSync(above)).toBe(false)
  })

  it("what a runtime left that was killed with its server and guards is ended and removed by the next one", async () => {
    const token = freshToken()
    const directory = mkdtempSync(join(tmpdir(), "creche-cgroup-"))
    const argv = [fixture("runtime.ts"), directory, "cgroup", "2", "sleep", `1000.${token}`]
    const runtime = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] })
    let out = ""
    runtime.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
    const [leader] = await eventually("spawned", () => /spawned (\d+) (\d+)/.exec(out)?.slice(1).map(Number))
    const above = dirname(pathOf(leader!))
    const server = serverOf(runtime.pid!, directory)!
    const guards = guardsOf(server)
    // None of them may act on the death of another.
    for (const pid of [...guards, server, runtime.pid!]) process.kill(pid, "SIGSTOP")
    for (const pid of [...guards, server, runtime.pid!]) process.kill(pid, "SIGKILL")
    await once(runtime, "exit")
    expect(pidsWith(token).filter((pid) => pid !== runtime.pid).length).toBe(2)
    expect(existsSync(above)).toBe(true)
    const next = await openBench("cgroup")
    expect(pidsWith(token)).toEqual([])
    expect(existsSync(above)).toBe(false)
    await next.close()
    rmSync(directory, { recursive: true, force: true })
  })

  const probeMount = () => {
    const found = ownCgroup({ mountinfo: readFileSync("/proc/self/mountinfo", "utf8"), cgroup: "0::/\n" })
    return "path" in found ? found.path : ""
  }
})
