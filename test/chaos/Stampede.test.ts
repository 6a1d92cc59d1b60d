/**
 * Everything at once, for a long time: hundreds of sessions are asked, killed, frozen, stopped, flooded and cut off at random,
 * and then the runtime has to serve as before. `CRECHE_SEED` and `CHAOS_STEPS` play a run again; `CHAOS_MINUTES` and
 * `CHAOS_SESSIONS` make it longer or larger.
 */
import { readFileSync } from "node:fs"
import { connect as connectSocket, type Socket } from "node:net"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { CrecheError, type Params } from "../../src/client/index.ts"
import { allProcesses, eventually, noGuard, statOf } from "../acceptance/Processes.ts"
import { ChaosRuntime } from "./ChaosRuntime.ts"
import { isLong } from "./ChaosReport.ts"
import { stepOf, type StampedeStep } from "./StampedeStep.ts"

const numberOf = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise)
const sessions = numberOf("CHAOS_SESSIONS", isLong ? 500 : 60)
const minutes = numberOf("CHAOS_MINUTES", isLong ? 30 : 0.1)
const steps = numberOf("CHAOS_STEPS", Infinity)
const workers = 24
const followers = 8

/** What may be answered to somebody whose session is being killed, stopped or replaced by others. */
const expected = new Set([
  "SessionNotFound",
  "SessionNotRunning",
  "SessionAlreadyExists",
  "TurnNotFound",
  "MailboxFull",
  "NotReady",
  "RestartIntensityReached",
  "SpawnFailed",
])

const answering = `while read -r line; do case $line in slow*) sleep 0.05;; flood*) head -c 2000000 /dev/zero | tr '\\0' y >&2;; esac; echo "$line"; done`

const specOf = (at: number, token: string): Params<"session/start"> => ({
  name: `s${at}`,
  ...(at % 4 === 0
    ? { command: "cat" }
    : at % 4 === 1
      ? { command: "sh", args: ["-c", answering] }
      : at % 4 === 2
        ? // A stray in a session of its own, which goes with each process.
          { command: "sh", args: ["-c", `setsid sleep 1000.$0 </dev/null >/dev/null 2>&1 & ${answering}`, token] }
        : { command: "sh", args: ["-c", `trap '' TERM; ${answering}`, token] }),
  restart: at % 5 === 0 ? "transient" : "permanent",
  backoff: { initialMs: 1, maxMs: 50 },
  intensity: { maxRestarts: 100_000, withinMs: 1000 },
  shutdown: { signal: "SIGTERM", graceMs: 100 },
  retryTurns: at % 3 === 0 ? 3 : 0,
  turnTimeoutMs: 20_000,
  limits: { transcriptEntries: 2000 },
})

describe.skipIf(noGuard !== undefined)("a stampede", () => {
  let world: ChaosRuntime
  beforeAll(async () => {
    world = await ChaosRuntime.open({ faults: "1–53", title: `stampede of ${sessions} sessions`, durable: true })
  })
  afterAll(() => world?.discard())

  it(
    `over ${sessions} sessions for ${minutes} minutes: then all are served, and nothing is lost or left`,
    async () => {
      const names = Array.from({ length: sessions }, (_, at) => `s${at}`)
      for (let at = 0; at < sessions; at += 50)
        await Promise.all(names.slice(at, at + 50).map((_, next) => world.start(specOf(at + next, world.token))))

      const frozen = new Set<number>()
      const deaf = new Set<Socket>()
      const pidOf = async (session: number) =>
        (await world.client.request("session/get", { session: names[session]! })).pid
      const signal = (pid: number | null, name: NodeJS.Signals, what: string) => {
        try {
          if (pid === null) return
          process.kill(pid, name)
          world.inject(what)
        } catch {
          // It was faster.
        }
      }
      const server = () =>
        allProcesses().find(({ pid, parent }) => {
          if (parent !== world.pid) return false
          try {
            return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("--serve")
          } catch {
            return false
          }
        })?.pid

      const play = async (step: StampedeStep, at: number): Promise<void> => {
        switch (step.do) {
          case "ask":
          case "tell": {
            if (step.prompt === "flood") world.inject("flood")
            const prompt = `${step.prompt} ${at}`
            const turn = await world[step.do](names[step.session]!, prompt)
            if (turn.status === "completed") expect(turn.text).toBe(prompt)
            return
          }
          case "cancel":
            world.inject("session/cancel")
            return void (await world.client.request("session/cancel", { session: names[step.session]! }))
          case "killLeader":
            return signal(await pidOf(step.session), "SIGKILL", "SIGKILL of a leader")
          case "killGuard": {
            const pid = await pidOf(step.session)
            const guard = pid === null ? undefined : statOf(pid)?.parent
            // Only while it is a guard: an orphan would have another parent.
            if (guard === undefined || guard <= 1 || statOf(guard)?.parent === undefined) return
            if (!readComm(guard).startsWith("creche-")) return
            return signal(guard, "SIGKILL", "SIGKILL of a guard")
          }
          case "freeze": {
            const pid = await pidOf(step.session)
            if (pid === null) return
            signal(pid, "SIGSTOP", "SIGSTOP of a leader")
            frozen.add(pid)
            if (frozen.size > 10) {
              const [first] = frozen
              frozen.delete(first!)
              signal(first!, "SIGCONT", "SIGCONT of a leader")
            }
            return
          }
          case "stop":
            world.inject("session/stop")
            return void (await world.client.request("session/stop", { session: names[step.session]!, mode: step.mode }))
          case "restart":
          case "suspend":
          case "resume":
            world.inject(`session/${step.do}`)
            return void (await world.client.request(`session/${step.do}`, { session: names[step.session]! }))
          case "replace":
            world.inject("session/remove and session/start")
            await world.client.request("session/remove", { session: names[step.session]! })
            return void (await world.start(specOf(step.session, world.token)))
          case "disconnect": {
            const socket = await raw(world.runtime.socket)
            const params = { session: names[step.session], prompt: `echo ${at}` }
            const line = `${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "session/ask", params })}\n`
            socket.write(line.slice(0, step.bytes))
            socket.destroy()
            return world.inject("disconnect")
          }
          case "deafSubscriber": {
            const socket = await raw(world.runtime.socket)
            socket.pause()
            socket.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "session/subscribe", params: {} })}\n`)
            deaf.add(socket)
            world.inject("subscriber that never reads")
            if (deaf.size > 20) {
              const [first] = deaf
              deaf.delete(first!)
              first!.destroy()
            }
            return
          }
          case "killServer":
            return signal(server() ?? null, "SIGKILL", "SIGKILL of the spawn server")
        }
      }

      // Some who read along, and must see each entry once.
      let over = false
      const following = Array.from({ length: followers }, async (_, at) => {
        const reader = await world.connect()
        for (let session = at; !over; session = (session + followers) % sessions) {
          try {
            const subscription = await reader.subscribe({ session: names[session]!, after: 0 })
            const until = Date.now() + 2_000
            let seq = 0
            for await (const event of subscription) {
              if ("missed" in event) seq = event.missed.through
              else {
                if (event.entry.seq !== seq + 1) throw new Error(`${names[session]}: ${event.entry.seq} follows ${seq}`)
                seq = event.entry.seq
              }
              if (over || Date.now() > until) break
            }
          } catch (error) {
            if (!(error instanceof CrecheError && expected.has(error.tag))) throw error
          }
        }
      })

      const faults: Array<string> = []
      const deadline = Date.now() + minutes * 60_000
      let next = 0
      let reported = Date.now()
      await Promise.all(
        Array.from({ length: workers }, async () => {
          while (next < steps && (steps < Infinity || Date.now() < deadline) && faults.length < 5) {
            const at = next++
            const step = stepOf(world.seed, at, sessions)
            try {
              await play(step, at)
            } catch (error) {
              if (error instanceof CrecheError && expected.has(error.tag)) continue
              faults.push(`step ${at}, ${JSON.stringify(step)}: ${String(error)}`)
            }
            if (Date.now() - reported < 60_000) continue
            reported = Date.now()
            console.log(
              `stampede: ${next} steps, ${world.acknowledged.size} turns, ${(world.memory / 2 ** 20).toFixed(0)} MiB`,
            )
          }
        }),
      )
      over = true
      console.log(`stampede: CRECHE_SEED=${world.seed} CHAOS_STEPS=${next} CHAOS_SESSIONS=${sessions} plays it again`)
      for (const pid of frozen) signal(pid, "SIGCONT", "SIGCONT of a leader")
      for (const socket of deaf) socket.destroy()
      expect(faults).toEqual([])

      // And now everybody is served.
      for (let at = 0; at < sessions; at += 50)
        await Promise.all(
          names.slice(at, at + 50).map(async (name, offset) => {
            const { status } = await world.client
              .request("session/get", { session: name })
              .catch(() => ({ status: "gone" as const }))
            if (status === "gone") await world.start(specOf(at + offset, world.token))
            else if (status === "stopped" || status === "failed")
              await world.client.request("session/resume", { session: name })
            await eventually(`${name} answers`, async () => {
              const turn = await world.ask(name, "echo at last")
              return turn.status === "completed" && turn.text === "echo at last"
            })
          }),
        )
      // A deaf subscriber's wake-up is the next entry; those just made were one each.
      await Promise.all(following)
      await world.finish()
    },
    (minutes + 10) * 60_000,
  )
})

const readComm = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1")
  } catch {
    return ""
  }
}

const raw = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connectSocket(path)
    socket.once("error", reject)
    socket.once("connect", () => {
      socket.removeListener("error", reject)
      socket.on("error", () => {})
      resolve(socket)
    })
  })
