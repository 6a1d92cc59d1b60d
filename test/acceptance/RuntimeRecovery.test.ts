import { describe, expect, it } from "vitest"
import { drawSeed, noGuard, seeded } from "./Processes.ts"
import { type Figures, RecoveryWorld } from "./RecoveryWorld.ts"

const isLong = process.env["CHAOS"] === "long"
/** CRECHE_KILLS and CRECHE_SEED choose others. */
const kills = Number(process.env["CRECHE_KILLS"] ?? (isLong ? 1_000 : 26))
/** Deaths that one data directory sees before the next world begins anew. */
const killsEach = isLong ? 20 : 13

describe("kill -9 of a durable runtime", () => {
  it(
    `at ${kills} random points under load: nothing that was acknowledged is lost, nothing ends twice, nothing survives`,
    async (context) => {
      if (noGuard !== undefined) context.skip(noGuard)
      const seed = drawSeed("runtime recovery")
      const figures: Figures = {
        kills: 0,
        deaths: {},
        checks: 0,
        acknowledged: 0,
        turns: {},
        entries: 0,
        sessions: 0,
        maxReturnMs: 0,
      }
      let next = 0
      const side = async () => {
        while (next * killsEach < kills) {
          const world = next++
          const worldSeed = seed + world
          const label = `world ${world}, CRECHE_SEED=${worldSeed}`
          const run = new RecoveryWorld(seeded(worldSeed), label, figures).run(
            Math.min(killsEach, kills - world * killsEach),
          )
          await run.catch((error: unknown) => {
            next = Infinity
            throw error
          })
          if (isLong) console.log(JSON.stringify(figures))
        }
      }
      // Neither leaves its runtime behind because the other failed.
      for (const outcome of await Promise.allSettled([side(), side()]))
        if (outcome.status === "rejected") throw outcome.reason
      console.log(JSON.stringify(figures))
      expect(figures.kills).toBeGreaterThan(kills * 0.8)
      expect(figures.acknowledged).toBeGreaterThan(kills)
    },
    kills * 10_000 + 60_000,
  )
})
