import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import type { Command } from "../../src/process/Command.ts"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import type { GuardSubprocess } from "../../src/process/GuardSubprocess.ts"
import { ProcessLedger } from "../../src/process/ProcessLedger.ts"
import { SpawnServer } from "../../src/process/SpawnServer.ts"
import type { SpawnFailed } from "../../src/domain/Errors.ts"
import {
  commandOf,
  descriptorsAtRest,
  eventually,
  freshToken,
  isGone,
  noGuard,
  noTree,
  pidsWith,
  Recorder,
  serverOf,
} from "./SpawnerBench.ts"

spawnerSuite("guard", noGuard)

describe.skipIf(noTree !== "")(`the spawn server itself${noTree && ` (${noTree})`}`, () => {
  let directory: string
  let server: SpawnServer
  let ledger: ProcessLedger
  let token: string
  beforeEach(async () => {
    token = freshToken()
    directory = mkdtempSync(join(tmpdir(), "creche-server-"))
    ledger = new ProcessLedger(directory, "test")
    const binary = findGuardBinary()
    if (!binary.found) throw new Error(binary.detail)
    server = await SpawnServer.start({
      binary: binary.path,
      directory,
      ledger,
      reportDefect: () => {},
      spawnTimeoutMs: 400,
      // Every command goes through the server itself.
      spares: 0,
    })
  })
  afterEach(async () => {
    await server.close()
    ledger.close()
    rmSync(directory, { recursive: true, force: true })
  })

  const start = (command: Command, recorder = new Recorder()) =>
    new Promise<GuardSubprocess | SpawnFailed>((resolve) => {
      const started = server.spawn(command, recorder, (result) => {
        started.open()
        resolve(result)
      })
    })
  const pid = () => serverOf(process.pid, directory)

  it("output that does not fit into memory before the caller has the process waits for him, however long he takes", async () => {
    const bytes = 300_000
    const recorder = new Recorder()
    const script = `head -c ${bytes} /dev/zero; head -c ${bytes} /dev/zero >&2`
    const started = server.spawn(commandOf("sh", ["-c", script]), recorder, () => {})
    await eventually("it has ended", () => server.live.length === 0 || isGone(started.pid))
    // Longer than a pipe that somebody outside the tree holds may stay silent.
    await new Promise((resolve) => setTimeout(resolve, 600))
    started.open()
    await recorder.closed
    expect([recorder.stdoutBytes, recorder.stderrBytes]).toEqual([bytes, bytes])
  })

  it("one that hangs is replaced, and what it was asked is asked again", async () => {
    const before = pid()!
    process.kill(before, "SIGSTOP")
    const recorder = new Recorder()
    const result = await start(commandOf("echo", ["hi"]), recorder)
    expect(result).not.toHaveProperty("errno")
    await recorder.closed
    expect(recorder.stdout).toBe("hi\n")
    expect(pid()).not.toBe(before)
  })

  it("one that dies again and again fails what it was asked with a name, and serves once it is let", async () => {
    const killer = setInterval(() => {
      const now = pid()
      if (now !== undefined) process.kill(now, "SIGKILL")
    }, 1)
    process.kill(pid()!, "SIGSTOP")
    const results = await Promise.all(Array.from({ length: 5 }, () => start(commandOf("sleep", [`1000.${token}`]))))
    clearInterval(killer)
    for (const result of results) {
      // On a machine that is busy enough a spawn may also take longer than the 400 ms that it is given here.
      if ("errno" in result)
        expect(["ELEVEL containment", "ETIMEDOUT command"]).toContain(`${result.errno} ${result.field}`)
      else result.discard()
    }
    await eventually("none is left", () => pidsWith(token).length === 0)
    await eventually("it serves again", async () => !("errno" in (await start(commandOf("true", [])))))
  })

  it("several deaths later no descriptor is left open", async () => {
    const before = await descriptorsAtRest()
    for (let round = 0; round < 8; round++) {
      const recorder = new Recorder()
      const result = await start(commandOf("cat", []), recorder)
      if ("errno" in result) throw result
      process.kill(await eventually("a server", pid), "SIGKILL")
      result.endStdin()
      await recorder.closed
      await eventually("a new server", pid)
    }
    await eventually("descriptors back", async () => (await descriptorsAtRest()) <= before, 20_000)
  })

  it("closing it while spawns are under way settles every one and leaves nothing", async () => {
    const spawns = Array.from({ length: 30 }, () => start(commandOf("sleep", [`1000.${token}`])))
    await new Promise((resolve) => setImmediate(resolve))
    await server.close()
    for (const result of await Promise.all(spawns)) {
      if ("errno" in result) expect(result.errno).toBe("ELEVEL")
      else expect(result.closed).toBe(true)
    }
    expect(pidsWith(token)).toEqual([])
    expect(server.live).toEqual([])
    expect(await start(commandOf("true", []))).toMatchObject({ errno: "ELEVEL" })
  })
})
