import { describe, expect, it } from "vitest"
import { describeExit, isNormal } from "../../src/domain/ExitReason.ts"

describe("an exit reason", () => {
  it("is normal for exit code 0 alone", () => {
    expect(isNormal({ kind: "exited", code: 0, at: 0 })).toBe(true)
    expect(isNormal({ kind: "exited", code: 1, at: 0 })).toBe(false)
    expect(isNormal({ kind: "signaled", signal: "SIGTERM", at: 0 })).toBe(false)
    expect(isNormal({ kind: "killedByRuntime", code: 0, detail: "stop", at: 0 })).toBe(false)
    expect(isNormal({ kind: "spawnFailed", detail: "x", at: 0 })).toBe(false)
  })

  it("is said in one phrase", () => {
    expect(describeExit({ kind: "exited", code: 3, at: 0 })).toBe("exit code 3")
    expect(describeExit({ kind: "signaled", signal: "SIGKILL", at: 0 })).toBe("signal SIGKILL")
    expect(describeExit({ kind: "spawnFailed", detail: "no such program", at: 0 })).toBe(
      "spawn failed: no such program",
    )
    expect(describeExit({ kind: "killedByRuntime", detail: "stop", at: 0 })).toBe("ended by the runtime: stop")
  })
})
