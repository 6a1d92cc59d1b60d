import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { demoSpec } from "../../src/demo/spec.ts"
import { descendantsOf, eventually, noGuard, statOf } from "../acceptance/Processes.ts"
import { ChaosRuntime } from "./ChaosRuntime.ts"
import { isLong } from "./ChaosReport.ts"

const rounds = isLong ? 40 : 2

const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")
  } catch {
    return ""
  }
}
/** Guards of sessions below a runtime: whoever is between the runtime and a session's process. */
const guardOf = (leader: number): number => statOf(leader)!.parent

describe.skipIf(noGuard !== undefined)("deaths of the runtime", () => {
  let world: ChaosRuntime
  beforeAll(async () => {
    world = await ChaosRuntime.open({ faults: "16–21", title: "deaths of the runtime", durable: true })
  })
  afterAll(() => world?.discard())

  /** Every process that the dead runtimes left is gone, strays with a wiped environment too. */
  const nothingLeft = () =>
    eventually("everything of the dead runtime is gone", () => world.hostile().length === 0, 5_000)
  const stubborn = (graceMs: number) => ({
    command: "sh",
    args: ["-c", `trap '' TERM; setsid sleep 1000.$0 & exec sleep 1000.$0`, world.token],
    shutdown: { signal: "SIGTERM" as const, graceMs },
  })

  it("in the middle of a stop: nothing is left, and the session is stopped for the next runtime", async () => {
    for (let round = 0; round < rounds; round++) {
      const name = `stopping${round}`
      await world.start({ ...stubborn(60_000), name })
      await eventually("it stands", () => world.hostile().length >= 2)
      const stop = world.client.request("session/stop", { session: name }).catch(() => {})
      await eventually("it is stopping", async () => {
        const { status } = await world.client.request("session/get", { session: name })
        return status === "stopping"
      })
      await world.killRuntime()
      await stop
      await nothingLeft()
      await world.boot()
      const { status, pid } = await world.client.request("session/get", { session: name })
      expect([["stopped", "suspended"].includes(status), pid]).toEqual([true, null])
    }
  })

  it("in the delay before a restart: nothing is left, and the next runtime restarts it once", async () => {
    for (let round = 0; round < rounds; round++) {
      const name = `waiting${round}`
      await world.start({
        name,
        command: "cat",
        restart: "permanent",
        backoff: { initialMs: 400, factor: 1, maxMs: 400, jitter: 0 },
        intensity: { maxRestarts: 1000, withinMs: 60_000 },
      })
      for (let death = 0; death < 2; death++) {
        const { pid } = await world.client.request("session/get", { session: name })
        process.kill(pid!, "SIGKILL")
        world.inject("SIGKILL of a leader")
        await eventually("it is gone, or back", async () => {
          const now = await world.client.request("session/get", { session: name })
          return now.pid !== pid && (now.status === "ready" || now.status === "backoff")
        })
        if (death === 0)
          await eventually("it is back", async () => {
            const { status } = await world.client.request("session/get", { session: name })
            return status === "ready"
          })
      }
      await world.killRuntime()
      await world.boot()
      expect((await world.ask(name, "are you there")).text).toBe("are you there")
      await world.client.request("session/stop", { session: name })
    }
  })

  it("in the middle of turns and of their transcripts: each acknowledged turn ends once, none is asked twice unasked", async () => {
    const sessions = Array.from({ length: 6 }, (_, at) => `turns${at}`)
    for (const name of sessions) await world.start({ ...demoSpec({ name }), ifExists: "return" })
    for (let round = 0; round < rounds; round++) {
      const asks = sessions.flatMap((session) =>
        ["/stream 200 word", "/slow 30 later", "/echo done"].map((prompt) =>
          world.tell(session, prompt).catch(() => undefined),
        ),
      )
      // From the first acknowledgement to the last word.
      await eventually("turns run", async () => {
        const { turns } = await world.client.request("session/get", { session: world.pick(sessions) })
        return turns.running > 0 || turns.completed > 0
      })
      for (let turn = world.below(40); turn > 0; turn--) await world.client.request("runtime/info", {})
      await world.killRuntime()
      await Promise.all(asks)
      await world.boot()
    }
    for (const name of sessions) expect((await world.ask(name, "/echo still")).text).toBe("still")
  })

  it("stopped and continued: no child is killed, no turn is lost", async () => {
    await world.start({ name: "patient", command: "cat" })
    const { pid, incarnation } = await world.client.request("session/get", { session: "patient" })
    for (let round = 0; round < rounds; round++) {
      const ask = world.ask("patient", `round ${round}`)
      process.kill(world.pid, "SIGSTOP")
      world.inject("SIGSTOP and SIGCONT of the runtime")
      await eventually("it is stopped", () => statOf(world.pid)?.state === "T")
      // Whoever would take a silent runtime for a dead one has had the time to.
      await eventually("its child lives", () => statOf(pid!) !== undefined)
      process.kill(world.pid, "SIGCONT")
      expect((await ask).text).toBe(`round ${round}`)
    }
    const after = await world.client.request("session/get", { session: "patient" })
    expect([after.pid, after.incarnation]).toEqual([pid, incarnation])
  })

  it("a guard that is killed takes its session's tree along, and the session comes back", async () => {
    for (let round = 0; round < rounds; round++) {
      const name = `guarded${round}`
      await world.start({ ...stubborn(100), name, restart: "permanent" })
      await eventually("it stands", () => world.hostile().length >= 2)
      const before = await world.client.request("session/get", { session: name })
      const old = world.hostile()
      process.kill(guardOf(before.pid!), "SIGKILL")
      world.inject("SIGKILL of a guard")
      await eventually("it is back", async () => {
        const { status, incarnation } = await world.client.request("session/get", { session: name })
        return status === "ready" && incarnation > before.incarnation
      })
      const now = world.hostile()
      expect(old.filter((pid) => now.includes(pid))).toEqual([])
      await world.client.request("session/remove", { session: name })
    }
    await nothingLeft()
  })

  it("runtime and guards killed together: the next runtime ends what they left before it serves", async () => {
    for (let round = 0; round < rounds; round++) {
      const names = Array.from({ length: 3 }, (_, at) => `together${round}x${at}`)
      for (const name of names) await world.start({ ...stubborn(100), name, restart: "temporary" })
      await eventually("they stand", () => world.hostile().length >= 6)
      // The spawn server would end what a killed guard leaves: it goes as well.
      const helpers = descendantsOf(world.pid).filter(({ pid }) => /guard/.test(commandOf(pid)))
      const held = helpers.map(({ pid, start }) => ({ pid, start }))
      const dead = world.killRuntime()
      for (const { pid } of held) {
        try {
          process.kill(pid, "SIGKILL")
        } catch {
          // It had begun to end by itself.
        }
      }
      world.inject("SIGKILL of a guard", held.length)
      await dead
      await world.boot()
      // Not eventually: it serves, so they are gone.
      expect(world.hostile()).toEqual([])
    }
  })

  it("nothing is left of any of it", () => world.finish())
})
