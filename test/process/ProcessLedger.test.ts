import { spawn } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { parseLedger, sweepLedgers } from "../../src/process/LedgerSweep.ts"
import { bootId, isAlive, processStat, startTimeOf } from "../../src/process/ProcessIdentity.ts"
import { ProcessLedger } from "../../src/process/ProcessLedger.ts"
import { eventually, fixture, freshToken, noGuard, openBench, pidsWith, serverOf } from "./SpawnerBench.ts"

const noProc = startTimeOf(process.pid) === undefined ? "skipped, there is no /proc" : ""

describe.skipIf(noProc !== "")(`the ledger and its sweep${noProc && ` (${noProc})`}`, () => {
  let directory: string
  let token: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "creche-ledger-"))
    token = freshToken()
  })
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true })
    for (const pid of pidsWith(token)) process.kill(pid, "SIGKILL")
  })

  /** A process of its own group, as an earlier runtime would have left it. */
  const stray = async (env: Record<string, string> = {}) => {
    const child = spawn("sleep", [`1000.${token}`], {
      detached: true,
      stdio: "ignore",
      env: { PATH: process.env["PATH"]!, ...env },
    })
    await eventually("started", () => pidsWith(token).includes(child.pid!))
    return { pid: child.pid!, start: startTimeOf(child.pid!)!, gone: () => child.signalCode ?? undefined }
  }
  const deadOwner = { pid: process.pid, start: startTimeOf(process.pid)! + 1, boot: bootId() }
  const write = (name: string, lines: ReadonlyArray<unknown>) => {
    const path = join(directory, `processes-${name}.ledger`)
    writeFileSync(path, lines.map((line) => (typeof line === "string" ? line : `${JSON.stringify(line)}\n`)).join(""))
    return path
  }
  const entry = (n: number, process: { pid: number; start: number }, marker = "") => [
    { begin: n, session: "s", marker },
    { live: n, pid: process.pid, pgid: process.pid, start: process.start },
  ]

  it("a spawn has its line before and its completion after, and none is left once all have ended", () => {
    const ledger = new ProcessLedger(directory, "a")
    const one = ledger.begin("s1", "m")
    ledger.flush()
    expect(parseLedger(readFileSync(ledger.path, "utf8"))).toMatchObject({ processes: [], markers: new Set(["m"]) })
    ledger.complete(one, 4711, 99)
    ledger.flush()
    expect(parseLedger(readFileSync(ledger.path, "utf8"))).toMatchObject({ processes: [{ pid: 4711, start: 99 }] })
    ledger.end(one)
    ledger.flush()
    expect(parseLedger(readFileSync(ledger.path, "utf8"))).toMatchObject({ processes: [], markers: new Set() })
    ledger.close()
    expect(existsSync(ledger.path)).toBe(false)
  })

  it("stays small over 20,000 spawns and keeps those that live", () => {
    const ledger = new ProcessLedger(directory, "a")
    const kept = ledger.begin("kept", "m")
    ledger.complete(kept, 123, 7)
    for (let i = 0; i < 20_000; i++) {
      const passing = ledger.begin(`s${i}`, "m")
      ledger.complete(passing, i + 1000, 5)
      ledger.end(passing)
      if (i % 10 === 0) ledger.flush()
    }
    ledger.flush()
    const text = readFileSync(ledger.path, "utf8")
    expect(text.length).toBeLessThan(500_000)
    expect(parseLedger(text)?.processes).toEqual([{ pid: 123, start: 7 }])
    ledger.close()
  })

  it("ends the process that a dead runtime's ledger names, and removes the ledger", async () => {
    const left = await stray()
    const path = write("dead", [deadOwner, ...entry(1, left)])
    expect(await sweepLedgers(directory, "")).toEqual({ killed: [left.pid], survivors: [] })
    await eventually("gone", left.gone)
    expect(existsSync(path)).toBe(false)
  })

  it("finds the carriers of a dead runtime's marker, also those that no line names", async () => {
    const marker = `m-${token}`
    const left = await stray({ CRECHE_RUNTIME: marker })
    write("dead", [deadOwner, { begin: 1, session: "s", marker }])
    expect((await sweepLedgers(directory, "")).killed).toEqual([left.pid])
    await eventually("gone", left.gone)
  })

  it("a pid that was reused is left alone", async () => {
    const innocent = await stray()
    write("dead", [deadOwner, ...entry(1, { pid: innocent.pid, start: innocent.start - 1 })])
    expect(await sweepLedgers(directory, "")).toEqual({ killed: [], survivors: [] })
    expect(isAlive(innocent.pid, innocent.start)).toBe(true)
  })

  it("a ledger of an earlier boot names nobody", async () => {
    const innocent = await stray()
    const path = write("dead", [{ ...deadOwner, boot: "another" }, ...entry(1, innocent)])
    expect((await sweepLedgers(directory, "")).killed).toEqual([])
    expect(isAlive(innocent.pid, innocent.start)).toBe(true)
    expect(existsSync(path)).toBe(false)
  })

  it("a runtime that lives is never touched", async () => {
    const child = await stray()
    const path = write("live", [
      { pid: process.pid, start: startTimeOf(process.pid), boot: bootId() },
      ...entry(1, child),
    ])
    expect((await sweepLedgers(directory, "")).killed).toEqual([])
    expect(isAlive(child.pid, child.start)).toBe(true)
    expect(existsSync(path)).toBe(true)
  })

  it("a line that a crash cut short, and nonsense, cost no other line", async () => {
    const left = await stray()
    write("dead", [deadOwner, "nonsense\n", "null\n", "[1]\n", ...entry(1, left), '{"live":2,"pi'])
    expect((await sweepLedgers(directory, "")).killed).toEqual([left.pid])
  })

  it("pids 0, 1 and below are never signalled, whatever a ledger says", () => {
    const lines = [
      deadOwner,
      ...entry(1, { pid: 1, start: 5 }),
      ...entry(2, { pid: 0, start: 5 }),
      ...entry(3, { pid: -1, start: 5 }),
    ]
    expect(parseLedger(lines.map((line) => JSON.stringify(line)).join("\n"))?.processes).toEqual([])
  })

  it("an empty ledger may be one that is being begun; an old one goes", async () => {
    const path = write("empty", [])
    await sweepLedgers(directory, "")
    expect(existsSync(path)).toBe(true)
    utimesSync(path, 1, 1)
    await sweepLedgers(directory, "")
    expect(existsSync(path)).toBe(false)
  })

  it("two sweeps at once end everything once and fail neither", async () => {
    const left = await Promise.all([stray(), stray(), stray()])
    for (const [i, one] of left.entries()) write(`dead${i}`, [deadOwner, ...entry(1, one)])
    const sweeps = await Promise.all([sweepLedgers(directory, ""), sweepLedgers(directory, "")])
    expect(new Set(sweeps.flatMap((sweep) => sweep.killed))).toEqual(new Set(left.map(({ pid }) => pid)))
    for (const one of left) await eventually("gone", one.gone)
  })

  it("only a directory of the runtime's own making is removed with its ledger", async () => {
    const own = join(directory, "spawn-abc")
    const foreign = join(directory, "precious")
    for (const path of [own, foreign]) mkdirSync(path)
    write("a", [deadOwner, { directory: own }])
    write("b", [deadOwner, { directory: foreign }])
    await sweepLedgers(directory, "")
    expect([existsSync(own), existsSync(foreign)]).toEqual([false, true])
  })

  it("runtime and guards killed together: the next start ends what they left", async (context) => {
    context.skip(noGuard !== "", noGuard)
    const scratch = mkdtempSync(join(tmpdir(), "creche-both-"))
    const data = join(scratch, "data")
    const marker = `m-${token}`
    const runtime = spawn(
      process.execPath,
      [fixture("runtime.ts"), data, "guard", "1", "sh", fixture("hostile-tree.sh"), scratch, token],
      { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, MARKER: marker } },
    )
    let out = ""
    runtime.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
    await eventually("ready", () => out.includes("ready"))
    const server = serverOf(runtime.pid!, data)!
    const leader = Number(readFileSync(join(scratch, "leader"), "latin1"))
    const guard = processStat(leader)!.parent
    await new Promise((resolve) => setTimeout(resolve, 100))
    for (const pid of [server, guard, runtime.pid!]) process.kill(pid, "SIGKILL")
    await eventually("runtime gone", () => runtime.signalCode !== null)
    await eventually("five", () => pidsWith(token).length === 5)

    const next = await openBench("guard", data)
    // All but the one whose environment was wiped and that left the group: beyond any later finding.
    expect(pidsWith(token)).toEqual([Number(readFileSync(join(scratch, "wiped"), "latin1"))])
    await next.close()
    expect(readdirSync(scratch)).not.toContain("data")
    rmSync(scratch, { recursive: true, force: true })
  })
})
