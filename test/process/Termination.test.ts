import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import {
  abandonAfterMs,
  deadlineOf,
  running,
  terminationStep,
  type TerminationAction,
  type TerminationEvent,
  type TerminationState,
} from "../../src/process/Termination.ts"

const polite = { signal: "SIGTERM", graceMs: 500, stdinEofMs: 0 } as const
const withEof = { signal: "SIGINT", graceMs: 500, stdinEofMs: 200 } as const

/** Feeds events and lets virtual time run: every deadline fires exactly when it is due. */
const play = (script: ReadonlyArray<TerminationEvent>, untilMs = 60_000) => {
  let state: TerminationState = running
  const log: Array<readonly [number, TerminationAction]> = []
  const feed = (event: TerminationEvent, now: number) => {
    const step = terminationStep(state, event)
    state = step.state
    for (const action of step.actions) log.push([now, action])
  }
  const queue = [...script]
  for (let now = 0; now <= untilMs;) {
    const next = queue[0] === undefined ? Infinity : "now" in queue[0] ? queue[0].now : now
    const due = deadlineOf(state) ?? Infinity
    now = Math.min(next, due)
    if (now > untilMs) break
    if (next <= due) feed(queue.shift()!, now)
    else feed({ type: "elapsed", now }, now)
  }
  return { state, log }
}

describe("the plan of a termination", () => {
  it("signals at once, kills after the grace, gives up after the patience", () => {
    const { state, log } = play([{ type: "requested", shutdown: polite, now: 10 }])
    expect(log).toEqual([
      [10, { type: "signal", signal: "SIGTERM" }],
      [510, { type: "killTree" }],
      [510 + abandonAfterMs, { type: "abandon" }],
    ])
    expect(state._tag).toBe("Abandoned")
  })

  it("with stdinEofMs closes stdin first, and signals only after that wait", () => {
    const { log } = play([{ type: "requested", shutdown: withEof, now: 0 }], 1_000)
    expect(log).toEqual([
      [0, { type: "closeStdin" }],
      [200, { type: "signal", signal: "SIGINT" }],
      [700, { type: "killTree" }],
    ])
  })

  it("brutal_kill kills at once", () => {
    expect(play([{ type: "requested", shutdown: "brutal_kill", now: 7 }], 100).log).toEqual([[7, { type: "killTree" }]])
  })

  it("a brutal_kill cuts the grace short, and the wait for stdin as well", () => {
    for (const shutdown of [polite, withEof]) {
      const { log } = play(
        [
          { type: "requested", shutdown, now: 0 },
          { type: "requested", shutdown: "brutal_kill", now: 50 },
        ],
        5_000,
      )
      expect(log.at(-1)).toEqual([50, { type: "killTree" }])
    }
  })

  it("a second polite request joins the first: it neither signals again nor moves the deadline", () => {
    const { log } = play(
      [
        { type: "requested", shutdown: polite, now: 0 },
        { type: "requested", shutdown: { ...polite, graceMs: 5 }, now: 100 },
      ],
      5_000,
    )
    expect(log).toEqual([
      [0, { type: "signal", signal: "SIGTERM" }],
      [500, { type: "killTree" }],
    ])
  })

  it("a leader that exits in its grace ends the plan: no kill is sent, only the patience runs", () => {
    const { log, state } = play(
      [{ type: "requested", shutdown: polite, now: 0 }, { type: "leaderExited", now: 20 }, { type: "closed" }],
      5_000,
    )
    expect(log).toEqual([[0, { type: "signal", signal: "SIGTERM" }]])
    expect(state._tag).toBe("Closed")
  })

  it("a tree that does not empty after its leader exited by itself is given up in the end", () => {
    const { log } = play([{ type: "leaderExited", now: 5 }])
    expect(log).toEqual([[5 + abandonAfterMs, { type: "abandon" }]])
  })

  it("a deadline that fires early does nothing", () => {
    const { state } = terminationStep(running, { type: "requested", shutdown: polite, now: 0 })
    expect(terminationStep(state, { type: "elapsed", now: 499.9 })).toEqual({ state, actions: [] })
  })

  it("for any order of events: at most one of each action, killed before given up, nothing after closed", () => {
    const event = fc.oneof(
      fc.constant({ kind: "polite" as const }),
      fc.constant({ kind: "eof" as const }),
      fc.constant({ kind: "brutal" as const }),
      fc.constant({ kind: "exited" as const }),
      fc.constant({ kind: "closed" as const }),
      fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 12_000 }) }),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 12 }), (events) => {
        let state: TerminationState = running
        let now = 0
        const seen: Array<string> = []
        for (const one of events) {
          if (one.kind === "pass") now += one.ms
          const wasClosed = state._tag === "Closed"
          const step = terminationStep(
            state,
            one.kind === "polite"
              ? { type: "requested", shutdown: polite, now }
              : one.kind === "eof"
                ? { type: "requested", shutdown: withEof, now }
                : one.kind === "brutal"
                  ? { type: "requested", shutdown: "brutal_kill", now }
                  : one.kind === "exited"
                    ? { type: "leaderExited", now }
                    : one.kind === "closed"
                      ? { type: "closed" }
                      : { type: "elapsed", now },
          )
          state = step.state
          if (wasClosed) expect(step.actions).toEqual([])
          seen.push(...step.actions.map((action) => action.type))
        }
        expect(new Set(seen).size).toBe(seen.length)
      }),
    )
  })
})
