import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime } from "../../src/index.ts"
import { eventually } from "./Processes.ts"

describe("a child that mistreats its standard streams", () => {
  let runtime: EmbeddedRuntime
  beforeAll(async () => {
    runtime = await openRuntime()
  })
  afterAll(async () => {
    await runtime.close()
  })

  it("that closes stdout and lives on is noticed: its turn fails, and it is replaced", async () => {
    await runtime.start({
      name: "mute",
      command: "sh",
      args: ["-c", "read line; exec >&-; exec sleep 1000"],
      backoff: { initialMs: 10 },
    })
    const turn = await runtime.ask("mute", "x", { timeoutMs: 30_000 })
    expect([turn.status, turn.error?.tag]).toEqual(["failed", "ProtocolBroken"])
    expect(turn.error?.message).toMatch(/closed its stdout/)
    await eventually("another incarnation", async () => (await runtime.get("mute")).incarnation > 1)
    await runtime.remove("mute")
  })

  it("that never reads stdin costs bounded memory: writes wait, then are refused, and none is called delivered", async () => {
    await runtime.start({ name: "deaf", command: "sleep", args: ["1000"] })
    const megabytes = Buffer.alloc(4 * 1024 * 1024, "x")
    const outcomes: Array<string> = []
    const writes = Array.from({ length: 100 }, () =>
      runtime.write("deaf", megabytes).then(
        () => outcomes.push("delivered"),
        (error: { readonly _tag: string }) => outcomes.push(error._tag),
      ),
    )
    await eventually("most are refused", () => outcomes.filter((outcome) => outcome === "LimitReached").length >= 90)
    await runtime.stop("deaf", "kill")
    await Promise.all(writes)
    expect(new Set(outcomes)).toEqual(new Set(["LimitReached", "SessionNotRunning"]))
    await runtime.remove("deaf")
  })

  it("that reads slowly gets everything, in order, and each write is answered when the pipe has it", async () => {
    await runtime.start({ name: "slow", command: "sh", args: ["-c", "sleep 0.3; exec wc -c"], protocol: "lines" })
    const block = Buffer.alloc(100_000, "y")
    await Promise.all(Array.from({ length: 40 }, () => runtime.write("slow", block)))
    const { seq } = await runtime.get("slow")
    await runtime.signal("slow", "SIGTERM")
    expect(seq).toBeGreaterThan(0)
    await runtime.remove("slow")
  })
})
