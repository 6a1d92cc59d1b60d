import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { initialState, type SessionState } from "../../src/actors/SessionState.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import { spans as catalogue } from "../../src/domain/Telemetry.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import { lines } from "../../src/protocols/Lines.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { recordOf, spansOf, type TurnRecord } from "../../src/supervisor/TurnTrace.ts"
import { checked } from "../support/Property.ts"
import { specOf } from "../support/SessionModel.ts"

const turn: Turn = {
  id: "turn_1" as never,
  session: "ses_1" as never,
  status: "completed",
  prompt: "a secret",
  text: "another",
  stopReason: null,
  usage: { inputTokens: 3, costUsd: 0.5, own: 7 },
  error: null,
  idempotencyKey: "a key",
  queuedAt: 100,
  startedAt: 150,
  endedAt: 180,
  firstSeq: 1,
  lastSeq: 3,
}
const state = (deaths: SessionState["deaths"] = []): SessionState => ({
  ...initialState("ses_1" as SessionId, specOf({ name: "a", template: "t" }), lines as unknown as Protocol, 0),
  deaths,
})
const record = recordOf(state(), turn, 185)
const times = (of: TurnRecord) =>
  Object.fromEntries(spansOf(of).map(({ name, startedAt, endedAt }) => [name, [startedAt, endedAt]]))

describe("the trace of a turn", () => {
  it("has its parts one after the other", () => {
    expect(times(record)).toEqual({ turn: [100, 185], queue: [100, 150], agent: [150, 180], store: [180, 185] })
  })

  it("has the wait for a process that was not there when the turn came", () => {
    const waited = { ...record, process: { begunAt: 110, readyAt: 140 } }
    expect(times(waited)).toMatchObject({ queue: [100, 150], wait: [110, 140] })
    // Begun before, and not ready yet.
    expect(times({ ...record, process: { begunAt: 40, readyAt: 140 } })).toMatchObject({ wait: [100, 140] })
    expect(times({ ...record, process: { begunAt: 40, readyAt: 60 } })).not.toHaveProperty("wait")
    // That is the next one's.
    expect(times({ ...record, process: { begunAt: 190, readyAt: 200 } })).not.toHaveProperty("wait")
  })

  it("has no agent where it never started", () => {
    const ended = recordOf(state(), { ...turn, startedAt: null, status: "cancelled" }, 185)
    expect(times(ended)).toEqual({ turn: [100, 185], queue: [100, 180], store: [180, 185] })
  })

  it("tells of processes that ended meanwhile, of usage by known names, and of nothing that was said", () => {
    const died = (at: number) =>
      ({ incarnation: 2, exit: { kind: "signaled", signal: "SIGKILL", at }, stderrTail: "a tail" }) as const
    const told = recordOf(state([died(90), died(120)]), turn, 185)
    for (const secret of ["secret", "another", "a key", "a tail"]) expect(JSON.stringify(told)).not.toContain(secret)
    const [root] = spansOf(told)
    expect(root!.events).toEqual([
      { name: "process ended", at: 120, attributes: { "creche.incarnation": 2, "creche.exit": "signaled" } },
    ])
    expect(root!.attributes).toEqual({
      "creche.turn": "turn_1",
      "creche.turn.status": "completed",
      "creche.session": "ses_1",
      "creche.session.name": "a",
      "creche.session.template": "t",
      "creche.usage.inputTokens": 3,
      "creche.usage.costUsd": 0.5,
    })
  })

  it("nests, whatever clocks did meanwhile", () => {
    const time = fc.integer({ min: 0, max: 1000 })
    const processes = fc.option(fc.record({ begunAt: time, readyAt: time }))
    checked(
      time,
      fc.option(time),
      fc.option(time),
      time,
      processes,
      (queuedAt, startedAt, endedAt, storedAt, process) => {
        const made = spansOf({ ...recordOf(state(), { ...turn, queuedAt, startedAt, endedAt }, storedAt), process })
        const byName = new Map(made.map((span) => [span.name, span]))
        expect(byName.size).toBe(made.length)
        for (const { name, parent, ...span } of made) {
          expect(Object.keys(catalogue)).toContain(name)
          expect(span.endedAt).toBeGreaterThanOrEqual(span.startedAt)
          if (parent === null) continue
          const above = byName.get(parent)!
          expect([span.startedAt >= above.startedAt, span.endedAt <= above.endedAt]).toEqual([true, true])
        }
      },
    )
  })
})
