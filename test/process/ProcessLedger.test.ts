import { spawn, spawnSync } from "node:child_process"
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it, type TestContext } from "vitest"
import { parseLedger, readLedger } from "../../src/process/LedgerFile.ts"
import { sweepLedgers } from "../../src/process/LedgerSweep.ts"
import { bootId, isAlive, pidNamespace, processStat, startTimeOf } from "../../src/process/ProcessIdentity.ts"
import { ProcessLedger } from "../../src/process/ProcessLedger.ts"
import { drawSeed, seeded } from "../acceptance/Processes.ts"
import { eventually, fixture, freshToken, killIfThere, noGuard, openBench, pidsWith, serverOf } from "./SpawnerBench.ts"

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
    for (const pid of pidsWith(token)) killIfThere(pid)
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
  const deadOwner = {
    pid: process.pid,
    start: startTimeOf(process.pid)! + 1,
    boot: bootId(),
    namespace: pidNamespace(),
  }
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
    expect(await sweepLedgers(directory, "")).toEqual({ killed: [left.pid], survivors: [], skipped: [] })
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
    expect(await sweepLedgers(directory, "")).toEqual({ killed: [], survivors: [], skipped: [] })
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

  describe("hostile content", () => {
    it("at every length that a crash could have cut it to, it ends those of whole lines and nobody else", async () => {
      const [named, innocent] = [await stray(), await stray()]
      const lines = [deadOwner, ...entry(1, named), ...entry(2, { pid: innocent.pid, start: innocent.start + 1 })]
      const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("")
      for (let length = 0; length <= text.length; length++) {
        const ledger = parseLedger(text.slice(0, length))
        for (const process of ledger?.processes ?? []) {
          expect([named.pid, innocent.pid]).toContain(process.pid)
          expect([named.start, innocent.start + 1]).toContain(process.start)
        }
      }
      write("dead", [text.slice(0, -5)])
      expect((await sweepLedgers(directory, "")).killed).toEqual([named.pid])
      expect(isAlive(innocent.pid, innocent.start)).toBe(true)
    })

    it("bytes turned over at random never make it signal anybody that it did not name", async () => {
      const innocent = await stray()
      const random = seeded(drawSeed("broken ledgers"))
      const whole = Buffer.from(
        [deadOwner, ...entry(1, { pid: innocent.pid, start: innocent.start + 1 })]
          .map((line) => `${JSON.stringify(line)}\n`)
          .join(""),
      )
      for (let round = 0; round < 300; round++) {
        const broken = Buffer.from(whole)
        // All but the start time, which is what tells the two apart.
        const at = Math.floor(random() * (whole.lastIndexOf('"start"') - 1))
        for (let i = 0; i < 1 + random() * 4; i++)
          broken[Math.min(at + i, whole.length - 1)] = Math.floor(random() * 256)
        writeFileSync(join(directory, "processes-dead.ledger"), broken)
        const swept = await sweepLedgers(directory, "")
        expect(swept.killed).toEqual([])
      }
      expect(isAlive(innocent.pid, innocent.start)).toBe(true)
    }, 60_000)

    it.each([1e300, -5, 1.5, 2 ** 53, "7", null, 4_194_305])("pid %s is no pid", (pid) => {
      const lines = [deadOwner, { begin: 1, session: "s", marker: "" }, { live: 1, pid, pgid: pid, start: 5 }]
      expect(parseLedger(lines.map((line) => JSON.stringify(line)).join("\n"))?.processes).toEqual([])
    })

    it("what is not text at all, and lines without an end, are read through", async () => {
      const left = await stray()
      const garbage = Buffer.alloc(300_000, 0xff)
      const path = write("dead", [deadOwner])
      appendFileSync(path, garbage)
      appendFileSync(path, "\n\0\0\0\n")
      appendFileSync(
        path,
        entry(1, left)
          .map((line) => `${JSON.stringify(line)}\n`)
          .join(""),
      )
      expect((await sweepLedgers(directory, "")).killed).toEqual([left.pid])
    })

    it("one of 60 MB is read piece by piece, in bounded memory", async () => {
      const left = await stray()
      const path = write("dead", [deadOwner])
      const ended = Array.from({ length: 5_000 }, (_, n) => [
        ...entry(n + 10, { pid: 4_000_000 + (n % 1000), start: 1 }),
        { end: n + 10 },
      ])
      const piece = ended
        .flat()
        .map((line) => `${JSON.stringify(line)}\n`)
        .join("")
      for (let bytes = 0; bytes < 60_000_000; bytes += piece.length) appendFileSync(path, piece)
      appendFileSync(
        path,
        entry(1, left)
          .map((line) => `${JSON.stringify(line)}\n`)
          .join(""),
      )
      const before = process.memoryUsage().rss
      expect(readLedger(path)?.processes).toEqual([{ pid: left.pid, start: left.start }])
      expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000)
      expect((await sweepLedgers(directory, "")).killed).toEqual([left.pid])
    }, 60_000)

    it("directories of others stay, and files in one of ours too", async () => {
      const other = mkdtempSync(join(tmpdir(), "creche-"))
      mkdirSync(join(directory, "spawn-abc"))
      writeFileSync(join(directory, "spawn-abc", "precious"), "")
      symlinkSync(other, join(directory, "spawn-link"))
      for (const [name, path] of [
        ["a", join(directory, "spawn-abc")],
        ["b", join(directory, "spawn-link")],
        ["c", "/"],
        ["d", join(directory, "..", "spawn-x")],
      ]) {
        write(name!, [deadOwner, { directory: path }])
      }
      await sweepLedgers(directory, "")
      expect(existsSync(join(directory, "spawn-abc", "precious"))).toBe(true)
      expect(existsSync(other)).toBe(true)
      rmSync(other, { recursive: true })
    })
  })

  describe("who is spared", () => {
    it("the shell from which the next runtime is started, and its group, though they carry the marker and are noted", async () => {
      const marker = `m-${token}`
      const sweep = new URL("../../src/process/LedgerSweep.ts", import.meta.url).href
      const path = write("dead", [deadOwner, { begin: 1, session: "s", marker }])
      const script = `import { sweepLedgers } from ${JSON.stringify(sweep)}; console.log(JSON.stringify(await sweepLedgers(${JSON.stringify(directory)}, "")))`
      const shell = spawn(
        "sh",
        [
          "-c",
          `sleep 1000.${token} & read go; "$0" --input-type=module -e "$1"; echo shell lives; read on`,
          process.execPath,
          script,
        ],
        {
          detached: true,
          stdio: ["pipe", "pipe", "inherit"],
          env: { ...process.env, CRECHE_RUNTIME: marker },
        },
      )
      let out = ""
      shell.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
      await eventually("the sleep runs", () => pidsWith(`1000.${token}`).length > 0)
      appendFileSync(
        path,
        entry(1, { pid: shell.pid!, start: startTimeOf(shell.pid!)! }, marker)
          .map((line) => `${JSON.stringify(line)}\n`)
          .join(""),
      )
      shell.stdin.write("go\n")
      await eventually("the shell lives", () => out.includes("shell lives"))
      expect((JSON.parse(out.split("\n")[0]!) as { killed: Array<number> }).killed).toHaveLength(1)
      await eventually(
        "the sleep is gone",
        () => pidsWith(`1000.${token}`).filter((pid) => pid !== shell.pid).length === 0,
      )
      shell.kill("SIGKILL")
    })

    it("numbers of another PID namespace mean nobody here; a marker does", async () => {
      const marker = `m-${token}`
      const [innocent, marked] = [await stray(), await stray({ CRECHE_RUNTIME: marker })]
      const path = write("dead", [
        { ...deadOwner, namespace: "pid:[1]" },
        ...entry(1, innocent),
        { begin: 2, session: "s", marker },
      ])
      expect((await sweepLedgers(directory, "")).killed).toEqual([marked.pid])
      expect(isAlive(innocent.pid, innocent.start)).toBe(true)
      expect(existsSync(path)).toBe(false)
    })

    it("a carrier of a marker that only begins like it", async () => {
      const marker = `m-${token}`
      const innocent = await stray({ CRECHE_RUNTIME: `${marker}0`, XCRECHE_RUNTIME: marker })
      write("dead", [deadOwner, { begin: 1, session: "s", marker }])
      expect((await sweepLedgers(directory, "")).killed).toEqual([])
      expect(isAlive(innocent.pid, innocent.start)).toBe(true)
    })
  })

  it("carriers that fork as they are killed are all ended", async () => {
    const marker = `m-${token}`
    const hydra = spawn("sh", [fixture("hydra.sh"), token, "2"], {
      detached: true,
      stdio: "ignore",
      env: { PATH: process.env["PATH"]!, CRECHE_RUNTIME: marker },
    })
    await eventually("it has grown", () => pidsWith(token).length > 4)
    write("dead", [deadOwner, { begin: 1, session: "s", marker }])
    const swept = await sweepLedgers(directory, "")
    expect(swept.survivors).toEqual([])
    await eventually("nothing left", () => pidsWith(token).length === 0)
    expect(hydra.pid).toBeGreaterThan(0)
  })

  it("a ledger on a full disk loses what it cannot write, not the lines after, and never half a line", (context) => {
    context.skip(process.getuid?.() !== 0, "mounting a small file system is root's")
    const small = join(directory, "small")
    mkdirSync(small)
    context.skip(
      spawnSync("mount", ["-t", "tmpfs", "-o", "size=128k", "none", small]).status !== 0,
      "nothing can be mounted here",
    )
    try {
      const ledger = new ProcessLedger(small, "a")
      const first = ledger.begin("first", "m")
      ledger.complete(first, 4711, 9)
      ledger.flush()
      writeFileSync(join(small, "filler"), Buffer.alloc(116 * 1024))
      for (let i = 0; i < 300; i++) ledger.end(ledger.begin(`s${i}`, "m"))
      const last = ledger.begin("last", "other")
      ledger.flush()
      expect(parseLedger(readFileSync(ledger.path, "utf8"))?.processes).toEqual([{ pid: 4711, start: 9 }])
      rmSync(join(small, "filler"))
      ledger.complete(last, 4712, 9)
      ledger.flush()
      const read = parseLedger(readFileSync(ledger.path, "utf8"))
      expect(read?.processes).toEqual([
        { pid: 4711, start: 9 },
        { pid: 4712, start: 9 },
      ])
      expect(read?.markers).toEqual(new Set(["m", "other"]))
      ledger.close()
    } finally {
      spawnSync("umount", [small])
    }
  })

  it("a ledger that may not be read is named, and stops nobody", async (context) => {
    context.skip(process.getuid?.() === 0, "root may read everything")
    const left = await stray()
    const closed = write("closed", [deadOwner, ...entry(1, left)])
    chmodSync(closed, 0)
    write("dead", [deadOwner, ...entry(1, left)])
    const swept = await sweepLedgers(directory, "")
    expect(swept).toMatchObject({
      killed: [left.pid],
      skipped: [{ path: closed, why: expect.stringContaining("EACCES") }],
    })
  })

  it("a directory that is not there is named, and is no failure", async () => {
    expect(await sweepLedgers(join(directory, "none"), "")).toMatchObject({
      killed: [],
      skipped: [{ why: expect.stringContaining("ENOENT") }],
    })
  })

  /** Plays a scene of `sweeping.ts` where its surroundings can be had. */
  const play = (context: TestContext, what: string, script: string) => {
    context.skip(process.getuid?.() !== 0, `${what} is root's`)
    const words = ["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      [...words, process.execPath, fixture("sweeping.ts"), directory],
      {
        encoding: "utf8",
        timeout: 30_000,
      },
    )
    context.skip(stderr.includes("unshare:"), stderr.trim())
    expect(stderr).toBe("")
    expect(stdout).toContain("as expected")
    expect(status).toBe(0)
  }

  it("a number that the kernel has really given to another process is left alone", (context) =>
    play(context, "choosing the next pid", `exec "$0" "$1" reuse "$2"`))

  it("under hidepid an unprivileged user's own strays are found, and others' are not even seen", (context) =>
    play(
      context,
      "mounting /proc",
      `chown nobody "$2" && mount -t proc -o hidepid=2 none /proc && exec su nobody -s /bin/sh -c 'exec "$0" "$1" hidden "$2"' "$0" "$1" "$2"`,
    ))

  it("without /proc nobody is signalled, and the ledger waits for better days", (context) =>
    play(
      context,
      "taking /proc away",
      `"$0" "$1" prepare "$2" && mount -t tmpfs none /proc && exec "$0" "$1" blind "$2"`,
    ))

  it("two runtimes that start at once on what a dead one left: both come up, everything is ended once, their own children live", async () => {
    const marker = `m-${token}`
    const left = await Promise.all(Array.from({ length: 8 }, () => stray({ CRECHE_RUNTIME: marker })))
    for (const [i, one] of left.entries()) write(`dead${i}`, [deadOwner, ...entry(1, one, marker)])
    const runtimes = [1, 2].map(() =>
      spawn(process.execPath, [fixture("runtime.ts"), directory, "group", "1", "sleep", `2000.${token}`], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, MARKER: `own-${token}` },
      }),
    )
    const out = ["", ""]
    for (const [i, runtime] of runtimes.entries())
      runtime.stdout.on("data", (chunk: Buffer) => (out[i] += chunk.toString()))
    await eventually("both are up", () => out.every((said) => said.includes("spawned")))
    for (const one of left) await eventually("gone", one.gone)
    expect(pidsWith(`2000.${token}`).filter((pid) => !runtimes.some((runtime) => runtime.pid === pid))).toHaveLength(2)
    expect(readdirSync(directory).filter((name) => name.includes("dead"))).toEqual([])
    for (const runtime of runtimes) runtime.kill("SIGKILL")
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
