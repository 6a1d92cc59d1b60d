/** The level `namespace`: all that a spawner promises, and what the kernel adds to it. */
import { readFileSync, readlinkSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import {
  childrenOf,
  eventually,
  freshToken,
  isGone,
  noLevel,
  openBench,
  pidsWith,
  type SpawnerBench,
} from "./SpawnerBench.ts"

const skipped = await noLevel("namespace")

spawnerSuite("namespace", skipped)

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
