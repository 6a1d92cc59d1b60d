import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { SpawnFailed } from "../../src/domain/Errors.ts"
import type { Command } from "../../src/process/Command.ts"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import type { GuardSubprocess } from "../../src/process/GuardSubprocess.ts"
import { ProcessLedger } from "../../src/process/ProcessLedger.ts"
import { defaultSpares } from "../../src/process/SpareGuards.ts"
import { SpawnServer } from "../../src/process/SpawnServer.ts"
import {
  commandOf,
  descriptorsAtRest,
  eventually,
  fixture,
  freshToken,
  guardsOf,
  isGone,
  noTree,
  pidsWith,
  Recorder,
  serverOf,
  sparesOf,
} from "./SpawnerBench.ts"

describe.skipIf(noTree !== "")(`spare guards${noTree && ` (${noTree})`}`, () => {
  let directory: string
  let server: SpawnServer
  let ledger: ProcessLedger
  let token: string
  beforeEach(async () => {
    token = freshToken()
    directory = mkdtempSync(join(tmpdir(), "creche-spares-"))
    ledger = new ProcessLedger(directory, "test")
    const binary = findGuardBinary()
    if (!binary.found) throw new Error(binary.detail)
    server = await SpawnServer.start({
      binary: binary.path,
      directory,
      ledger,
      reportDefect: () => {},
      spawnTimeoutMs: 400,
    })
    await descriptorsAtRest(directory)
  })
  afterEach(async () => {
    await server.close()
    ledger.close()
    // Those of a server that was killed end by themselves, when the runtime's end of their pipe closes.
    await eventually("no guard is left", () => pidsWith(directory).length === 0 && pidsWith(token).length === 0, 2_000)
    rmSync(directory, { recursive: true, force: true })
  })

  const start = (command: Command, recorder = new Recorder()) =>
    new Promise<GuardSubprocess | SpawnFailed>((resolve) => {
      const started = server.spawn(command, recorder, (result) => {
        started.open()
        resolve(result)
      })
    })
  const pid = () => serverOf(process.pid, directory)!
  const sleeper = () => commandOf("sleep", [`1000.${token}`])
  const started = (result: GuardSubprocess | SpawnFailed): GuardSubprocess => {
    if ("errno" in result) throw result
    return result
  }

  it("a command is started by one of them, and another takes its place", async () => {
    const spares = sparesOf(pid())
    expect(spares.length).toBe(defaultSpares)
    const { guardPid } = started(await start(sleeper()))
    expect(spares).toContain(guardPid)
    await eventually("as many as before", () => sparesOf(pid()).length === defaultSpares)
    expect(guardsOf(pid())).toEqual([guardPid])
  })

  it("one that has served goes with its command: none serves twice", async () => {
    const seen = new Set<number>()
    for (let i = 0; i < 20; i++) {
      const recorder = new Recorder()
      const { guardPid } = started(await start(commandOf("sh", ["-c", `exit ${i}`]), recorder))
      expect(seen).not.toContain(guardPid)
      seen.add(guardPid)
      expect(await recorder.exit).toMatchObject({ code: i })
      await recorder.closed
      await eventually("gone", () => isGone(guardPid))
    }
  })

  it("a command of a megabyte arrives whole, and what is written afterwards is its stdin to the byte", async () => {
    const args = Array.from({ length: 10 }, (_, i) => String(i).repeat(100_000))
    const recorder = new Recorder()
    const subprocess = started(await start(commandOf("sh", ["-c", 'printf %s "$@"; cat', "sh", ...args]), recorder))
    const text = "the first line\n".repeat(50_000)
    subprocess.write(text)
    subprocess.endStdin()
    await recorder.closed
    expect(recorder.stdoutBytes).toBe(1_000_000 + text.length)
    expect(recorder.stdout.startsWith(args.join("").slice(0, 500_000))).toBe(true)
    expect(recorder.drains).toBeLessThanOrEqual(1)
  })

  it("failures of a start keep their names", async () => {
    expect(await start(commandOf("no-such-command-anywhere", []))).toMatchObject({ errno: "ENOENT", field: "command" })
    expect(await start(commandOf("true", [], { cwd: "/no/such" }))).toMatchObject({ errno: "ENOENT", field: "cwd" })
  })

  it("killing all of them disturbs nobody: starts go on, and new ones come", async () => {
    const session = started(await start(commandOf("cat", [])))
    for (const spare of sparesOf(pid())) process.kill(spare, "SIGKILL")
    for (let i = 0; i < 6; i++) {
      const recorder = new Recorder()
      started(await start(commandOf("echo", ["hi"]), recorder))
      await recorder.closed
      expect(recorder.stdout).toBe("hi\n")
    }
    await eventually("new ones", () => sparesOf(pid()).length === defaultSpares)
    expect(session.exited).toBe(false)
  })

  it("killed with a command on its way: that is started once, or once again, and never twice", async () => {
    for (let round = 0; round < 10; round++) {
      await eventually("all there", () => sparesOf(pid()).length === defaultSpares)
      await descriptorsAtRest(directory)
      const spares = sparesOf(pid())
      // Stopped first in half of the rounds, so that they cannot have begun.
      if (round % 2 === 0) for (const spare of spares) process.kill(spare, "SIGSTOP")
      const starts = Array.from({ length: defaultSpares }, () => start(sleeper()))
      for (const spare of spares) process.kill(spare, "SIGKILL")
      let live = 0
      for (const result of await Promise.all(starts)) {
        if ("errno" in result) expect(result).toMatchObject({ errno: "EAGAIN" })
        else if (!result.exited) live++
      }
      await eventually("no more than were answered", () => pidsWith(token).length <= live)
      for (const result of await Promise.all(starts)) {
        if (!("errno" in result)) result.discard()
      }
      await eventually("none is left", () => pidsWith(token).length === 0)
    }
  }, 60_000)

  it("one that hangs fails its start with a name, is made to go on, and starts nothing then", async () => {
    const spares = sparesOf(pid())
    for (const spare of spares) process.kill(spare, "SIGSTOP")
    expect(await start(sleeper())).toMatchObject({ errno: "ETIMEDOUT", field: "command" })
    await eventually("they are gone", () => spares.every(isGone))
    expect(pidsWith(token)).toEqual([])
  })

  it("a start that is given up at once leaves nothing, and its end is told", async () => {
    for (let round = 0; round < 20; round++) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const subprocess = server.spawn(sleeper(), new Recorder(), () => {})
      if (round % 2 === 0) await new Promise((next) => setImmediate(next))
      subprocess.discard()
      const poll = setInterval(() => subprocess.closed && (clearInterval(poll), resolve()), 1)
      await promise
      expect(pidsWith(token)).toEqual([])
    }
  })

  it("the server's death takes them along; the next server has its own, and no descriptor stays", async () => {
    const before = await descriptorsAtRest(directory)
    const first = pid()
    const spares = sparesOf(first)
    process.kill(first, "SIGKILL")
    const recorder = new Recorder()
    started(await start(commandOf("echo", ["hi"]), recorder))
    await recorder.closed
    expect(recorder.stdout).toBe("hi\n")
    await eventually("the old ones are gone", () => spares.every(isGone))
    await eventually("descriptors back", async () => (await descriptorsAtRest(directory)) <= before)
    expect(sparesOf(pid()).length).toBe(defaultSpares)
  })

  it("the end of a session is heard when its server was killed and requests were on their way", async () => {
    for (let round = 0; round < 4; round++) {
      const recorder = new Recorder()
      const session = started(await start(commandOf("cat", []), recorder))
      process.kill(pid(), "SIGKILL")
      session.endStdin()
      await recorder.closed
      expect(recorder.exits).toMatchObject([{ kind: "exited", code: 0 }])
      await eventually("the next server", () => pid() !== undefined)
    }
  })

  it("a runtime that is killed leaves none of them", async () => {
    const own = join(directory, "runtime")
    const child = spawn(process.execPath, [fixture("runtime.ts"), own, "guard", "1", "sleep", `1000.${token}`], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    const spares = await eventually("spares", () => {
      const found = serverOf(child.pid!, own)
      return found !== undefined && sparesOf(found).length === defaultSpares && sparesOf(found)
    })
    child.kill("SIGKILL")
    await eventually("nothing left", () => pidsWith(own).length === 0 && spares.every(isGone), 2_000)
  })

  it("where descriptors are short they make room, and what runs is served", async () => {
    const own = join(directory, "runtime")
    const argv = ["-c", 'ulimit -n 90; exec "$@"', "sh", process.execPath, fixture("runtime.ts"), own, "guard", "40"]
    const child = spawn("sh", [...argv, "sleep", `1000.${token}`], { stdio: ["ignore", "pipe", "inherit"] })
    let out = ""
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
    await eventually("a named failure", () => /failed.*"errno":"(EMFILE|ENFILE)"/.test(out))
    await eventually("nothing left", () => pidsWith(token).length === 0 && pidsWith(own).length === 0)
  })
})
