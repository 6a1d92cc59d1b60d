import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { openRuntime, type SessionSpecInput } from "../../src/index.ts"
import { descriptorCount, drawSeed, eventually, noGuard, pidsWithArgument, seeded } from "./Processes.ts"

const rounds = 50
/** The longest grace among the sessions is 100 ms. What needs longer than this waits for something that does not come. */
const deadlineMs = 6_000

const kinds = (token: string): ReadonlyArray<SessionSpecInput> => [
  { command: "cat" },
  { command: "no-such-command-anywhere" },
  { command: "cat", cwd: "/no/such/directory" },
  { command: "true", restart: "temporary" },
  {
    command: "sh",
    args: ["-c", `trap '' TERM; sleep 1000.${token} & wait; wait`],
    shutdown: { signal: "SIGTERM", graceMs: 100 },
  },
  {
    command: "sh",
    args: ["-c", "exit 3"],
    restart: "permanent",
    backoff: { initialMs: 1, maxMs: 5 },
    intensity: { maxRestarts: 1000, withinMs: 1000 },
  },
  // Never ready: its start is under way until the end.
  { command: "sleep", args: [`1000.${token}`], protocol: { type: "text", endOfTurn: { prompt: "never" } } },
  { command: "sh", args: ["-c", `setsid sleep 1000.${token} & exec cat`] },
]

/** The spawn server: the only child of this process that serves. */
const serverPids = (): ReadonlyArray<number> =>
  pidsWithArgument("--serve").filter((pid) => {
    try {
      return new RegExp(`^PPid:\\s+${process.pid}$`, "m").test(readFileSync(`/proc/${pid}/status`, "latin1"))
    } catch {
      return false
    }
  })

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

describe.skipIf(process.platform !== "linux")("closing a runtime", () => {
  const closes = async (what: string, disturb: (random: () => number) => void) => {
    const random = seeded(drawSeed(what))
    const token = `${process.pid}${Date.now()}`
    const specs = kinds(token)
    const before = descriptorCount()
    for (let round = 0; round < rounds; round++) {
      const runtime = await openRuntime()
      const calls: Array<Promise<unknown>> = []
      const meddle = async (name: string) => {
        const choice = random()
        if (choice < 0.2) await runtime.stop(name)
        else if (choice < 0.4) await runtime.ask(name, "hi", { timeoutMs: 50 })
        else if (choice < 0.5) await runtime.suspend(name)
        else if (choice < 0.6) await runtime.restart(name)
        else if (choice < 0.7) await runtime.remove(name)
      }
      const sessions = 1 + Math.floor(random() * 12)
      for (let i = 0; i < sessions; i++) {
        const name = `s${i}`
        const spec = specs[Math.floor(random() * specs.length)]!
        calls.push(
          runtime
            .start({ ...spec, name })
            .then(
              () => meddle(name),
              () => {},
            )
            .catch(() => {}),
        )
        if (random() < 0.2) await pause(random() * 3)
      }
      if (random() < 0.5) await pause(random() * 30)
      disturb(random)
      const result = await Promise.race([runtime.close(), pause(deadlineMs)])
      expect(result, `round ${round}: close() ended within ${deadlineMs} ms`).toEqual({ survivors: [] })
      const settled = await Promise.race([Promise.all(calls).then(() => "settled"), pause(deadlineMs)])
      expect(settled, `round ${round}: every call was answered`).toBe("settled")
      expect(pidsWithArgument(token)).toEqual([])
    }
    expect(serverPids()).toEqual([])
    await eventually("descriptors are back", () => descriptorCount() <= before + 2)
  }

  it("ends within its deadline with sessions in all phases, 50 times, and leaves nothing", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    await closes("shutdown", () => {})
  })

  it("does so also when its spawn server was killed just before", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    await closes("shutdown without a server", (random) => {
      if (random() < 0.7) for (const pid of serverPids()) process.kill(pid, "SIGKILL")
    })
  })
})
