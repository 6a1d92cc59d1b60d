import { describe, expect, it } from "vitest"
import { defaultReconnect, pauseMs } from "../../src/client/Reconnect.ts"
import { isRepeatable, withKey } from "../../src/client/Repeatable.ts"
import { contract, type Method } from "../../src/transport/Contract.ts"

describe("what is repeated", () => {
  it("is what reads, and turns; of every other method the answer is no", () => {
    const repeated = (Object.keys(contract) as Array<Method>).filter((method) => isRepeatable(method, {} as never))
    expect(repeated.toSorted()).toEqual(
      [
        ...["initialize", "runtime/health", "runtime/info", "runtime/metrics", "runtime/stats", "runtime/tree"],
        ...["session/ask", "session/get", "session/history", "session/list", "session/search", "session/tell"],
        ...["session/transcript", "session/screen", "template/get", "template/list", "turn/get", "turn/wait"],
      ].toSorted(),
    )
  })

  it("is a start of a named session that may be there already", () => {
    expect(isRepeatable("session/start", { name: "a", command: "cat" })).toBe(false)
    expect(isRepeatable("session/start", { command: "cat", ifExists: "return" })).toBe(false)
    expect(isRepeatable("session/start", { name: "a", command: "cat", ifExists: "return" })).toBe(true)
    expect(isRepeatable("session/start", { task: "t", command: "cat", ifExists: "return" })).toBe(true)
  })

  it("has a key of the caller's, or one of its own, where it is a turn", () => {
    const key = () => "made"
    expect(withKey("session/ask", { session: "a", prompt: "x" }, key).idempotencyKey).toBe("made")
    expect(withKey("session/tell", { session: "a", prompt: "x", idempotencyKey: "k" }, key).idempotencyKey).toBe("k")
    expect(withKey("session/get", { session: "a" }, key)).toEqual({ session: "a" })
  })
})

describe("the pauses between attempts", () => {
  it("grow to a limit, and differ by the jitter", () => {
    const pauses = (random: number) => [0, 1, 2, 6, 5000].map((attempt) => pauseMs(defaultReconnect, attempt, random))
    expect(pauses(0.5)).toEqual([50, 100, 200, 2000, 2000])
    expect(pauses(0)).toEqual([40, 80, 160, 1600, 1600])
  })
})
