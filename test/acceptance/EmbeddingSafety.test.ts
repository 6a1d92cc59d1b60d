import { type ChildProcess, fork, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { openRuntime } from "../../src/index.ts"
import { eventually, fixture, freshToken, killIfThere, noTree, pidsWith } from "../process/SpawnerBench.ts"

/** Every program has a temporary directory of its own here, so that what is left in it can be seen. */
let scratch: string
let temporary: string
let token: string
let programs: Array<ChildProcess> = []
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "creche-embed-"))
  temporary = join(scratch, "tmp")
  mkdirSync(temporary)
  token = freshToken()
})
afterEach(() => {
  for (const program of programs) program.kill("SIGKILL")
  programs = []
  for (const pid of pidsWith(token)) killIfThere(pid)
  rmSync(scratch, { recursive: true, force: true })
})

/** Of the hostile tree; each writes its pid to a file of that name. */
const roles = ["leader", "group", "setsid", "daemon", "wiped"]
const hasText = (path: string): boolean => existsSync(path) && readFileSync(path, "utf8") !== ""

const withoutGuard = { CRECHE_GUARD: "/no/such/guard", CRECHE_PERL: "/no/such/perl" }

const start = async (env: NodeJS.ProcessEnv = {}, ...data: ReadonlyArray<string>) => {
  const trees = mkdtempSync(join(scratch, "trees-"))
  const program = fork(fixture("embedding.ts"), [token, trees, ...data], {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { ...process.env, TMPDIR: temporary, ...env },
  })
  programs.push(program)
  let out = ""
  let err = ""
  program.stdout!.on("data", (chunk: Buffer) => (out += chunk.toString()))
  program.stderr!.on("data", (chunk: Buffer) => (err += chunk.toString()))
  await eventually(
    "it is up",
    () => {
      if (program.exitCode !== null) throw new Error(err)
      return out.includes("up {") && roles.every((role) => hasText(join(trees, role)))
    },
    20_000,
  )
  const ended = () => program.exitCode !== null || program.signalCode !== null
  return { program, trees, out: () => out, ended }
}
const sessionsLeft = () => pidsWith(token).filter((pid) => !programs.some((program) => program.pid === pid))
const nothingLeft = () => eventually(`nothing left of ${token}`, () => sessionsLeft().length === 0)

const deaths: ReadonlyArray<readonly [string, (program: ChildProcess) => unknown, NodeJS.Signals | number]> = [
  ["throws", (program) => program.send("throw"), 1],
  ["leaves a rejection unhandled", (program) => program.send("reject"), 1],
  ["calls process.exit", (program) => program.send("exit"), 3],
  ["gets SIGHUP", (program) => program.kill("SIGHUP"), "SIGHUP"],
  ["gets SIGTERM", (program) => program.kill("SIGTERM"), "SIGTERM"],
  ["gets SIGINT", (program) => program.kill("SIGINT"), "SIGINT"],
  ["is killed", (program) => program.kill("SIGKILL"), "SIGKILL"],
]

describe.skipIf(noTree !== "")(`a program with a runtime in it, under the guard${noTree && ` (${noTree})`}`, () => {
  it.for(deaths)("leaves no process and no directory when it %s, and ends as it would have", async ([, die, end]) => {
    const { program, out, ended } = await start()
    expect(out()).toContain('"level":"guard"')
    await eventually("five", () => sessionsLeft().length === 5)
    die(program)
    await nothingLeft()
    await eventually("the program too", ended)
    expect(program.signalCode ?? program.exitCode).toBe(end)
    if (end === "SIGKILL") {
      expect(readdirSync(temporary)).toHaveLength(1)
      // The next one finds it.
      const next = await start()
      expect(readdirSync(temporary)).toHaveLength(1)
      next.program.send("close")
      await eventually("closed", next.ended)
    }
    expect(readdirSync(temporary)).toEqual([])
  })

  it("and in a data directory of its own: the next one there comes up and finds nobody", async () => {
    const data = join(scratch, "data")
    const first = await start({}, data)
    first.program.kill("SIGKILL")
    await nothingLeft()
    const script = `import { openRuntime } from ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).href)}
      const runtime = await openRuntime({ dataDirectory: ${JSON.stringify(data)} })
      console.log((await runtime.ask("echo", "again")).text)
      await runtime.close()`
    const next = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 30_000,
    })
    expect([next.stdout, next.status]).toEqual(["again\n", 0])
    await nothingLeft()
    expect(readdirSync(data).filter((name) => /^(?:processes-|spawn-)/.test(name))).toEqual([])
  })
})

describe("a program with a runtime in it, without a guard", () => {
  it.for(deaths.filter(([, , end]) => end !== "SIGKILL"))(
    "ends the process groups when it %s, and leaves no directory",
    async ([, die, end]) => {
      const { program, trees, out, ended } = await start(withoutGuard)
      expect(out()).toContain('"level":"group"')
      const inGroup = ["leader", "group"].map((role) => Number(readFileSync(join(trees, role), "utf8")))
      // For a moment of its exec a process has no arguments.
      await eventually("both are there", () => inGroup.every((pid) => sessionsLeft().includes(pid)))
      die(program)
      await eventually("the program is gone", ended)
      expect(program.signalCode ?? program.exitCode).toBe(end)
      await eventually("the group is gone", () => sessionsLeft().every((pid) => !inGroup.includes(pid)))
      expect(readdirSync(temporary)).toEqual([])
    },
  )

  it("what a kill leaves is ended by the next one: the group, and who carries the marker", async () => {
    const { program, trees, ended } = await start(withoutGuard)
    program.kill("SIGKILL")
    await eventually("the program is gone", ended)
    await eventually("five", () => sessionsLeft().length === 5)
    const script = `import { openRuntime } from ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).href)}
      await (await openRuntime()).close()`
    const next = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...process.env, TMPDIR: temporary, ...withoutGuard },
      encoding: "utf8",
    })
    expect(next.stderr).toBe("")
    // All but the one that left the group and wiped its environment: beyond any finding.
    await eventually("only the wiped one", () => sessionsLeft().length === 1)
    expect(sessionsLeft()).toEqual([Number(readFileSync(join(trees, "wiped"), "utf8"))])
    expect(readdirSync(temporary)).toEqual([])
  })

  it("a program that handles the signal lives on, and its children too", async () => {
    const script = `import { openRuntime } from ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).href)}
      const runtime = await openRuntime()
      await runtime.start({ name: "echo", command: "cat" })
      process.on("SIGTERM", async () => {
        console.log((await runtime.ask("echo", "alive")).text)
        await runtime.close()
        console.log(process.listenerCount("SIGTERM"), process.listenerCount("SIGHUP"), process.listenerCount("exit"))
        process.exit(0)
      })
      process.kill(process.pid, "SIGTERM")
      setInterval(() => {}, 1000)`
    const { stdout, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...process.env, TMPDIR: temporary, ...withoutGuard },
      encoding: "utf8",
      timeout: 30_000,
    })
    expect(stdout).toMatch(/^alive\n1 0 \d+\n$/)
    expect(status).toBe(0)
  })
})

describe("runtimes beside each other", () => {
  it("two in one process share nothing: the end of one is not noticed by the other", async () => {
    const one = await openRuntime()
    const two = await openRuntime()
    await one.start({ name: "same", command: "cat" })
    await two.start({ name: "same", command: "cat" })
    const { pid } = await two.get("same")
    await one.close()
    expect((await two.ask("same", "still there")).text).toBe("still there")
    // A third one sweeps as it starts.
    await (await openRuntime()).close()
    expect(await two.get("same")).toMatchObject({ pid, status: "ready", incarnation: 1 })
    expect(await two.close()).toEqual({ survivors: [] })
  })

  it.each([
    ["under guards", {}],
    ["in process groups", withoutGuard],
  ])(
    "two programs with the same temporary directory, %s: one is killed, another starts, the first serves on",
    async (_, env) => {
      const first = await start(env)
      const own = roles.map((role) => Number(readFileSync(join(first.trees, role), "utf8")))
      const second = await start(env)
      second.program.kill("SIGKILL")
      await eventually("it is gone", second.ended)
      const third = await start(env)
      third.program.send("close")
      await eventually("it closed", third.ended)
      first.program.send("ask")
      await eventually("it answers", () => first.out().includes("still there"))
      for (const pid of own) expect(sessionsLeft()).toContain(pid)
      first.program.send("exit")
      await eventually("it is gone", first.ended)
      expect(readdirSync(temporary)).toEqual([])
    },
  )

  it("a second one in the same data directory is refused, in the same process too, and ends nothing", async () => {
    const dataDirectory = join(scratch, "data")
    const one = await openRuntime({ dataDirectory })
    await one.start({ name: "echo", command: "cat" })
    await expect(openRuntime({ dataDirectory })).rejects.toMatchObject({ _tag: "DataDirectoryInUse" })
    expect((await one.ask("echo", "still there")).text).toBe("still there")
    await one.close()
  })
})

it("a Worker is refused, with a reason, and nothing is left of the attempt", async () => {
  const index = fileURLToPath(new URL("../../src/index.ts", import.meta.url))
  const worker = new Worker(
    `import("${index}").then(({ openRuntime }) => openRuntime()).catch((error) => require("node:worker_threads").parentPort.postMessage([error.name, error.code, error.message]))`,
    { eval: true, env: { ...process.env, TMPDIR: temporary } },
  )
  const said = await new Promise((resolve) => worker.once("message", resolve))
  expect(said).toEqual([
    "NotInWorker",
    "ERR_CRECHE_WORKER",
    expect.stringContaining("openRuntime works in the main thread alone"),
  ])
  expect(readdirSync(temporary)).toEqual([])
  await worker.terminate()
})
