import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { Runtime, type RuntimeHealth } from "../../src/supervisor/Runtime.ts"
import * as ServiceNotices from "../../src/transport/ServiceNotices.ts"
import { makeStub } from "./StubRuntime.ts"

const well: RuntimeHealth = { status: "ok", live: true, ready: true, problems: [] }
const storeless: RuntimeHealth = {
  ...well,
  status: "degraded",
  ready: false,
  problems: ["the store does not answer: full"],
}

const heard = (health: () => RuntimeHealth, watchdogMs: number | null) => {
  const messages: Array<Readonly<Record<string, string>>> = []
  const { service } = makeStub()
  Object.assign(service, { health: Effect.sync(health) })
  const manager = {
    notify: (message: Readonly<Record<string, string>>) => void messages.push(message),
    watchdogMs,
    close: () => {},
  }
  return { messages, started: Effect.provideService(ServiceNotices.start(manager, 0), Runtime, service) }
}

describe("the watchdog", () => {
  it.effect("is fed twice as often as it wants", () =>
    Effect.gen(function* () {
      const { messages, started } = heard(() => well, 1000)
      yield* started
      yield* TestClock.adjust(5000)
      expect(messages.length).toBeGreaterThanOrEqual(10)
      expect(messages.length).toBeLessThanOrEqual(12)
    }),
  )

  it.effect("is not fed while the store does not answer, and is told why", () =>
    Effect.gen(function* () {
      let health = well
      const { messages, started } = heard(() => health, 1000)
      yield* started
      yield* TestClock.adjust(1000)
      health = storeless
      yield* TestClock.adjust(500)
      messages.length = 0
      yield* TestClock.adjust(10_000)
      expect(messages.filter((message) => "WATCHDOG" in message)).toEqual([])
      health = well
      yield* TestClock.adjust(500)
      expect(messages.at(-1)).toEqual({ WATCHDOG: "1", STATUS: "the store answers again" })
    }),
  )

  it.effect("is fed while the runtime starts or drains, and where sessions failed: neither is a hang", () =>
    Effect.gen(function* () {
      for (const status of ["starting", "draining", "degraded"] as const) {
        const { messages, started } = heard(() => ({ ...well, status, ready: status === "degraded" }), 1000)
        yield* started
        yield* TestClock.adjust(1000)
        expect(messages.length, status).toBeGreaterThanOrEqual(2)
      }
    }),
  )

  it.effect("is not fed where nobody asked for it", () =>
    Effect.gen(function* () {
      const { messages, started } = heard(() => well, null)
      yield* (yield* started).ready("here")
      yield* TestClock.adjust(60_000)
      expect(messages).toEqual([{ READY: "1", STATUS: "here" }])
    }),
  )
})
