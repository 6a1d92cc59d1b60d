/** Stops of real processes: of many at once, and in every phase of a start. Whatever was running, nothing is left when they answer. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime, type SessionSpecInput } from "../../src/index.ts"
import { within } from "./EmbeddedWorld.ts"
import { eventually, noGuard, pidsWithArgument } from "./Processes.ts"

const directory = mkdtempSync(join(tmpdir(), "creche-stops-"))
afterAll(() => rmSync(directory, { recursive: true, maxRetries: 5 }))

let tokens = 0
/** Digits, among the arguments of whatever a test starts. */
const freshToken = () => `${process.pid}${Date.now()}${++tokens}`

/** A shell that ignores SIGTERM, with a child that does so too. */
const deaf = (token: string, graceMs: number): SessionSpecInput => ({
  command: "sh",
  args: ["-c", `trap '' TERM; sleep 1000.${token} & wait`],
  shutdown: { graceMs },
})

/** So many graces one after the other would take 1,000 s: no test has that much time. */
const graceMs = 5_000
const sessions = 200

const startAll = async (runtime: EmbeddedRuntime, token: string) => {
  for (let n = 0; n < sessions; n += 20) {
    const some = Array.from({ length: 20 }, (_, k) => runtime.start({ ...deaf(token, graceMs), name: `s${n + k}` }))
    await Promise.all(some)
  }
}

describe.skipIf(process.platform !== "linux")("200 sessions whose children ignore SIGTERM", () => {
  it("are stopped together: all are told before the first grace is over, and nothing of them is left", async () => {
    const token = freshToken()
    await within(async (runtime) => {
      await startAll(runtime, token)
      const stopped = await Promise.all(Array.from({ length: sessions }, (_, n) => runtime.stop(`s${n}`)))
      expect(pidsWithArgument(token)).toEqual([])
      expect(stopped.every(({ status, survivors }) => status === "stopped" && survivors.length === 0)).toBe(true)
      const told: Array<number> = []
      const ended: Array<number> = []
      for (const { name } of stopped) {
        const { entries } = await runtime.transcript(name, { types: ["status", "process/exited"] })
        for (const { at, ...entry } of entries) {
          if (entry.type === "process/exited") ended.push(at)
          else if (entry.type === "status" && entry.status === "stopping") told.push(at)
        }
      }
      expect([told.length, ended.length]).toEqual([sessions, sessions])
      expect(Math.max(...told)).toBeLessThanOrEqual(Math.min(...ended))
    })
  }, 120_000)

  it("end with their runtime in about one grace, and nothing of them is left", async () => {
    const token = freshToken()
    const runtime = await openRuntime()
    await startAll(runtime, token)
    expect(await runtime.close()).toEqual({ survivors: [] })
    expect(pidsWithArgument(token)).toEqual([])
  }, 120_000)
})

/** How far a session has come when it is stopped: brings it there, and says what its calls are told then. */
const phases: Readonly<
  Record<string, (runtime: EmbeddedRuntime, name: string, token: string) => Promise<ReadonlyArray<Promise<unknown>>>>
> = {
  "that is being spawned": async (runtime, name, token) => [
    runtime.start({ ...deaf(token, 50), name }).catch((error: unknown) => error),
  ],
  "that waits for its restart": async (runtime, name, token) => {
    await runtime.start({
      name,
      command: "sh",
      args: ["-c", `: ${token}; read line; exit 3`],
      restart: "permanent",
      backoff: { initialMs: 600_000, maxMs: 600_000 },
    })
    void runtime.tell(name, "end").catch(() => {})
    await eventually("it waits", async () => (await runtime.get(name)).status === "backoff")
    return []
  },
  "in its handshake": async (runtime, name, token) => {
    const start = runtime
      .start({ ...deaf(token, 50), name, protocol: { type: "text", endOfTurn: { prompt: "never" } } })
      .catch((error: unknown) => error)
    await eventually("it has a process", async () => (await runtime.get(name)).pid !== null)
    return [start]
  },
  "in the handshake of its agent": async (runtime, name, token) => {
    const start = runtime.start({ ...deaf(token, 50), name, protocol: "claude" }).catch((error: unknown) => error)
    await eventually("it has a process", async () => (await runtime.get(name)).pid !== null)
    return [start]
  },
  "that waits to be authenticated": async (runtime, name, token) => {
    const agent = new URL("../fixtures/agents/acp/agent.ts", import.meta.url).pathname
    await runtime.start({
      name,
      command: process.execPath,
      args: [agent, "--store", join(directory, token), "--auth", "key"],
      protocol: "acp",
    })
    await eventually("it waits", async () => (await runtime.get(name)).status === "authenticating")
    return []
  },
  "in the middle of a restart": async (runtime, name, token) => {
    await runtime.start({ ...deaf(token, 300), name })
    const restart = runtime.restart(name).catch((error: unknown) => error)
    await eventually("it ends", async () => (await runtime.get(name)).status === "starting")
    return [restart]
  },
  "that crashes just then": async (runtime, name, token) => {
    const { pid } = await runtime.start({
      ...deaf(token, 50),
      name,
      restart: "permanent",
      backoff: { initialMs: 1, maxMs: 1 },
      intensity: { maxRestarts: 1_000, withinMs: 1_000 },
    })
    process.kill(pid!, "SIGKILL")
    return []
  },
}

describe.skipIf(process.platform !== "linux")("a session", () => {
  describe.each(Object.entries(phases))("%s", (_, reach) => {
    it.each(["graceful", "kill"] as const)("is stopped (%s), and neither it nor a successor is left", async (mode) => {
      const token = freshToken()
      await within(async (runtime) => {
        for (let round = 0; round < 5; round++) {
          const name = `s${round}`
          const calls = await reach(runtime, name, `${token}${round}`)
          // A first start that is stopped halfway leaves no session: then there is none to be told of.
          const stopped = await runtime.stop(name, mode).catch((error: unknown) => error as { readonly tag: string })
          expect(pidsWithArgument(`${token}${round}`)).toEqual([])
          if ("status" in stopped) expect(stopped).toMatchObject({ status: "stopped", pid: null, survivors: [] })
          else expect(stopped).toMatchObject({ _tag: expect.stringMatching(/^Session/) })
          await Promise.all(calls)
          await sleep(20)
          expect(pidsWithArgument(`${token}${round}`)).toEqual([])
        }
      })
    })

    it("is stopped twice at once, and each is answered when nothing is left", async () => {
      const token = freshToken()
      await within(async (runtime) => {
        const calls = await reach(runtime, "s", token)
        const both = await Promise.allSettled([runtime.stop("s"), runtime.stop("s")])
        expect(pidsWithArgument(token)).toEqual([])
        expect(both.map(({ status }) => status)).toSatisfy((how: ReadonlyArray<string>) => new Set(how).size === 1)
        await Promise.all(calls)
      })
    })

    it("ends with its runtime as well", async (context) => {
      if (noGuard !== undefined) context.skip(noGuard)
      const token = freshToken()
      const runtime = await openRuntime()
      const calls = await reach(runtime, "s", token)
      expect(await runtime.close()).toEqual({ survivors: [] })
      expect(pidsWithArgument(token)).toEqual([])
      await Promise.all(calls)
    })
  })
})
