/** The guard's promise: nothing is left, whatever the tree does and whoever is killed. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import {
  childrenOf,
  eventually,
  fixture,
  freshToken,
  guardsOf,
  isGone,
  noTree,
  openBench,
  pidsWith,
  serverOf,
  sparesOf,
  Recorder,
  commandOf,
  stateOf,
  type SpawnerBench,
} from "./SpawnerBench.ts"

const noPython = spawnSync("python3", ["--version"]).status === 0 ? "" : "skipped, there is no python3"
const long = process.env["CHAOS"] === "long"

/** Deterministic from a printed seed. */
const randomFrom = (seed: number) => {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

describe.skipIf(noTree !== "")(`containment by the guard${noTree && ` (${noTree})`}`, () => {
  let bench: SpawnerBench
  let token: string
  let scratch: string
  beforeEach(async () => {
    token = freshToken()
    scratch = mkdtempSync(join(tmpdir(), "creche-tree-"))
    bench = await openBench("guard")
  })
  afterEach(async () => {
    await bench.close()
    rmSync(scratch, { recursive: true, force: true })
    for (const pid of pidsWith(token)) process.kill(pid, "SIGKILL")
  })

  const hostile = async () => {
    const started = await bench.start("sh", [fixture("hostile-tree.sh"), scratch, token], {
      shutdown: { signal: "SIGTERM", graceMs: 50, stdinEofMs: 0 },
    })
    await eventually("the whole tree", () => started.recorder.stdout.includes("ready"))
    return started
  }
  const roles = ["leader", "group", "setsid", "daemon", "wiped"]
  const treePids = () => roles.map((role) => Number(readFileSync(join(scratch, role), "latin1")))

  describe("hostile trees", () => {
    it("the five-process tree is gone when terminate answers, zombies included", async () => {
      const { subprocess, recorder, close } = await hostile()
      const tree = treePids()
      await eventually("five", () => pidsWith(token).length === 5)
      await eventually("zombies", () => childrenOf(subprocess.pid).filter((pid) => stateOf(pid) === "Z").length >= 3)
      await close()
      expect(pidsWith(token)).toEqual([])
      expect(tree.filter((pid) => !isGone(pid))).toEqual([])
      expect(await recorder.closed).toEqual([])
      expect(recorder.exits).toMatchObject([{ kind: "signaled", signal: "SIGKILL" }])
    })

    it("the five-process tree is gone when its leader is killed by somebody else", async () => {
      const { subprocess, recorder, close } = await hostile()
      process.kill(subprocess.pid, "SIGKILL")
      await recorder.closed
      expect(pidsWith(token)).toEqual([])
      await close()
    })

    it("a leader that exits by itself takes its setsid and daemon strays along", async () => {
      const script = `setsid sleep 1000.${token} & (setsid sleep 1000.${token} >/dev/null 2>&1 <&- &) ; sleep 0.05; exit 3`
      const { recorder, close } = await bench.start("sh", ["-c", script])
      await recorder.closed
      expect(recorder.exits).toMatchObject([{ kind: "exited", code: 3 }])
      expect(pidsWith(token)).toEqual([])
      await close()
    })

    it("a hydra whose heads grow again is ended", async () => {
      const { recorder, close } = await bench.start("sh", [fixture("hydra.sh"), token], { shutdown: "brutal_kill" })
      await eventually("all heads", () => recorder.stdout.split("ready").length > 8)
      await close()
      expect(pidsWith(token)).toEqual([])
      expect(await recorder.closed).toEqual([])
    })

    it("a tree of 31 processes in many sessions is ended", async () => {
      const { recorder, close } = await bench.start("sh", [fixture("process-tree.sh"), token], {
        shutdown: "brutal_kill",
      })
      await eventually("31 processes", () => recorder.stdout.split("here").length > 31)
      await close()
      expect(pidsWith(token)).toEqual([])
    })

    it("a tree that was stopped with SIGSTOP everywhere is ended", async () => {
      const { close } = await hostile()
      for (const pid of treePids()) process.kill(pid, "SIGSTOP")
      await close()
      expect(pidsWith(token)).toEqual([])
    })

    it("strays that end by themselves leave no zombie while the leader lives", async () => {
      const { subprocess, recorder, close } = await bench.start("sh", [
        "-c",
        "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'exit 0' &); done; sleep 0.05; echo ready; exec sleep 1000",
      ])
      await eventually("ready", () => recorder.stdout !== "")
      const guard = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${subprocess.pid}/status`, "latin1"))?.[1])
      await eventually("reaped", () => childrenOf(guard).length === 1)
      await close()
    })
  })

  it("what SIGKILL does not end is named within seconds, and the end is not waited for", async () => {
    // A traced process whose tracer does not look stays unreaped, as one in state D does.
    const trace = `
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
print("seized" if libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0 else "refused", flush=True)
time.sleep(1000)`
    const { subprocess, recorder, close } = await bench.start("sleep", [`1000.${token}`], { shutdown: "brutal_kill" })
    const tracer = spawn("python3", ["-c", trace, String(subprocess.pid)], { stdio: ["ignore", "pipe", "ignore"] })
    tracer.on("error", () => {})
    const said = await new Promise<string>((resolve) => {
      tracer.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))
      tracer.once("close", () => resolve("refused"))
    })
    if (said !== "seized") {
      console.log("not tested: no python3, or tracing is not allowed here")
    } else {
      await close()
      expect(await recorder.closed).toEqual([subprocess.pid])
      expect(recorder.order.at(-1)).toBe("closed")
    }
    tracer.kill("SIGKILL")
    await close()
    await eventually("reaped in the end", () => isGone(subprocess.pid))
  })

  it("a tree of 400 children side by side is ended in short time", async () => {
    const script = `i=0; while [ $i -lt 400 ]; do setsid sleep 1000.${token} & i=$((i+1)); done; echo ready; wait`
    const { recorder, close } = await bench.start("sh", ["-c", script], { shutdown: "brutal_kill" })
    await eventually("ready", () => recorder.stdout !== "" && pidsWith(token).length > 400)
    await close()
    expect(pidsWith(token)).toEqual([])
    expect(await recorder.closed).toEqual([])
  })

  describe("a guard that was stopped", () => {
    const guardOf = (pid: number) => Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1])

    it("is continued to end its tree", async () => {
      const { subprocess, recorder, close } = await hostile()
      process.kill(guardOf(subprocess.pid), "SIGSTOP")
      await close()
      expect(await recorder.closed).toEqual([])
      expect(pidsWith(token)).toEqual([])
    })

    it("by its own command, which then goes on: the end is not waited for any longer than usual", async () => {
      const { recorder, close } = await bench.start(
        "sh",
        ["-c", `kill -STOP $PPID; echo done; exec sleep 1000.${token}`],
        {
          shutdown: "brutal_kill",
        },
      )
      await eventually("done", () => recorder.stdout === "done\n")
      await close()
      expect(await recorder.closed).toEqual([])
      expect(pidsWith(token)).toEqual([])
    })
  })

  describe("descriptors", () => {
    it("no child inherits the liveness, the events or another session's streams", async () => {
      const sessions = await Promise.all(
        Array.from({ length: 10 }, () => bench.start("sh", ["-c", `sleep 1000.${token}; true`])),
      )
      const pids = await eventually("all there", () => {
        const found = pidsWith(token)
        return found.length >= 20 && found
      })
      for (const pid of pids) expect(readdirSync(`/proc/${pid}/fd`).toSorted()).toEqual(["0", "1", "2"])
      await Promise.all(sessions.map(({ close }) => close()))
    })

    it("a guard holds nothing of its command's streams, so that their end reaches the runtime", async () => {
      const { recorder, close } = await bench.start("sh", ["-c", "exec >&- 2>&-; exec sleep 1000"])
      const server = serverOf(process.pid, bench.directory)!
      const [guard] = guardsOf(server)
      // 0, 1, 2, the events, the liveness and its fifo.
      expect(readdirSync(`/proc/${guard}/fd`).length).toBe(6)
      expect(recorder.exits).toEqual([])
      await close()
    })
  })

  describe("when the server is killed", () => {
    it("sessions live on, are still heard of, and new spawns work", async () => {
      const server = serverOf(process.pid, bench.directory)!
      const cat = await bench.start("cat")
      const seven = await bench.start("sh", ["-c", "read x; exit 7"])
      process.kill(server, "SIGKILL")
      const later = await bench.start("sh", ["-c", "echo new; exit 8"])
      await later.recorder.closed
      expect([later.recorder.stdout, later.recorder.exits[0]]).toMatchObject(["new\n", { kind: "exited", code: 8 }])
      cat.subprocess.write("still\n")
      await eventually("the echo", () => cat.recorder.stdout === "still\n")
      seven.subprocess.write("go\n")
      expect(await seven.recorder.exit).toMatchObject({ kind: "exited", code: 7 })
      expect(await seven.recorder.closed).toEqual([])
      // A spare guard started the one, so nothing so far had to wait for the next server.
      await eventually("the next server", () => {
        const now = serverOf(process.pid, bench.directory)
        return now !== undefined && now !== server
      })
      expect(await Effect.runPromise(cat.subprocess.terminate("brutal_kill"))).toEqual([])
      expect(cat.recorder.exits).toMatchObject([{ kind: "signaled", signal: "SIGKILL" }])
    })

    it("a hostile tree under a guard without a server is ended on command", async () => {
      const { close } = await hostile()
      process.kill(serverOf(process.pid, bench.directory)!, "SIGKILL")
      await close()
      expect(pidsWith(token)).toEqual([])
    })

    it("spawns under way are repeated or fail with a name; none hangs, none is left", async () => {
      const seed = Date.now() % 100_000
      console.log(`seed ${seed}`)
      const random = randomFrom(seed)
      const failures: Array<string> = []
      for (let round = 0; round < 6; round++) {
        const server = await eventually("a server", () => serverOf(process.pid, bench.directory))
        const spawns = Array.from({ length: 20 }, () =>
          bench.start("sleep", [`1000.${token}`]).catch((error: unknown) => {
            expect(error).toMatchObject({ _tag: "SpawnFailed" })
            failures.push(String(error))
            return undefined
          }),
        )
        const turns = Math.floor(random() * 8)
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
        process.kill(server, "SIGKILL")
        const started = await Promise.all(spawns)
        await Promise.all(started.flatMap((one) => (one === undefined ? [] : [one.close()])))
        await eventually("nothing left", () => pidsWith(token).length === 0)
      }
      console.log(`${failures.length} of 120 failed with a name`, new Set(failures))
    })

    it("the death of a guard without a server is noticed, and its command does not outlive it, nor do strays", async () => {
      const stray = `setsid sleep 1000.${token} </dev/null >/dev/null 2>&1 & exec sleep 1000.${token}`
      const env = { PATH: process.env["PATH"] ?? "", CRECHE_RUNTIME: `marker-${token}`, CRECHE_SESSION: "s" }
      const started = await bench.start("sh", ["-c", stray], { env })
      await eventually("both", () => pidsWith(token).length === 2)
      const server = serverOf(process.pid, bench.directory)!
      const [guard] = guardsOf(server)
      process.kill(server, "SIGKILL")
      await eventually("a new server", () => {
        const now = serverOf(process.pid, bench.directory)
        return now !== undefined && now !== server
      })
      process.kill(guard!, "SIGKILL")
      expect(await started.recorder.exit).toMatchObject({ kind: "signaled", signal: "SIGKILL" })
      expect(await started.recorder.closed).toEqual([])
      // Not eventually: it was said that the tree is empty.
      expect(pidsWith(token)).toEqual([])
      await started.close()
    })
  })

  it("a killed guard is noticed by the server, which ends its tree, daemons too", async () => {
    const { recorder, close } = await hostile()
    const neighbour = await bench.start("cat")
    const server = serverOf(process.pid, bench.directory)!
    const leader = Number(readFileSync(join(scratch, "leader"), "latin1"))
    const guard = guardsOf(server).find((pid) => childrenOf(pid).includes(leader))!
    process.kill(guard, "SIGKILL")
    expect(await recorder.exit).toMatchObject({ kind: "signaled", signal: "SIGKILL" })
    expect(await recorder.closed).toEqual([])
    expect(pidsWith(token)).toEqual([])
    neighbour.subprocess.write("alive\n")
    await eventually("the neighbour", () => neighbour.recorder.stdout === "alive\n")
    await neighbour.close()
    await close()
  })

  describe("when the runtime dies", () => {
    let runtimes: Array<ChildProcess> = []
    afterEach(() => {
      for (const runtime of runtimes) runtime.kill("SIGKILL")
      runtimes = []
    })

    const runtime = (count: number, command: string, args: ReadonlyArray<string>, via: ReadonlyArray<string> = []) => {
      const directory = join(scratch, "data")
      const argv = [
        ...via,
        process.execPath,
        fixture("runtime.ts"),
        directory,
        "guard",
        String(count),
        command,
        ...args,
      ]
      const child = spawn(argv[0]!, argv.slice(1), { stdio: ["ignore", "pipe", "inherit"] })
      runtimes.push(child)
      let out = ""
      const arrivals = new Set<() => void>()
      child.stdout!.on("data", (chunk: Buffer) => {
        out += chunk.toString()
        for (const arrival of arrivals) arrival()
      })
      /** At the very moment, not at the next poll. */
      const said = (text: string) =>
        new Promise<void>((resolve) => {
          const check = () => {
            if (!out.includes(text)) return
            arrivals.delete(check)
            resolve()
          }
          arrivals.add(check)
          check()
        })
      return { child, directory, said, out: () => out }
    }

    it("a hostile tree and everything else is gone within a second of kill -9", async () => {
      for (const role of ["0", "1", "2"]) mkdirSync(join(scratch, role))
      const { child, directory, said, out } = runtime(3, "sh", [fixture("hostile-tree.sh"), join(scratch, "%"), token])
      await eventually("three trees", () => out().split("stdout ready").length > 3)
      await said("spawned")
      await eventually("fifteen", () => pidsWith(token).filter((pid) => pid !== child.pid).length === 15)
      child.kill("SIGKILL")
      await eventually("nothing left", () => pidsWith(token).length === 0, 1_000)
      await eventually("the server is gone", () => pidsWith(directory).length === 0)
      // It also tidies up after itself: what is left is the ledger, for the next start.
      expect(readdirSync(directory).filter((name) => name.startsWith("spawn-"))).toEqual([])
    })

    it(
      "nothing outlives a runtime that is killed 0 to 4 ms after its spawns began",
      async () => {
        const seed = Number(process.env["SEED"] ?? Date.now() % 100_000)
        console.log(`seed ${seed}`)
        const random = randomFrom(seed)
        for (let round = 0; round < (long ? 300 : 16); round++) {
          const { child, directory, said } = runtime(4, "sleep", [`1000.${token}`])
          await said("spawning")
          const until = performance.now() + random() * 4
          while (performance.now() < until) continue
          child.kill("SIGKILL")
          await eventually("the runtime is gone", () => child.signalCode !== null)
          await eventually(
            "nothing left",
            () => pidsWith(token).length === 0 && pidsWith(directory).length === 0,
            1_000,
          )
        }
      },
      long ? 600_000 : 60_000,
    )

    it("a runtime that is stopped and continued has lost nothing", async () => {
      const { child, said, out } = runtime(1, "sh", ["-c", "sleep 0.3; echo survived; exec sleep 1000"])
      await said("spawned")
      child.kill("SIGSTOP")
      await new Promise((resolve) => setTimeout(resolve, 400))
      child.kill("SIGCONT")
      await said("survived")
      expect(out()).not.toContain("closed")
    })

    it("a guard that was stopped ends its tree all the same", async () => {
      const { child, directory, said, out } = runtime(2, "sleep", [`1000.${token}`])
      await said("spawned")
      for (const pid of /spawned (.*)/.exec(out())![1]!.split(" ")) {
        process.kill(Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]), "SIGSTOP")
      }
      child.kill("SIGKILL")
      await eventually("nothing left", () => pidsWith(token).length === 0 && pidsWith(directory).length === 0)
    })

    it("server and runtime killed together: the guards end their trees all the same", async () => {
      const { child, directory, said } = runtime(4, "sleep", [`1000.${token}`])
      await said("spawned")
      const server = serverOf(child.pid!, directory)!
      process.kill(server, "SIGKILL")
      child.kill("SIGKILL")
      await eventually("nothing left", () => pidsWith(token).length === 0, 1_000)
    })

    it.skipIf(noPython !== "")(
      `from a terminal: no command has that terminal, and Ctrl-C leaves nothing${noPython && ` (${noPython})`}`,
      async () => {
        const script = `(echo x >/dev/tty) 2>/dev/null && echo terminal || echo none; sleep 1000.${token}`
        const argv = [process.execPath, fixture("runtime.ts"), join(scratch, "data"), "guard", "1", "sh", "-c", script]
        // A terminal of its own for the runtime; Ctrl-C is typed once a line comes in here.
        const pty = `
import os, pty, sys, threading
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
threading.Thread(target=lambda: (sys.stdin.readline(), os.write(fd, b"\\x03")), daemon=True).start()
while True:
  try: os.write(1, os.read(fd, 4096))
  except OSError: break
os.waitpid(pid, 0)`
        const terminal = spawn("python3", ["-c", pty, ...argv], { stdio: ["pipe", "pipe", "inherit"] })
        runtimes.push(terminal)
        let out = ""
        terminal.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
        await eventually("running", () => out.includes("stdout") && pidsWith(token).length > 0)
        expect(out).toContain("stdout none")
        terminal.stdin.write("\n")
        await eventually("the runtime is gone", () => terminal.exitCode !== null)
        await eventually("nothing left", () => pidsWith(token).length === 0, 1_000)
      },
    )

    it("no descriptor left: EMFILE is named, and the runtime serves on", async () => {
      const { said, out } = runtime(40, "sleep", [`1000.${token}`], ["sh", "-c", 'ulimit -n 90; exec "$@"', "sh"])
      await said("failed")
      expect(out()).toMatch(/"errno":"(EMFILE|ENFILE)"/)
      await eventually("nothing left", () => pidsWith(token).length === 0)
    })
  })

  it("no process left: EAGAIN is named, and once there is room again commands start", async (context) => {
    context.skip(process.getuid?.() === 0, "no limit of processes holds for root; AsNobody.test.ts runs this")
    const limit = (pid: number, processes: string) =>
      spawnSync("prlimit", ["--pid", String(pid), `--nproc=${processes}`], { encoding: "utf8" })
    const server = serverOf(process.pid, bench.directory)!
    const guards = await eventually("spares", () => sparesOf(server).length > 0 && sparesOf(server))
    const lowered = [server, ...guards].map((pid) => limit(pid, "1:"))
    context.skip(lowered[0]!.status !== 0, "there is no prlimit")
    await expect(bench.start("true")).rejects.toMatchObject({
      errno: "EAGAIN",
      field: "command",
      detail: expect.stringContaining("ulimit -u"),
    })
    const hard = /^Max processes\s+\S+\s+(\S+)/m.exec(readFileSync(`/proc/${server}/limits`, "latin1"))![1]
    for (const pid of [server, ...guards]) limit(pid, `${hard}:`)
    await eventually("it starts again", async () => {
      const started = await bench.start("true").catch(() => undefined)
      await started?.close()
      return started !== undefined
    })
  })

  it("a data directory whose path is too long for a socket works too, and nothing of it is left", async () => {
    const { SpawnServer } = await import("../../src/process/SpawnServer.ts")
    const { ProcessLedger } = await import("../../src/process/ProcessLedger.ts")
    const { findGuardBinary } = await import("../../src/process/GuardBinary.ts")
    const directory = join(scratch, "x".repeat(120))
    const ledger = new ProcessLedger(directory, "test")
    const found = findGuardBinary()
    if (!found.found) throw new Error("no guard")
    const server = await SpawnServer.start({ binary: found.path, directory, ledger, reportDefect: () => {} })
    expect(Buffer.byteLength(join(server.directory, "s"))).toBeLessThan(104)
    const recorder = new Recorder()
    await new Promise((resolve) => {
      const made = server.spawn(commandOf("echo", ["hi"]), recorder, (result) => {
        resolve(result)
        made.open()
      })
    })
    await recorder.closed
    expect(recorder.stdout).toBe("hi\n")
    await server.close()
    ledger.close()
    expect(existsSync(server.directory)).toBe(false)
  })

  it("closing the spawner ends what still runs and its server", async () => {
    const own = await openBench("guard")
    const { recorder } = await own.start("sh", ["-c", `trap '' TERM; setsid sleep 1000.${token} & wait`])
    await eventually("running", () => pidsWith(token).length > 1)
    const server = serverOf(process.pid, own.directory)!
    await own.close()
    expect(isGone(server)).toBe(true)
    expect(pidsWith(token)).toEqual([])
    expect(recorder.exits.length).toBeLessThanOrEqual(1)
  })
})
