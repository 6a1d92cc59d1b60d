import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { CrecheError, WireEntry } from "../../src/client/index.ts"
import { eventually, noGuard } from "../acceptance/Processes.ts"
import { ChaosRuntime } from "./ChaosRuntime.ts"
import { isLong } from "./ChaosReport.ts"

const times = isLong ? 200 : 20

describe.skipIf(noGuard !== undefined)("supervision under attack", () => {
  let world: ChaosRuntime
  beforeAll(async () => {
    world = await ChaosRuntime.open({ faults: "32–40", title: "supervision" })
  })
  afterAll(() => world?.discard())

  const entriesOf = async (session: string): Promise<ReadonlyArray<WireEntry>> => {
    const entries: Array<WireEntry> = []
    for await (const entry of world.client.transcript({ session })) entries.push(entry)
    return entries
  }
  const spawnsOf = async (session: string) =>
    (await entriesOf(session)).filter(({ type }) => type === "process/spawned").length
  const statusOf = async (session: string) => (await world.client.request("session/get", { session })).status
  const kill = async (session: string) => {
    const { pid } = await world.client.request("session/get", { session })
    try {
      if (pid !== null) process.kill(pid, "SIGKILL")
      world.inject("SIGKILL of a leader")
    } catch {
      // It was faster.
    }
  }
  /** A lock on a file that the whole tree of an incarnation holds: an incarnation that comes too early writes `two`. */
  const alone = (name: string) => {
    const lock = join(world.directory, `${name}.lock`)
    const stray = `setsid sleep 1000.${world.token} </dev/null >/dev/null 2>&1`
    return {
      command: "sh",
      args: ["-c", `exec 9>'${lock}'; flock -n 9 || { echo two >>'${lock}.two'; exit 9; }; ${stray} & exec cat`],
      met: () => existsSync(`${lock}.two`) && readFileSync(`${lock}.two`, "utf8"),
    }
  }

  it("a stop during backoff: nothing is spawned any more", async () => {
    const backoff = { initialMs: 300, factor: 1, maxMs: 300, jitter: 0 }
    const crashing = { restart: "permanent" as const, backoff, intensity: { maxRestarts: 1000, withinMs: 60_000 } }
    const names = Array.from({ length: times }, (_, at) => `backoff${at}`)
    await Promise.all(names.map((name) => world.start({ ...crashing, name, command: "cat" })))
    await Promise.all(names.map(kill))
    // The first restart of a child that was well comes at once; the second death is followed by a backoff.
    await eventually("all run again", async () => (await Promise.all(names.map(spawnsOf))).every((n) => n === 2))
    await Promise.all(names.map(kill))
    await eventually("all are in backoff", async () => (await Promise.all(names.map(statusOf))).includes("backoff"))
    await Promise.all(names.map((session) => world.client.request("session/stop", { session })))
    world.inject("stop during backoff", times)
    const then = await Promise.all(names.map(spawnsOf))
    // One that begins its backoff only now and comes back from it: so much time has passed for the others too.
    await world.start({ ...crashing, name: "later", command: "cat" })
    for (let round = 1; round <= 2; round++) {
      await kill("later")
      await eventually("it came back", async () => (await spawnsOf("later")) === 1 + round)
    }
    expect(await Promise.all(names.map(spawnsOf))).toEqual(then)
    expect(new Set(await Promise.all(names.map(statusOf)))).toEqual(new Set(["stopped"]))
  })

  it("a stop that races the natural exit, and a second stop: all are answered, and there is one end", async () => {
    const names = Array.from({ length: times }, (_, at) => `race${at}`)
    await Promise.all(
      names.map(async (name) => {
        const started = await world.start({
          name,
          restart: "temporary",
          command: "sh",
          args: ["-c", `sleep 0.0${world.below(10)}`],
          shutdown: { signal: "SIGTERM", graceMs: 50 },
        })
        expect(started.incarnation).toBe(1)
        const stops = [0, 1, 2].map((at) =>
          world.client.request("session/stop", { session: name, mode: at === 2 ? "kill" : "graceful" }),
        )
        for (const { status, pid } of await Promise.all(stops)) expect([status, pid]).toEqual(["stopped", null])
      }),
    )
    world.inject("three stops that race an exit", times)
    for (const name of names) {
      const entries = await entriesOf(name)
      expect(entries.filter(({ type }) => type === "process/exited")).toHaveLength(1)
    }
  })

  it("restarts, kills and stops at once: never are there two of one session, strays included", async () => {
    const sessions = Array.from({ length: 4 }, (_, at) => ({ name: `two${at}`, ...alone(`two${at}`) }))
    for (const { name, command, args } of sessions)
      await world.start({
        name,
        command,
        args,
        restart: "permanent",
        backoff: { initialMs: 1, maxMs: 5 },
        intensity: { maxRestarts: 100_000, withinMs: 1000 },
        shutdown: { signal: "SIGTERM", graceMs: 20 },
      })
    await Promise.all(
      sessions.flatMap(({ name: session }) =>
        Array.from({ length: 4 }, async () => {
          for (let i = 0; i < times; i++) {
            const dice = world.random()
            const wish =
              dice < 0.3 ? "kill" : dice < 0.6 ? "session/restart" : dice < 0.8 ? "session/stop" : "session/resume"
            if (wish === "kill") await kill(session)
            else {
              world.inject(wish)
              await world.client.request(wish, { session }).catch((error: CrecheError) => {
                expect(["SessionNotRunning", "RestartIntensityReached"]).toContain(error.tag)
              })
            }
          }
        }),
      ),
    )
    for (const { name, met } of sessions) {
      expect(met(), name).toBe(false)
      await world.client.request("session/remove", { session: name })
    }
    expect(world.hostile()).toEqual([])
  })

  it("the limit on restarts: N are made, the one after them is not", async () => {
    for (const maxRestarts of [0, 1, 4]) {
      const name = `limit${maxRestarts}`
      await world.start({
        name,
        command: "cat",
        restart: "permanent",
        backoff: { initialMs: 1, maxMs: 2 },
        intensity: { maxRestarts, withinMs: 60_000 },
      })
      for (let death = 1; death <= maxRestarts; death++) {
        await kill(name)
        await eventually("it runs again", async () => {
          const { status, incarnation } = await world.client.request("session/get", { session: name })
          return status === "ready" && incarnation === 1 + death
        })
      }
      await kill(name)
      await eventually("it is given up", async () => (await statusOf(name)) === "failed")
      expect(await spawnsOf(name)).toBe(1 + maxRestarts)
      const refusal = await world.client.request("session/ask", { session: name, prompt: "x" }).then(
        () => expect.unreachable("it answered"),
        (error: unknown) => error as CrecheError,
      )
      expect(["SessionNotRunning", "RestartIntensityReached"]).toContain(refusal.tag)
    }
  })

  it("500 crashes at the same moment: all come back, in a queue of spawns and not all at once", async () => {
    const names = Array.from({ length: 500 }, (_, at) => `crowd${at}`)
    for (let at = 0; at < names.length; at += 50)
      await Promise.all(
        names.slice(at, at + 50).map((name) => world.start({ name, command: "cat", restart: "permanent" })),
      )
    await Promise.all(names.map(kill))
    await eventually("every one is back", async () =>
      (await Promise.all(names.map(statusOf))).every((s) => s === "ready"),
    )
    // When each was let go; when the machine got round to it is another matter.
    const due: Array<number> = []
    for (const name of names)
      for (const entry of await entriesOf(name))
        if (entry.type === "restart/scheduled") due.push(Date.parse(entry.at) + entry.delayMs)
    expect(due).toHaveLength(500)
    // 50 at once and then 100 a second. Each waits at least for its own backoff of 100 ms and a fifth: so far a place in the
    // queue may move, and no window of a second holds more than what falls into it and that.
    const most = Math.max(...due.map((from) => due.filter((at) => at >= from && at < from + 1000).length))
    expect(most).toBeLessThanOrEqual(50 + 100 * 1.12 + 2)
    for (let at = 0; at < 20; at++) {
      const name = world.pick(names)
      expect((await world.ask(name, "still there")).text).toBe("still there")
    }
    await Promise.all(names.map((session) => world.client.request("session/remove", { session })))
  })

  it("a start that is slow, or never done, holds nobody up", async () => {
    const slow = Array.from({ length: 8 }, (_, at) =>
      world.start({
        name: `slow${at}`,
        command: "sleep",
        args: [`1000.${world.token}`],
        protocol: { type: "text", endOfTurn: { prompt: "never" } },
        readyTimeoutMs: 600_000,
      }),
    )
    const ends = Promise.allSettled(slow)
    world.inject("start that is never done", slow.length)
    for (let at = 0; at < times; at++) {
      await world.start({ name: `quick${at}`, command: "cat" })
      expect((await world.ask(`quick${at}`, "hello")).text).toBe("hello")
      await world.client.request("session/remove", { session: `quick${at}` })
    }
    expect(await statusOf("slow0")).toBe("starting")
    for (let at = 0; at < slow.length; at++) await world.client.request("session/stop", { session: `slow${at}` })
    expect((await ends).map(({ status }) => status)).toEqual(slow.map(() => "rejected"))
  })

  it("200 sessions whose children ignore SIGTERM are stopped in one grace, not in 200", async () => {
    const graceMs = 1_000
    const names = Array.from({ length: 200 }, (_, at) => `stubborn${at}`)
    for (let at = 0; at < names.length; at += 50)
      await Promise.all(
        names.slice(at, at + 50).map((name) =>
          world.start({
            name,
            command: "sh",
            args: ["-c", `trap '' TERM; exec sleep 1000.${world.token}`],
            shutdown: { signal: "SIGTERM", graceMs },
          }),
        ),
      )
    await eventually("all are there", () => world.hostile().length >= names.length)
    world.inject("child that ignores SIGTERM", names.length)
    const begun = performance.now()
    await Promise.all(names.map((session) => world.client.request("session/stop", { session })))
    // No speed is asked for, only that the graces do not follow each other.
    expect(performance.now() - begun).toBeLessThan(20 * graceMs)
    expect(world.hostile()).toEqual([])
  })

  it("nothing is left of any of it", () => world.finish())
})
