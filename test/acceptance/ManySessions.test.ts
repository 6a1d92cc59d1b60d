import { describe, expect, it } from "vitest"
import { openRuntime, type SessionSpecInput, type TranscriptEntry } from "../../src/index.ts"
import {
  descriptorCount,
  drawSeed,
  noGuard,
  eventually,
  isGone,
  pidsWithEnvironment,
  seeded,
  zombiesOf,
} from "./Processes.ts"

const sessions = 200
const asksEach = 20

/** A stray in every fourth session: it leaves group and session behind, and must go with each incarnation. */
const command = (index: number): Pick<SessionSpecInput, "command" | "args"> =>
  index % 4 === 0
    ? { command: "sh", args: ["-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & exec cat"] }
    : { command: "cat" }

describe("200 sessions at once", () => {
  it("each asked 20 times under random kill -9: every turn ends exactly once, no gap, no survivor, no zombie, no descriptor", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const random = seeded(drawSeed("200 sessions"))
    const atStart = descriptorCount()
    const runtime = await openRuntime()
    const idle = descriptorCount()

    const names = Array.from({ length: sessions }, (_, index) => `s${index}`)
    const started = await Promise.all(
      names.map((name, index) =>
        runtime.start({
          ...command(index),
          name,
          restart: "permanent",
          backoff: { initialMs: 1, maxMs: 20 },
          intensity: { maxRestarts: 10_000, withinMs: 1000 },
          retryTurns: index % 3 === 0 ? 50 : 0,
        }),
      ),
    )
    // Everything that this runtime ever starts carries this in its environment.
    const marker = `CRECHE_SESSION=${started[0]!.id.slice(0, "ses_".length + 12)}`
    expect(pidsWithEnvironment(marker).length).toBeGreaterThanOrEqual(sessions)

    let kills = 0
    let asking = true
    const killer = (async () => {
      while (asking) {
        const victim = await runtime.get(names[Math.floor(random() * sessions)]!)
        // Still the session's own, or reaped and gone: the guard holds a pid until it has told of its end.
        if (victim.pid !== null) {
          try {
            process.kill(victim.pid, "SIGKILL")
            kills++
          } catch {
            // It was faster.
          }
        }
        await new Promise((resolve) => setTimeout(resolve, Math.floor(random() * 4)))
      }
    })()

    const outcomes = await Promise.all(
      names.map(async (name) => {
        const turns = []
        for (let i = 0; i < asksEach; i++) {
          const prompt = `${name} question ${i}`
          const turn = await runtime.ask(name, prompt)
          if (turn.status === "completed") expect(turn.text).toBe(prompt)
          else expect([turn.status, turn.error?.tag]).toEqual(["failed", "ProcessExited"])
          turns.push(turn)
          if (random() < 0.2) await new Promise((resolve) => setTimeout(resolve, Math.floor(random() * 20)))
        }
        return turns
      }),
    )
    asking = false
    await killer
    console.log(`${kills} kills, ${outcomes.flat().filter((turn) => turn.status === "failed").length} turns cut short`)
    expect(kills).toBeGreaterThan(20)

    const pids = new Set<number>()
    for (const [index, name] of names.entries()) {
      const { entries } = await runtime.transcript(name, { limit: 100_000 })
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, at) => at + 1))
      const ends = entries.filter(
        (entry): entry is Extract<TranscriptEntry, { type: "turn/ended" }> => entry.type === "turn/ended",
      )
      expect(ends.map(({ turn }) => turn)).toEqual(outcomes[index]!.map(({ id }) => id))
      for (const entry of entries) if (entry.type === "process/spawned") pids.add(entry.pid)
      // With retries no kill is visible in the outcome.
      if (index % 3 === 0) expect(ends.every(({ status }) => status === "completed")).toBe(true)
    }

    await Promise.all(names.map((name) => runtime.remove(name)))
    expect(pidsWithEnvironment(marker)).toEqual([])
    expect([...pids].filter((pid) => !isGone(pid) && pidsWithEnvironment(marker).includes(pid))).toEqual([])
    expect(zombiesOf(process.pid)).toEqual([])
    await eventually("descriptors are back", () => descriptorCount() <= idle)
    expect((await runtime.close()).survivors).toEqual([])
    await eventually("every descriptor is back", () => descriptorCount() <= atStart)
  }, 120_000)
})
