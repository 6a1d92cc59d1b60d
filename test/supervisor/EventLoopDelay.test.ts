import { setTimeout as sleep } from "node:timers/promises"
import { describe, expect, it } from "vitest"
import { EventLoopDelay } from "../../src/supervisor/EventLoopDelay.ts"

/** Lets nothing else happen for so long. */
const block = (ms: number) => {
  const until = performance.now() + ms
  while (performance.now() < until);
}

const settled = async (delay: EventLoopDelay, least: number) => {
  const deadline = Date.now() + 10_000
  while (delay.value!.count < least && Date.now() < deadline) await sleep(5)
}
const quantile = (delay: EventLoopDelay, wanted: number) => delay.value!.quantiles.find(([each]) => each === wanted)![1]

describe("the delay of the event loop", () => {
  it("is not known before somebody starts it, and not after its stop", () => {
    const delay = new EventLoopDelay()
    expect(delay.value).toBeUndefined()
    delay.start()
    expect(delay.value).toMatchObject({ type: "summary" })
    delay.stop()
    expect(delay.value).toBeUndefined()
  })

  it("shows for how long nothing else could happen", async () => {
    const delay = new EventLoopDelay()
    delay.start()
    try {
      await settled(delay, 3)
      block(300)
      const before = delay.value!.count
      await settled(delay, before + 2)
      expect(quantile(delay, 1)).toBeGreaterThan(0.2)
      expect(delay.value!.sum).toBeGreaterThan(0.2)
    } finally {
      delay.stop()
    }
  })

  it("forgets after two minutes what was bad then, and counts on", async () => {
    let now = 0
    const delay = new EventLoopDelay(() => now)
    delay.start()
    try {
      await settled(delay, 2)
      block(400)
      await settled(delay, delay.value!.count + 2)
      const { count, sum } = delay.value!
      const worst = quantile(delay, 1)
      expect(worst).toBeGreaterThan(0.3)
      now = 61_000
      expect(delay.value!.count).toBeGreaterThanOrEqual(count)
      await settled(delay, count + 3)
      now = 122_000
      await settled(delay, delay.value!.count + 3)
      expect(delay.value!.sum).toBeGreaterThanOrEqual(sum)
      expect(quantile(delay, 1)).toBeLessThan(worst)
    } finally {
      delay.stop()
    }
  })
})
