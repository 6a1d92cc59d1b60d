import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { describe, expect, it } from "vitest"
import { drawSeed, noGuard, seeded } from "./Processes.ts"
import { ServedRuntime, sessionProcesses } from "./ServedRuntime.ts"
import { storeSessions } from "./StoredSessions.ts"

const isLong = process.env["CHAOS"] === "long"
/** CRECHE_SESSIONS and CRECHE_ASKS choose others. */
const sessions = Number(process.env["CRECHE_SESSIONS"] ?? (isLong ? 50_000 : 3_000))
const asks = Number(process.env["CRECHE_ASKS"] ?? (isLong ? 5_000 : 600))
const maxLive = 50
const inFlight = 32

const statusOf = (pid: number, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1])

describe(`${sessions} suspended sessions over ${maxLive} live ones`, () => {
  it("are asked at random: every answer is right, and there are never more processes than may live", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const random = seeded(drawSeed("many suspended"))
    const directory = mkdtempSync(join(tmpdir(), "creche-many-"))
    const figures: Record<string, number> = { sessions, asks }
    const since = (begun: number) => Math.round(performance.now() - begun)
    let begun = performance.now()
    await storeSessions(directory, sessions, (index) => ({ name: `s${index}` }))
    figures["buildMs"] = since(begun)
    const config = join(directory, "creche.yaml")
    writeFileSync(config, `version: 1\nruntime: {maxLiveSessions: ${maxLive}}\n`)
    begun = performance.now()
    const runtime = new ServedRuntime(directory, ["--config", config])
    try {
      const client = await runtime.connect(120_000)
      figures["startMs"] = since(begun)
      figures["rssMB"] = Math.round(statusOf(runtime.pid, "VmRSS") / 1024)
      expect((await client.request("runtime/stats", {})).sessions.suspended).toBe(sessions)

      let asking = true
      let most = 0
      let looks = 0
      const watch = (async () => {
        for (; asking; looks++) {
          most = Math.max(most, sessionProcesses(runtime).length)
          await sleep(100)
        }
      })()
      begun = performance.now()
      const latencies: Array<number> = []
      const expected = new Map<string, number>()
      let left = asks
      const asker = async () => {
        while (left-- > 0) {
          // Some are asked again and again, most once.
          const session = `s${Math.floor(random() * (random() < 0.2 ? 40 : sessions))}`
          const prompt = `${session} is asked ${left}`
          const from = performance.now()
          const turn = await client.ask({ session, prompt })
          latencies.push(performance.now() - from)
          expect([turn.status, turn.text]).toEqual(["completed", prompt])
          expected.set(session, (expected.get(session) ?? 0) + 1)
        }
      }
      await Promise.all(Array.from({ length: inFlight }, asker))
      figures["asksPerSecond"] = Math.round((asks * 1000) / since(begun))
      asking = false
      await watch
      latencies.sort((a, b) => a - b)
      figures["p50Ms"] = Math.round(latencies[Math.floor(asks * 0.5)]!)
      figures["p99Ms"] = Math.round(latencies[Math.floor(asks * 0.99)]!)
      figures["maxMs"] = Math.round(latencies.at(-1)!)
      figures["rssAfterMB"] = Math.round(statusOf(runtime.pid, "VmRSS") / 1024)
      figures["peakMB"] = Math.round(statusOf(runtime.pid, "VmHWM") / 1024)
      figures["mostProcesses"] = most
      figures["looks"] = looks
      console.log(JSON.stringify(figures))
      expect(looks).toBeGreaterThan(5)
      expect(most).toBeLessThanOrEqual(maxLive)
      expect(most).toBeGreaterThan(inFlight / 2)

      const { sessions: counts } = await client.request("runtime/stats", {})
      expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(sessions)
      expect(counts.suspended).toBeGreaterThanOrEqual(sessions - maxLive)
      for (const [session, times] of [...expected].slice(0, 100)) {
        const record = await client.request("session/get", { session })
        expect(record.turns).toEqual({ queued: 0, running: 0, completed: 1 + times, failed: 0 })
        const { entries } = await client.request("session/transcript", { session })
        expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, at) => at + 1))
        expect(entries.length).toBe(record.seq)
      }
      // Those that slept all the time are as they were.
      const untouched = Array.from({ length: sessions }, (_, index) => `s${index}`).filter(
        (name) => !expected.has(name),
      )
      for (let i = 0; i < 20; i++) {
        const session = untouched[Math.floor(random() * untouched.length)]!
        expect(await client.request("session/get", { session })).toMatchObject({
          status: "suspended",
          suspendedBy: "idle",
          incarnation: 1,
          seq: 9,
        })
        expect((await client.request("session/history", { session })).turns.map(({ text }) => text)).toEqual([
          `${session} remembers 0`,
        ])
      }
      begun = performance.now()
      expect(await client.request("runtime/shutdown", {})).toEqual({ survivors: [] })
      await runtime.ended
      console.log(`shutdown took ${since(begun)} ms`)
      expect(sessionProcesses(runtime)).toEqual([])
    } finally {
      await runtime.kill()
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    }
  }, 600_000)
})
