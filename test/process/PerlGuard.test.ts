import { spawn, spawnSync, type ChildProcess } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { drawSeed, seeded } from "../acceptance/Processes.ts"
import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import { findPerlGuard } from "../../src/process/PerlGuard.ts"
import { isAlive, processStat, startTimeOf } from "../../src/process/ProcessIdentity.ts"
import { eventually, fixture, freshToken, killIfThere, openBench, pidsWith, type SpawnerBench } from "./SpawnerBench.ts"

const found = findPerlGuard()
const noPerl = found.found ? "" : `skipped, ${found.detail}`

// In this file no other guard is to be had.
const guard = process.env["CRECHE_GUARD"]
process.env["CRECHE_GUARD"] = "/no/such/guard"
afterAll(() => {
  if (guard === undefined) delete process.env["CRECHE_GUARD"]
  else process.env["CRECHE_GUARD"] = guard
})

spawnerSuite("guard", noPerl, "perl")

describe("the Perl form is looked for", () => {
  it("where there is no perl, or a program that is none, it says so", () => {
    expect(findPerlGuard({ CRECHE_PERL: "/no/such/perl" })).toEqual({
      found: false,
      detail: "there is no /no/such/perl",
    })
    expect(findPerlGuard({ CRECHE_PERL: "/bin/false" })).toMatchObject({ found: false })
    expect(findPerlGuard({ CRECHE_PERL: "/bin/echo" })).toMatchObject({
      found: false,
      detail: expect.stringContaining("protocol"),
    })
  })

  it.skipIf(noPerl !== "")("what Perl programs are told by the environment does not reach it", () => {
    const named = { PERL5OPT: "-Mno::such::module", PERL5LIB: "/no/such/place" }
    expect(findPerlGuard({ ...process.env, ...named })).toMatchObject({ found: true })
  })
})

describe.skipIf(noPerl !== "")(`under the Perl form of the guard${noPerl && ` (${noPerl})`}`, () => {
  let bench: SpawnerBench
  let token: string
  let scratch: string
  let runtimes: Array<ChildProcess> = []
  beforeAll(async () => {
    bench = await openBench("guard")
  })
  afterAll(() => bench.close())
  beforeEach(() => {
    token = freshToken()
    scratch = mkdtempSync(join(tmpdir(), "creche-perl-"))
  })
  afterEach(() => {
    for (const runtime of runtimes) runtime.kill("SIGKILL")
    runtimes = []
    for (const pid of pidsWith(token)) killIfThere(pid)
    rmSync(scratch, { recursive: true, force: true })
  })
  const nothingLeft = () => eventually("nothing left", () => pidsWith(token).length === 0)

  it("the level guard is reported, and by what it is held", async () => {
    expect(bench.spawner.containment).toMatchObject({ level: "guard", detail: expect.stringContaining("Perl form") })
    const { subprocess, close } = await bench.start("cat")
    expect(subprocess.containment).toBe("guard")
    await close()
  })

  it("levels that it does not have are refused by name", async () => {
    for (const level of ["namespace", "cgroup"] as const)
      await expect(bench.start("true", [], { containment: level })).rejects.toThrow("Perl form")
  })

  it("a hostile tree is ended when its session is", async () => {
    const { recorder, close } = await bench.start("sh", [fixture("hostile-tree.sh"), scratch, token], {
      shutdown: { signal: "SIGTERM", graceMs: 50, stdinEofMs: 0 },
    })
    await eventually("ready", () => recorder.stdout.includes("ready"))
    await close()
    expect(await recorder.closed).toEqual([])
    expect(pidsWith(token)).toEqual([])
  })

  it("and one that forks as it is killed", async () => {
    const { close } = await bench.start("sh", [fixture("hydra.sh"), token], { shutdown: "brutal_kill" })
    await eventually("it has grown", () => pidsWith(token).length > 6)
    await close()
    await nothingLeft()
  })

  it("limits of memory and processes are held, and named", async () => {
    const many = await bench.start("sh", ["-c", `for i in 1 2 3 4 5 6; do sleep 1000.${token} & done; wait`], {
      limits: { processes: 4 },
    })
    expect(await many.recorder.exit).toMatchObject({
      kind: "killedByRuntime",
      detail: expect.stringContaining("limits.processes"),
    })
    await many.close()
    const large = await bench.start("perl", ["-e", `my $x = "x" x 200_000_000; sleep 1000`, token], {
      limits: { memoryBytes: 60_000_000 },
    })
    expect(await large.recorder.exit).toMatchObject({
      kind: "killedByRuntime",
      detail: expect.stringContaining("limits.memoryBytes"),
    })
    await large.close()
    await nothingLeft()
  })

  it("when a guard is killed the command goes at once, and whoever carries the session's markers", async () => {
    const env = { PATH: process.env["PATH"]!, CRECHE_RUNTIME: `m-${token}`, CRECHE_SESSION: "s" }
    const { subprocess, recorder, close } = await bench.start(
      "sh",
      ["-c", `setsid sleep 1000.${token} & exec sleep 1000.${token}`],
      { env },
    )
    await eventually("both run", () => pidsWith(`1000.${token}`).length >= 2)
    process.kill(processStat(subprocess.pid)!.parent, "SIGKILL")
    expect(await recorder.exit).toMatchObject({
      kind: "signaled",
      signal: "SIGKILL",
      detail: expect.stringContaining("guard was killed"),
    })
    expect(await recorder.closed).toEqual([])
    expect(pidsWith(token)).toEqual([])
    await close()
  })

  const runtime = async (...words: ReadonlyArray<string>) => {
    const child = spawn(process.execPath, [fixture("runtime.ts"), join(scratch, "data"), "guard", ...words], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    runtimes.push(child)
    let out = ""
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
    const said = (text: string) => eventually(text, () => out.includes(text), 20_000)
    return { child, said }
  }

  it.each(["SIGKILL", "SIGTERM", "SIGHUP"] as const)("nothing is left when the runtime dies by %s", async (signal) => {
    mkdirSync(join(scratch, "trees"))
    const { child, said } = await runtime("1", "sh", fixture("hostile-tree.sh"), join(scratch, "trees"), token)
    await said("ready")
    child.kill(signal)
    await eventually("the runtime is gone", () => child.signalCode !== null)
    await nothingLeft()
  })

  it("nothing is left when the runtime is killed within the first moments after a spawn", async () => {
    const random = seeded(drawSeed("runtimes over Perl"))
    for (let round = 0; round < 10; round++) {
      const { child, said } = await runtime("4", "sleep", `1000.${token}`)
      await said("spawning")
      const until = performance.now() + random() * 60
      while (performance.now() < until) continue
      child.kill("SIGKILL")
      await eventually("the runtime is gone", () => child.signalCode !== null)
      await nothingLeft()
      await eventually("no guard either", () => pidsWith(join(scratch, "data")).length === 0)
    }
  }, 120_000)

  it("a runtime and its guards killed together: the next one finds what carries its marker", async () => {
    mkdirSync(join(scratch, "trees"))
    const { child, said } = await runtime(
      "1",
      "sh",
      "-c",
      `setsid sleep 1000.${token} & echo up; exec sleep 1000.${token}`,
    )
    await said("stdout up")
    await eventually("both run", () => pidsWith(`1000.${token}`).length >= 2)
    const leader = pidsWith(`1000.${token}`).find(
      (pid) => processStat(pid)?.group === pid && commandOf(pid).startsWith("sleep"),
    )!
    const guardPid = processStat(leader)!.parent
    const begun = startTimeOf(guardPid)!
    child.kill("SIGSTOP")
    process.kill(guardPid, "SIGKILL")
    child.kill("SIGKILL")
    await eventually("guard gone", () => !isAlive(guardPid, begun))
    const next = await openBench("guard", join(scratch, "data"))
    await next.close()
  })
  const commandOf = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "latin1")

  it("Ctrl-C in the runtime's terminal does not reach the guard", async () => {
    const { subprocess, close } = await bench.start("sleep", [`1000.${token}`])
    const guardPid = processStat(subprocess.pid)!.parent
    expect(processStat(guardPid)!.group).toBe(guardPid)
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const) process.kill(guardPid, signal)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(isAlive(guardPid, startTimeOf(guardPid)!)).toBe(true)
    await close()
  })

  it("an architecture whose system calls it does not know is refused", () => {
    const script = `BEGIN { require Config; my %c = %Config::Config; no warnings; *Config::Config = { %c, archname => "riscv64-linux-gnu" } } do $ARGV[0] or die $@`
    if (!found.found) return
    const { status, stderr } = spawnSync(found.perl, ["-e", script, found.script], { encoding: "utf8" })
    expect(status).toBe(125)
    expect(stderr).toContain("riscv64-linux-gnu")
  })
})
