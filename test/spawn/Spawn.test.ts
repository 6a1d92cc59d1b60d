import * as childProcess from "node:child_process"
import { type ChildProcess, fork, spawnSync } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { spawn } from "../../src/spawn/index.ts"
import {
  eventually,
  fixture,
  freshToken,
  killIfThere,
  openDescriptors,
  pidsWith,
  stateOf,
} from "../process/SpawnerBench.ts"

/** Empty: a guard is to be had here, of whatever form; otherwise why not. */
const unguarded = spawn.containment.level === "guard" ? "" : `skipped, ${spawn.containment.detail}`
const root = process.getuid?.() === 0
const nobody = 65534
const scratch = mkdtempSync(join(tmpdir(), "creche-spawn-"))
const program = (name: string, text: string, mode = 0o755) => {
  const path = join(scratch, name)
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}
mkdirSync(join(scratch, "directory"))

type Spawn = typeof childProcess.spawn
type Scene = (spawn: Spawn) => ChildProcess

const record = async (scene: Scene, plain: Spawn) => {
  let child: ChildProcess
  try {
    child = scene(plain)
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException
    return { threw: message, code }
  }
  const events: Array<unknown> = []
  let stdout = ""
  let stderr = ""
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
  const hadPid = child.pid !== undefined
  for (const event of ["spawn", "error", "exit", "message", "disconnect"])
    child.on(event, (...args: ReadonlyArray<unknown>) =>
      events.push([event, ...args.map((arg) => (arg instanceof Error ? { ...arg, message: arg.message } : arg))]),
    )
  await new Promise<void>((resolve, reject) => {
    child.on("close", (...args) => {
      events.push(["close", ...args])
      resolve()
    })
    // Node never tells of the close where the parent closed the channel.
    child.on("disconnect", () => child.on("exit", () => setTimeout(resolve, 1_000)))
    setTimeout(() => reject(new Error(`no close; ${JSON.stringify(events)}`)), 20_000)
  })
  const { exitCode, signalCode, killed, spawnfile, spawnargs, connected } = child
  return {
    hadPid,
    exitCode,
    signalCode,
    killed,
    spawnfile,
    spawnargs,
    connected,
    streams: child.stdio.length,
    stdout,
    stderr,
    events,
  }
}

const later = (child: ChildProcess, what: () => void): ChildProcess => {
  setTimeout(what, 50)
  return child
}

const scenes: Readonly<Record<string, Scene>> = {
  "an exit code": (s) => s("sh", ["-c", "exit 7"]),
  "exit code 127 of a command that ran": (s) => s("sh", ["-c", "exit 127"]),
  "no arguments": (s) => s("true"),
  "options in the place of arguments": (s) => s("pwd", { cwd: "/" } as never),
  "null for arguments": (s) => s("pwd", null as never, { cwd: new URL("file:///") }),
  "streams apart": (s) => s("sh", ["-c", "echo out; echo err >&2"]),
  "all that was written": (s) => s("sh", ["-c", "head -c 200000 /dev/zero | tr '\\0' x"]),
  "stdin to its end": (s) => {
    const child = s("wc", ["-c"])
    child.stdin!.end("x".repeat(300_000))
    return child
  },
  "arguments as they are": (s) => s("printf", ["%s|", "a b", "", "*", "--", "-x", "ü", "'\"$HOME"]),
  "another environment": (s) => s("env", [], { env: { A: "1", B: "", PATH: process.env["PATH"] } }),
  "a search in the child's own PATH": (s) => s("only-here", [], { env: { PATH: `/nowhere:${scratch}:/bin` } }),
  "a relative path from the directory": (s) => s("./only-here", [], { cwd: scratch }),
  "another first argument": (s) => s("sh", ["-c", "tr '\\0' ' ' </proc/$$/cmdline"], { argv0: "another" }),
  "a shell": (s) => s("echo $((6 * 7)); exit 3", { shell: true } as never),
  "a shell by name": (s) => s("echo $0", [], { shell: "/bin/sh" }),
  kill: (s) => {
    const child = s("sleep", ["1000"])
    return later(child, () => child.kill())
  },
  "kill at once": (s) => {
    const child = s("sleep", ["1000"])
    child.kill("SIGINT")
    return child
  },
  "kill by SIGKILL": (s) => {
    const child = s("sleep", ["1000"])
    return later(child, () => child.kill("SIGKILL"))
  },
  "kill by SIGKILL at once": (s) => {
    const child = s("sleep", ["1000"])
    child.kill(9)
    return child
  },
  "SIGKILL after a stop": (s) => {
    const child = s("sleep", ["1000"])
    return later(child, () => child.kill("SIGSTOP") && child.kill("SIGKILL"))
  },
  "SIGKILL after a timeout": (s) => s("sleep", ["1000"], { timeout: 50, killSignal: "SIGKILL" }),
  "a signal that it handles": (s) => {
    const child = s("sh", ["-c", "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.02; done"])
    child.stdout!.once("data", () => child.kill("SIGTERM"))
    return child
  },
  "a timeout": (s) => s("sleep", ["1000"], { timeout: 50, killSignal: "SIGHUP" }),
  "an abort": (s) => s("sleep", ["1000"], { signal: AbortSignal.timeout(50), killSignal: "SIGKILL" }),
  "an abort before": (s) => s("sleep", ["1000"], { signal: AbortSignal.abort() }),
  "a channel": (s) => {
    const child = s(
      process.execPath,
      ["-e", "process.on('message', (m) => { process.send({ got: m }); process.disconnect() })"],
      {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      },
    )
    child.send({ a: 1 })
    return child
  },
  "a channel that the parent closes": (s) => {
    const child = s(process.execPath, ["-e", "process.on('disconnect', () => process.exit(4)); process.send('up')"], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    })
    child.once("message", () => child.disconnect())
    return child
  },
  "further pipes": (s) => {
    const child = s("sh", ["-c", "cat <&4 >&3"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] })
    ;(child.stdio[4] as NodeJS.WritableStream).end("through")
    child.stdio[3]!.on("data", (chunk: Buffer) => child.emit("message", chunk.toString()))
    return child
  },
  "ignored streams": (s) => s("sh", ["-c", "echo nobody hears"], { stdio: "ignore" }),
  "a descriptor": (s) => s("sh", ["-c", "readlink /proc/self/fd/0"], { stdio: [0, "pipe", 2] }),
  "descriptors and no others": (s) => s("ls", ["/proc/self/fd"], { stdio: ["pipe", "pipe", "pipe", "ignore"] }),
  "a group of its own": (s) => s("sh", ["-c", "ps -o tty= $$"], { detached: true }),
  "a plain text file": (s) => s(join(scratch, "plain")),
  "another user": (s) => s("id", ["-u"], root ? { uid: nobody } : { uid: process.getuid!() }),
  "another group": (s) => s("id", [], root ? { uid: nobody, gid: nobody } : { gid: process.getgid!() }),
  "no such command": (s) => s("creche-no-such-command", ["a"]),
  "no such path": (s) => s("/no/such/path", ["a"], { argv0: "zero" }),
  "no such shell": (s) => s("true", { shell: "/no/such/shell" } as never),
  "a number for a directory": (s) => s("true", [], { cwd: 5 as never }),
  "NUL in the directory": (s) => s("true", [], { cwd: "/tmp\0" }),
  "a URL that is no directory": (s) => s("true", [], { cwd: new URL("http://localhost/") }),
  "no such directory": (s) => s("true", [], { cwd: "/no/such/directory" }),
  "a directory that is a file": (s) => s("true", [], { cwd: "/etc/passwd" }),
  "a file that may not be run": (s) => s(join(scratch, "closed")),
  "a directory as the command": (s) => s(scratch),
  "a directory in PATH under that name": (s) => s("directory", [], { env: { PATH: scratch } }),
  "a file in the middle of the path": (s) => s("/etc/passwd/x"),
  "a name that is too long": (s) => s(`/${"x".repeat(400)}`),
  "arguments that are too long": (s) => s("true", ["x".repeat(4_000_000)]),
  "no name": (s) => s(""),
  "NUL in the name": (s) => s("a\0b"),
  "NUL in an argument": (s) => s("true", ["a\0b"]),
  "a number for a name": (s) => s(5 as never),
  "text for arguments": (s) => s("true", "a" as never),
  "null for options": (s) => s("true", [], null as never),
  "a wrong stdio": (s) => s("true", [], { stdio: "nonsense" as never }),
  "a wrong entry of stdio": (s) => s("true", [], { stdio: ["nonsense" as never] }),
  "a wrong uid": (s) => s("true", [], { uid: "x" as never }),
  "a wrong shell": (s) => s("true", [], { shell: 5 as never }),
  "a wrong timeout": (s) => s("true", [], { timeout: -1 }),
  "a wrong signal": (s) => s("true", [], { killSignal: "SIGNOTHING" as never }),
  "a wrong AbortSignal": (s) => s("true", [], { signal: {} as never }),
}
// Before any of them runs: a file that is being written may not be run.
program("only-here", "#!/bin/sh\necho found\n")
program("plain", "echo by the shell\n")
program("closed", "#!/bin/sh\n", 0o644)

describe("spawn, beside Node's own", () => {
  it.for(Object.entries(scenes))("%s: the same events, streams and properties", async ([, scene]) => {
    const [own, nodes] = await Promise.all([record(scene, spawn as Spawn), record(scene, childProcess.spawn)])
    expect(own).toEqual(nodes)
  })

  it("a real ChildProcess", () => {
    const child = spawn("true")
    expect(child).toBeInstanceOf(childProcess.ChildProcess)
    return new Promise((resolve) => child.once("close", resolve))
  })

  it.skipIf(unguarded !== "").for([
    ["an interpreter that does not exist", "#!/no/such/interpreter\n", "ENOENT"],
    ["an interpreter that is a directory", "#!/etc\n", "EACCES"],
  ] as const)("%s is told as Node tells it, after a spawn", async ([what, text, code]) => {
    const path = program(what, text)
    const [own, nodes] = await Promise.all([
      record((s) => s(path, ["x"]), spawn as Spawn),
      record((s) => s(path, ["x"]), childProcess.spawn),
    ])
    expect(nodes.events?.[0]).toMatchObject(["error", { code }])
    expect(own.events).toEqual([["spawn"], ...nodes.events!])
    expect([own.exitCode, own.signalCode]).toEqual([nodes.exitCode, nodes.signalCode])
  })

  it("in a directory that is gone, as Node does", async () => {
    const directory = mkdtempSync(join(scratch, "gone-"))
    const before = process.cwd()
    process.chdir(directory)
    rmSync(directory, { recursive: true })
    try {
      for (const scene of [
        (s: Spawn) => s("echo", ["here"]),
        (s: Spawn) => s("creche-no-such-command"),
        (s: Spawn) => s("./no-such-path"),
      ]) {
        const [own, nodes] = await Promise.all([record(scene, spawn as Spawn), record(scene, childProcess.spawn)])
        expect(own).toEqual(nodes)
      }
    } finally {
      process.chdir(before)
    }
  })

  it("leaves no descriptor and no process over 200 spawns", async () => {
    const once = () => new Promise((resolve) => spawn("true").once("close", resolve))
    await once()
    const before = openDescriptors()
    for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 20 }, once))
    expect(openDescriptors()).toBeLessThanOrEqual(before)
  })

  it.each([
    ["containment", { containment: "namespace" }, "ERR_INVALID_ARG_VALUE"],
    ["graceMs", { graceMs: -1 }, "ERR_OUT_OF_RANGE"],
    ["graceMs", { graceMs: 0.5 }, "ERR_OUT_OF_RANGE"],
  ])("a wrong %s is refused by name", (name, options, code) => {
    expect(() => spawn("true", [], options as never)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(name) }),
    )
  })

  it("loads neither Effect nor the runtime", () => {
    const script = `
      import { registerHooks } from "node:module"
      const files = []
      registerHooks({ load: (url, context, next) => { if (url.startsWith("file:")) files.push(url); return next(url, context) } })
      await import(${JSON.stringify(new URL("../../src/spawn/index.ts", import.meta.url).href)})
      console.log(JSON.stringify(files))`
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" })
    const files = JSON.parse(stdout) as ReadonlyArray<string>
    expect(files.length).toBeGreaterThan(3)
    expect(files.filter((file) => !/\/src\/(?:spawn|process)\//.test(file))).toEqual([])
    expect(files.length).toBeLessThan(14)
  })

  it("is refused in a Worker, with a reason", async () => {
    const index = fileURLToPath(new URL("../../src/spawn/index.ts", import.meta.url))
    const worker = new Worker(
      `import("${index}").then(({ spawn }) => spawn("true")).catch((error) => require("node:worker_threads").parentPort.postMessage([error.name, error.code, error.message]))`,
      { eval: true },
    )
    const said = await new Promise((resolve) => worker.once("message", resolve))
    expect(said).toEqual(["NotInWorker", "ERR_CRECHE_WORKER", expect.stringContaining("main thread")])
    await worker.terminate()
  })
})

describe.skipIf(unguarded !== "")(
  `what a program with guarded children leaves${unguarded && ` (${unguarded})`}`,
  () => {
    let token: string
    let trees: string
    let programs: Array<ChildProcess> = []
    beforeEach(() => {
      token = freshToken()
      trees = mkdtempSync(join(tmpdir(), "creche-trees-"))
    })
    afterEach(() => {
      for (const running of programs) running.kill("SIGKILL")
      programs = []
      for (const pid of pidsWith(token)) killIfThere(pid)
      rmSync(trees, { recursive: true, force: true })
    })
    const start = async (how: "node" | "creche" | "register") => {
      const running = fork(fixture("spawner.mjs"), [how, "sh", fixture("hostile-tree.sh"), trees, token], {
        stdio: ["ignore", "pipe", "pipe", "ipc"],
      })
      programs.push(running)
      let out = ""
      running.stdout!.on("data", (chunk: Buffer) => (out += chunk.toString()))
      await eventually("the tree is there", () => out.includes("ready"))
      return { running, out: () => out }
    }
    /** The program itself has the token among its arguments. */
    const left = (running: ChildProcess) => pidsWith(token).filter((pid) => pid !== running.pid).length

    const deaths: ReadonlyArray<readonly [string, (running: ChildProcess) => void]> = [
      ["SIGKILL", (running) => running.kill("SIGKILL")],
      ["SIGTERM", (running) => running.kill("SIGTERM")],
      ["SIGHUP", (running) => running.kill("SIGHUP")],
      ["SIGINT", (running) => running.kill("SIGINT")],
      ["SIGSEGV", (running) => running.kill("SIGSEGV")],
      ["an uncaught exception", (running) => running.send("throw")],
      ["an unhandled rejection", (running) => running.send("reject")],
      ["process.exit", (running) => running.send("exit")],
    ]

    it.for(deaths)("nothing, where it ends by %s", async ([, die]) => {
      const { running } = await start("creche")
      die(running)
      await eventually("nothing is left", () => left(running) === 0)
      await eventually("the program too", () => running.exitCode !== null || running.signalCode !== null)
    })

    it("five of five with Node's own spawn, killed the same way: that is the difference", async () => {
      const { running } = await start("node")
      running.kill("SIGKILL")
      await eventually("the program is gone", () => running.signalCode !== null)
      expect(left(running)).toBe(5)
    })

    it("nothing when the child alone is killed, and its exit comes through", async () => {
      const child = spawn("sh", [fixture("hostile-tree.sh"), trees, token])
      await new Promise((resolve) => child.stdout.once("data", resolve))
      child.kill("SIGKILL")
      expect(await new Promise((resolve) => child.once("exit", (...how) => resolve(how)))).toEqual([null, "SIGKILL"])
      await eventually("nothing is left", () => pidsWith(token).length === 0)
    })

    it("and nothing is left any more when the exit of a killed child comes, with a grace or without", async () => {
      const script = `i=0; while [ $i -lt 60 ]; do setsid sleep 1000.${token} & i=$((i+1)); done; echo ready; exec sleep 1000.${token}`
      for (const options of [{}, { graceMs: 60_000 }, { detached: true }]) {
        const child = spawn("sh", ["-c", script], options)
        await new Promise((resolve) => child.stdout!.once("data", resolve))
        await eventually("the tree is there", () => pidsWith(token).length >= 61)
        child.kill("SIGKILL")
        const left = new Promise((resolve) =>
          child.once("exit", (...how) =>
            resolve([...how, pidsWith(token).filter((pid) => stateOf(pid) !== "Z").length]),
          ),
        )
        expect(await left).toEqual([null, "SIGKILL", 0])
      }
    })

    it("with a detached child: a signal for its group reaches it once, and it does not outlive the program", async () => {
      const child = spawn(
        "sh",
        ["-c", `n=0; trap 'n=$((n+1)); echo got $n' TERM; echo ready; while :; do sleep 0.02; done`, token],
        { detached: true },
      )
      let out = ""
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
      await eventually("ready", () => out.includes("ready"))
      process.kill(-child.pid!, "SIGTERM")
      await eventually("got it", () => out.includes("got 1"))
      await new Promise((resolve) => setTimeout(resolve, 60))
      expect(out).not.toContain("got 2")
      process.kill(-child.pid!, "SIGKILL")
      await eventually("nothing is left", () => pidsWith(token).length === 0)
    })

    it("register puts it in Node's place, for those too who import spawn by name", async () => {
      const { running, out } = await start("register")
      running.send("same")
      await eventually("it is the same", () => /true|false/.test(out()))
      expect(out()).toContain("true")
      running.kill("SIGKILL")
      await eventually("nothing is left", () => left(running) === 0)
    })
  },
)

describe("without a guard", () => {
  const script = (what: string) => `
    import { spawn } from ${JSON.stringify(new URL("../../src/spawn/index.ts", import.meta.url).href)}
    ${what}`
  const run = (what: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", script(what)], {
      encoding: "utf8",
      env: { ...process.env, CRECHE_GUARD: "/no/such/guard", CRECHE_PERL: "/no/such/perl" },
      timeout: 20_000,
    })

  it("says that it has process groups, and why", () => {
    const { stdout } = run("console.log(JSON.stringify(spawn.containment))")
    expect(JSON.parse(stdout)).toEqual({
      level: "group",
      detail: expect.stringContaining("CRECHE_GUARD names /no/such/guard"),
    })
  })

  it("who insists on the guard is refused", () => {
    const { stdout } = run(
      `try { spawn("true", [], { containment: "guard" }) } catch (error) { console.log(error.code) }`,
    )
    expect(stdout).toBe("ERR_CRECHE_CONTAINMENT\n")
  })

  it.each([
    ["the child has ended", "child.kill('SIGKILL')"],
    ["the program exits", "process.exit(0)"],
    ["the program throws", "throw new Error('as asked')"],
    ["the program gets SIGTERM", "process.kill(process.pid, 'SIGTERM')"],
  ])("the group is ended when %s", async (_, end) => {
    const token = freshToken()
    run(`const child = spawn("sh", ["-c", "sleep 1000.${token} & echo up; exec sleep 1000.${token}"])
      child.stdout.once("data", () => { ${end} })`)
    await eventually("nothing is left", () => pidsWith(token).length === 0)
  })
})

it("leaves no file of its own behind", () => {
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith(`creche-report-${process.pid}-`))).toEqual([])
  rmSync(scratch, { recursive: true, force: true })
})
