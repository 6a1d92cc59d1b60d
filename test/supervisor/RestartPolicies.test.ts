import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { BackoffSpec, IntensitySpec } from "../../src/domain/SessionSpec.ts"
import { charge, noCharges } from "../../src/supervisor/RestartIntensity.ts"
import { decide, noHistory, wantsRestart } from "../../src/supervisor/RestartPolicy.ts"
import { firstStep, nextDelay } from "../../src/supervisor/RestartSchedule.ts"
import { fullBucket, takeTokens } from "../../src/domain/TokenBucket.ts"
import { checked } from "../support/Property.ts"

const intensity: fc.Arbitrary<IntensitySpec> = fc.record({
  maxRestarts: fc.integer({ min: 0, max: 6 }),
  withinMs: fc.integer({ min: 1, max: 1_000 }),
})
const backoff: fc.Arbitrary<BackoffSpec> = fc.record({
  initialMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 100_000 })),
  factor: fc.oneof(fc.double({ min: 1, max: 10, noNaN: true }), fc.constantFrom(1, 1e300, Number.MAX_VALUE)),
  maxMs: fc.integer({ min: 0, max: 10_000_000 }),
  jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  resetAfterMs: fc.integer({ min: 0, max: 100_000 }),
})
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

describe("restart intensity", () => {
  it("is reached exactly when more than maxRestarts fall within withinMs", () => {
    checked(intensity, fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 40 }), (spec, gaps) => {
      let history = noCharges
      let now = 0
      const times: Array<number> = []
      for (const gap of gaps) {
        now += gap
        times.push(now)
        const naive = times.filter((at) => now - at < spec.withinMs).length > spec.maxRestarts
        const charged = charge(history, spec, now)
        expect(charged.reached).toBe(naive)
        history = charged.history
        expect(history.charges.length).toBeLessThanOrEqual(times.length)
      }
    })
  })

  it("remembers no more charges than can count", () => {
    let history = noCharges
    for (let i = 0; i < 10_000; i++) {
      history = charge(history, { maxRestarts: 5, withinMs: 100 }, i * 50).history
    }
    expect(history.charges.length).toBeLessThanOrEqual(3)
  })

  it("is not outwitted by time that no use was made of the child: the schedule, the queue for spawns, slow starts", () => {
    checked(
      fc.record({ maxRestarts: fc.integer({ min: 0, max: 6 }), withinMs: fc.integer({ min: 1, max: 1_000 }) }),
      backoff,
      fc.array(fc.record({ startMs: fc.nat(10_000), queueMs: fc.nat(10_000) }), { minLength: 8, maxLength: 8 }),
      random,
      (spec, schedule, lives, jitter) => {
        let history = noHistory
        let now = 1_000
        for (const [crash, { startMs, queueMs }] of lives.entries()) {
          now += startMs
          const decided = decide(
            { name: "s", restart: "permanent", backoff: schedule, intensity: spec },
            history,
            { normal: false, readyMs: 0, elapsedMs: startMs },
            now,
            jitter,
            () => queueMs,
          )
          history = decided.history
          // Every one of them counts: the limit is reached by counting alone.
          expect(decided.decision._tag).toBe(crash < spec.maxRestarts ? "Restart" : "GiveUp")
          if (decided.decision._tag !== "Restart") return
          expect(decided.decision.delayMs).toBeGreaterThanOrEqual(queueMs)
          now += decided.decision.delayMs
        }
      },
    )
  })

  it("forgets what ready time lies behind", () => {
    const spec = {
      name: "s",
      restart: "permanent",
      backoff: { initialMs: 1_000, factor: 1, maxMs: 1_000, jitter: 0, resetAfterMs: 1e9 },
      intensity: { maxRestarts: 2, withinMs: 1_000 },
    } as const
    let history = noHistory
    for (let i = 0, now = 0; i < 100; i++) {
      now += 700
      const decided = decide(spec, history, { normal: false, readyMs: 600, elapsedMs: 700 }, now, 0)
      expect(decided.decision._tag).toBe("Restart")
      history = decided.history
      now += 1_000
    }
  })
})

describe("the restart schedule", () => {
  it("stays between the full wait less the jitter and the full wait, whatever its numbers", () => {
    checked(backoff, random, fc.integer({ min: 0, max: 5_000 }), (spec, jitter, attempt) => {
      const { delayMs } = nextDelay({ attempt }, spec, 0, jitter)
      const grown = spec.initialMs === 0 ? 0 : spec.initialMs * spec.factor ** attempt
      const full = Math.min(spec.maxMs, grown)
      expect(Number.isInteger(delayMs)).toBe(true)
      expect(delayMs).toBeGreaterThanOrEqual(Math.floor(full * (1 - spec.jitter)))
      expect(delayMs).toBeLessThanOrEqual(Math.min(spec.maxMs, Math.ceil(full)))
    })
  })

  it("grows with every attempt until the maximum", () => {
    const spec = { initialMs: 100, factor: 2, maxMs: 30_000, jitter: 0, resetAfterMs: 60_000 }
    const delays: Array<number> = []
    for (let step = firstStep, i = 0; i < 12; i++) {
      const next = nextDelay(step, spec, 0, 0.5)
      delays.push(next.delayMs)
      step = next.step
    }
    expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000])
  })

  it("lets a child that had been stable come back at once, and one that never was ready not", () => {
    const spec = { initialMs: 100, factor: 2, maxMs: 30_000, jitter: 0, resetAfterMs: 0 }
    expect(nextDelay({ attempt: 7 }, spec, 1, 0)).toEqual({ step: { attempt: 1 }, delayMs: 0, attempt: 1 })
    expect(nextDelay({ attempt: 0 }, spec, 0, 0).delayMs).toBe(100)
  })
})

describe("the spawn bucket", () => {
  it("lets no more restarts through in any stretch of time than its burst and its rate", () => {
    checked(
      fc.record({ burst: fc.integer({ min: 1, max: 20 }), perSecond: fc.integer({ min: 1, max: 200 }) }),
      fc.array(fc.oneof(fc.constant(0), fc.integer({ min: -50, max: 500 })), { maxLength: 100 }),
      (spec, gaps) => {
        let bucket = fullBucket(spec, 0)
        let now = 0
        let latest = 0
        const spawns: Array<number> = []
        for (const gap of gaps) {
          now += gap
          latest = Math.max(latest, now)
          const taken = takeTokens(bucket, spec, now)
          bucket = taken.bucket
          expect(bucket.tokens).toBeLessThanOrEqual(spec.burst)
          expect(Number.isFinite(taken.delayMs) && taken.delayMs >= 0).toBe(true)
          spawns.push(latest + taken.delayMs)
        }
        spawns.sort((a, b) => a - b)
        for (let i = 0; i < spawns.length; i++) {
          for (let j = i; j < spawns.length; j++) {
            const allowed = spec.burst + ((spawns[j]! - spawns[i]! + 1) * spec.perSecond) / 1000 + 1
            expect(j - i + 1).toBeLessThanOrEqual(allowed)
          }
        }
      },
    )
  })
})

it("the restart type decides alone where it can", () => {
  expect(wantsRestart("permanent", true) && wantsRestart("permanent", false)).toBe(true)
  expect([wantsRestart("transient", true), wantsRestart("transient", false)]).toEqual([false, true])
  expect(wantsRestart("temporary", true) || wantsRestart("temporary", false)).toBe(false)
})
