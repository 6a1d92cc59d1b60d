/** The level `namespace`: all that a spawner promises, and what the kernel adds to it. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { parseProbe } from "../../src/process/ContainmentLevels.ts"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { bin } from "../cli/Cli.ts"
import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import {
  childrenOf,
  eventually,
  fixture,
  freshToken,
  isGone,
  noLevel,
  noTree,
  openBench,
  pidsWith,
  type SpawnerBench,
} from "./SpawnerBench.ts"

const skipped = await noLevel("namespace")

spawnerSuite("namespace", skipped)

describe.skipIf(noTree !== "")(`where no namespace may be made${noTree && ` (${noTree})`}`, () => {
  /** A user namespace may set limits of its own: here, no PID namespace below it. */
  const forbidding = [
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'echo 0 >/proc/sys/user/max_pid_namespaces && exec "$@"',
    "sh",
  ]
  const run = (...args: ReadonlyArray<string>) => spawnSync("unshare", [...forbidding, ...args], { encoding: "utf8" })
  const why = run("true").status === 0 ? undefined : "unshare may make no user namespace here"

  it("the probe says so and why", (context) => {
    context.skip(why !== undefined, why)
    const binary = findGuardBinary()
    const { stdout } = run(binary.found ? binary.path : "", "--probe")
    const probed = parseProbe(stdout)
    expect(probed).toEqual({ server: "guard", namespace: { step: "namespace", errno: 28 } })
  })

  it("a session that asks for one is refused by name, and doctor says that the guard holds all others", (context) => {
    context.skip(why !== undefined, why)
    const directory = mkdtempSync(join(tmpdir(), "creche-forbidden-"))
    const start = (level: string) => run(process.execPath, fixture("runtime.ts"), directory, level, "1", "false").stdout
    expect(start("namespace")).toMatch(/failed .*"errno":"ELEVEL".*user\.max_user_namespaces/)
    const doctor = run(process.execPath, bin, "doctor", "--json").stdout
    const { findings } = JSON.parse(doctor) as {
      findings: ReadonlyArray<{ what: string; status: string; detail: string }>
    }
    expect(findings.find(({ what }) => what === "namespace")).toMatchObject({
      status: "missing",
      detail: expect.stringContaining("ENOSPC"),
    })
    expect(findings.find(({ what }) => what === "containment")).toMatchObject({ status: "ok" })
    rmSync(directory, { recursive: true, force: true })
  })
})

describe.skipIf(skipped !== "")(`the namespace of a session${skipped && ` (${skipped})`}`, () => {
  let bench: SpawnerBench
  beforeAll(async () => {
    bench = await openBench("namespace")
  })
  afterAll(() => bench?.close())

  const lines = async (script: string) => {
    const { recorder, close } = await bench.start("sh", ["-c", script])
    await recorder.closed
    await close()
    return recorder.stdout.trim().split("\n")
  }
  const guardOf = (leader: number) =>
    Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${leader}/status`, "latin1"))?.[1])
  /** It has its name only once it has run, which on a busy machine the command may have done before. */
  const initOf = (leader: number) =>
    eventually("its init", () =>
      childrenOf(guardOf(leader)).find((pid) => readFileSync(`/proc/${pid}/comm`, "latin1") === "creche-init\n"),
    )

  it("a session sees its own processes and no others, under the numbers of its namespace", async () => {
    const [self, proc, others] = await lines(
      "echo $$; readlink /proc/self >/dev/null && echo own; ls /proc | grep -c '^[0-9]'",
    )
    expect(self).toBe("2")
    expect(proc).toBe("own")
    // init, sh, ls, grep
    expect(Number(others)).toBeLessThanOrEqual(4)
  })

  it("the pid that is told is the one that the machine knows it by", async () => {
    const token = freshToken()
    const { subprocess, close } = await bench.start("sleep", [`1000.${token}`])
    await eventually("it under that number", () => pidsWith(token).includes(subprocess.pid))
    expect(pidsWith(token)).toEqual([subprocess.pid])
    expect(readlinkSync(`/proc/${subprocess.pid}/ns/pid`)).not.toBe(readlinkSync("/proc/self/ns/pid"))
    await close()
    expect(isGone(subprocess.pid)).toBe(true)
  })

  it("a command keeps its user, its groups and no privilege that its user does not have", async () => {
    const [ids, caps] = await lines("id -u; grep CapEff /proc/self/status")
    const own = /^CapEff:\s+(\S+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1]
    expect(ids).toBe(String(process.getuid?.()))
    expect(caps?.split("\t")[1]).toBe(own)
  })

  it("this machine's /proc and mounts stay as they are", async () => {
    const before = readFileSync("/proc/self/mountinfo", "latin1")
    await lines("true")
    expect(readFileSync("/proc/self/mountinfo", "latin1")).toBe(before)
  })

  it("orphans that end are reaped while the session lives", async () => {
    const { subprocess, recorder, close } = await bench.start("sh", [
      "-c",
      "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'exit 0' &); done; sleep 0.05; echo ready; exec sleep 1000",
    ])
    await eventually("ready", () => recorder.stdout !== "")
    const init = await initOf(subprocess.pid)
    await eventually("reaped", () => childrenOf(init).length === 0)
    await close()
  })

  it("the end of its init is the end of the session", async () => {
    const token = freshToken()
    const script = `setsid sleep 1000.${token} & (setsid sleep 1000.${token} >/dev/null 2>&1 <&- &) ; exec sleep 1000.${token}`
    const { subprocess, recorder, close } = await bench.start("sh", ["-c", script])
    await eventually("three", () => pidsWith(token).length === 3)
    process.kill(await initOf(subprocess.pid), "SIGKILL")
    expect(await recorder.exit).toMatchObject({ kind: "signaled", signal: "SIGKILL" })
    expect(await recorder.closed).toEqual([])
    expect(pidsWith(token)).toEqual([])
    await close()
  })

  it("a stopped init holds nothing back: neither the end nor the kill of its guard", async () => {
    const token = freshToken()
    const first = await bench.start("sleep", [`1000.${token}`], { shutdown: "brutal_kill" })
    process.kill(await initOf(first.subprocess.pid), "SIGSTOP")
    await first.close()
    expect(pidsWith(token)).toEqual([])
    const second = await bench.start("sleep", [`1000.${token}`], { shutdown: "brutal_kill" })
    process.kill(await initOf(second.subprocess.pid), "SIGSTOP")
    process.kill(guardOf(second.subprocess.pid), "SIGKILL")
    expect(await second.recorder.closed).toEqual([])
    await eventually("none left", () => pidsWith(token).length === 0)
    await second.close()
  })

  it("a namespace within the namespace is allowed, and ends with it", async () => {
    const token = freshToken()
    const { recorder, close } = await bench.start(
      "sh",
      ["-c", `unshare --user --map-current-user --pid --fork sh -c 'echo $$; sleep 1000.${token}' || echo refused`],
      { shutdown: "brutal_kill" },
    )
    await eventually("said", () => recorder.stdout !== "")
    expect(recorder.stdout).toMatch(/^(1|refused)\n/)
    await close()
    expect(pidsWith(token)).toEqual([])
  })
})
