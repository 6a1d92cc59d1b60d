import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { afterEach, describe, expect, it, vi } from "vitest"
import * as EndSignals from "../../src/transport/EndSignals.ts"

const scopes: Array<Scope.Closeable> = []
afterEach(async () => {
  for (const scope of scopes.splice(0)) await Effect.runPromise(Scope.close(scope, Exit.void))
  vi.restoreAllMocks()
})

const listening = async (most: number) => {
  const clock = { now: 0 }
  const killed: Array<unknown> = []
  vi.spyOn(process, "kill").mockImplementation((_pid, signal) => {
    killed.push(signal)
    return true
  })
  const scope = Scope.makeUnsafe()
  scopes.push(scope)
  const { next } = await Effect.runPromise(
    Scope.provide(
      EndSignals.listen(most, () => clock.now),
      scope,
    ),
  )
  const taken: Array<string> = []
  Effect.runFork(Effect.forever(Effect.tap(next, (signal) => Effect.sync(() => taken.push(signal)))))
  /** As the operating system would: only handlers that are on hear it. */
  const send = async (signal: NodeJS.Signals, afterMs: number) => {
    clock.now += afterMs
    process.emit(signal, signal)
    // Who takes it does so in a fiber of its own.
    for (let round = 0; round < 3; round++) await new Promise((resolve) => setImmediate(resolve))
  }
  return { taken, killed, send }
}

describe("signals that ask for the end", () => {
  it("count each, but not those that only repeat one that counted", async () => {
    const { taken, send } = await listening(3)
    await send("SIGINT", 1000)
    await send("SIGINT", 1)
    await send("SIGTERM", 150)
    expect(taken).toEqual(["SIGINT"])
    // Whoever hammers is heard all the same.
    await send("SIGINT", 60)
    expect(taken).toEqual(["SIGINT", "SIGINT"])
    await send("SIGHUP", 1000)
    expect(taken).toEqual(["SIGINT", "SIGINT", "SIGHUP"])
  })

  it("end the process as ever once all of them are used up", async () => {
    const { taken, killed, send } = await listening(2)
    for (let i = 0; i < 3; i++) await send("SIGTERM", 1000)
    expect(taken).toHaveLength(2)
    expect(killed).toEqual(["SIGTERM"])
    expect(process.listenerCount("SIGTERM")).toBe(0)
  })

  it("are left alone once nobody listens any more", async () => {
    await listening(3)
    expect(process.listenerCount("SIGHUP")).toBe(1)
    await Effect.runPromise(Scope.close(scopes.pop()!, Exit.void))
    expect(process.listenerCount("SIGHUP")).toBe(0)
  })
})
