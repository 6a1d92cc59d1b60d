/**
 * Who is killed together with the runtime, and what is left of its sessions then, level by level. `CHAOS=long` repeats
 * each 500 times. A test that fails prints the seed that repeats its moments.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Containment } from "../../src/domain/Session.ts"
import { childrenOf, eventually, fixture, freshToken, noLevel, openBench, pidsWith } from "./SpawnerBench.ts"

const long = process.env["CHAOS"] === "long"
const rounds = long ? 500 : 4
const patience = long ? 3_600_000 : 120_000
const levels: ReadonlyArray<Containment> = ["guard", "namespace", "cgroup"]
const skipped = new Map(await Promise.all(levels.map(async (level) => [level, await noLevel(level)] as const)))

const seed = Number(process.env["SEED"] ?? Date.now() % 100_000)
let state = seed
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32
}

/** Who is killed compiles for nobody: so one that is not does it for all. */
const cache = process.env["NODE_COMPILE_CACHE"] ?? mkdtempSync(join(tmpdir(), "creche-cache-"))
const env = { ...process.env, NODE_COMPILE_CACHE: cache }
beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), "creche-deaths-"))
  await once(
    spawn(process.execPath, [fixture("runtime.ts"), directory, "guard", "0", "true"], { env, stdio: "ignore" }),
    "exit",
  )
  rmSync(directory, { recursive: true, force: true })
})
afterAll(() => {
  if (cache !== process.env["NODE_COMPILE_CACHE"]) rmSync(cache, { recursive: true, force: true })
})

/** A runtime that starts four sessions, each with a stray that called setsid and a daemon. */
const begin = async (level: Containment, token: string, directory: string) => {
  const script = `setsid sleep 1000.${token} & (setsid sleep 1000.${token} >/dev/null 2>&1 <&- &) ; exec sleep 1000.${token}`
  const argv = [fixture("runtime.ts"), directory, level, "4", "sh", "-c", script]
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"], env })
  let out = ""
  const said = (text: string) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!out.includes(text)) return
        child.stdout.off("data", check)
        resolve()
      }
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
      child.stdout.on("data", check)
    })
  await said("spawning")
  return { pid: child.pid!, said, gone: once(child, "exit") }
}

const aMoment = () => {
  const until = performance.now() + random() * 4
  while (performance.now() < until) continue
}

const commOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1").trim()
  } catch {
    return ""
  }
}
/** The server, guards, inits below a runtime that still has its pid. */
const helpersOf = (runtime: number): ReadonlyArray<number> => {
  const servers = childrenOf(runtime)
  const guards = servers.flatMap(childrenOf)
  return [...servers, ...guards, ...guards.flatMap(childrenOf)].filter((pid) => /^(guard|creche-)/.test(commOf(pid)))
}

const signal = (pid: number, name: "SIGSTOP" | "SIGKILL") => {
  try {
    process.kill(pid, name)
  } catch {
    // It is gone.
  }
}

for (const level of levels) {
  const why = skipped.get(level)!
  describe.skipIf(why !== "")(`deaths at the level ${level}${why && ` (${why})`}`, () => {
    const repeat = async (round: (token: string, directory: string) => Promise<void>) => {
      console.log(`seed ${seed} (SEED=${seed} repeats it), ${rounds} rounds`)
      const directory = mkdtempSync(join(tmpdir(), "creche-deaths-"))
      for (let n = 0; n < rounds; n++) await round(freshToken(), directory)
      rmSync(directory, { recursive: true, force: true })
    }
    const nothingLeft = (token: string) => eventually("nothing left", () => pidsWith(token).length === 0, 2_000)

    it(
      "the runtime, 0 to 4 ms after its spawns began: nothing is left",
      () =>
        repeat(async (token, directory) => {
          const runtime = await begin(level, token, directory)
          aMoment()
          signal(runtime.pid, "SIGKILL")
          await runtime.gone
          await nothingLeft(token)
        }),
      patience,
    )

    it(
      "the runtime and a guard, 0 to 4 ms after its spawns began: nothing is left",
      () =>
        repeat(async (token, directory) => {
          const runtime = await begin(level, token, directory)
          const [server] = childrenOf(runtime.pid)
          aMoment()
          const guards = childrenOf(server!)
          signal(runtime.pid, "SIGKILL")
          for (const guard of guards) if (random() < 0.5) signal(guard, "SIGKILL")
          await runtime.gone
          await nothingLeft(token)
        }),
      patience,
    )

    it.skipIf(level !== "namespace")(
      `runtime, server and every guard at once: nothing is left${level === "namespace" ? "" : " (skipped, only the kernel could do that)"}`,
      () =>
        repeat(async (token, directory) => {
          const runtime = await begin(level, token, directory)
          // Half of the times in the middle of the spawns, half of them when all stand.
          if (random() < 0.5) aMoment()
          else await runtime.said("spawned")
          // First stopped, so that none of them does anything about the end of another; twice, for those that came meanwhile.
          for (let pass = 0; pass < 2; pass++)
            for (const pid of [runtime.pid, ...helpersOf(runtime.pid)]) signal(pid, "SIGSTOP")
          for (const pid of [...helpersOf(runtime.pid), runtime.pid]) signal(pid, "SIGKILL")
          await runtime.gone
          await nothingLeft(token)
        }),
      patience,
    )

    it("afterwards the next runtime starts, and leaves nothing of the earlier ones", async () => {
      const bench = await openBench(level)
      const { recorder } = await bench.start("echo", ["here"])
      await recorder.closed
      expect(recorder.stdout).toBe("here\n")
      await bench.close()
    })
  })
}
