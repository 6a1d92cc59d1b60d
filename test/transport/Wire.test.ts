import { describe, expect, it } from "vitest"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { wireEntry, wireSession, wireTime, wireTurn } from "../../src/transport/Wire.ts"
import { makeStub } from "./StubRuntime.ts"

const at = 1_750_000_000_000
const time = "2025-06-15T15:06:40.000Z"
const exit = { kind: "exited", code: 1, at } as const
const place = { session: "s" as SessionId, seq: 1, at, incarnation: 1 }

describe("the wire", () => {
  it("has no epoch milliseconds anywhere, whatever carries them", () => {
    const session = makeStub().session({ name: "a", command: "cat" })
    const deaths = [{ incarnation: 1, exit, stderrTail: "x" }]
    const turn: Turn = {
      id: "t" as TurnId,
      session: session.id,
      status: "failed",
      prompt: "x",
      text: "",
      stopReason: null,
      usage: null,
      error: { tag: "SessionNotRunning", message: "", exit },
      idempotencyKey: null,
      queuedAt: at,
      startedAt: at,
      endedAt: at + 5,
      firstSeq: 1,
      lastSeq: 2,
    }
    const ended = {
      type: "turn/ended",
      status: "failed",
      text: "",
      stopReason: null,
      error: turn.error!,
      durationMs: 5,
    }
    const entries = [
      { ...place, type: "note", text: "x" },
      { ...place, type: "process/exited", exit },
      { ...place, ...ended },
    ] as ReadonlyArray<TranscriptEntry>
    const text = JSON.stringify([
      wireSession({ ...session, expiresAt: at, deaths }),
      wireTurn(turn),
      entries.map(wireEntry),
    ])
    expect(text).not.toMatch(/17500000000/)
    expect(text).toContain(time)
    expect(wireTurn(turn).durationMs).toBe(5)
    expect(wireTurn(turn)).not.toHaveProperty("timeoutMs")
    expect(wireTurn({ ...turn, timeoutMs: 7 }).timeoutMs).toBe(7)
    expect(wireTurn({ ...turn, startedAt: null, endedAt: null }).durationMs).toBe(null)
  })

  it("keeps the time it remembers apart from the next", () => {
    expect([at, at, at + 1, at, 0].map(wireTime)).toEqual([
      time,
      time,
      "2025-06-15T15:06:40.001Z",
      time,
      "1970-01-01T00:00:00.000Z",
    ])
  })

  it("has a time for whatever is far off", () => {
    for (const far of [253_402_300_800_000, 8.64e15 + 1, Number.MAX_SAFE_INTEGER + 1_750_000_000_000])
      expect(wireTime(far)).toBe("9999-12-31T23:59:59.999Z")
  })

  it("hides the values of env, and says which names are removed", () => {
    const session = makeStub().session({ name: "a", command: "cat", env: { TOKEN: "hunter2", EMPTY: "", GONE: null } })
    expect(wireSession(session).spec.env).toEqual({ TOKEN: "***", EMPTY: "***", GONE: null })
    expect(session.spec.env).toEqual({ TOKEN: "hunter2", EMPTY: "", GONE: null })
    expect(wireSession(session).spec).toMatchObject({ cwd: null, task: null, stallTimeoutMs: null })
  })
})
