import * as Exit from "effect/Exit"
import { describe, expect, it } from "vitest"
import type { Decision } from "../../src/actors/SessionEvent.ts"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { lines } from "../../src/protocols/Lines.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { cancellable, SessionModel } from "../support/SessionModel.ts"

const again: Decision = { _tag: "Restart", delayMs: 0, attempt: 1 }
const later: Decision = { _tag: "Restart", delayMs: 100, attempt: 1 }

/** A session in the phase that is named. */
const inPhase = (phase: string, input: Partial<SessionSpecInput> = {}): SessionModel => {
  const model = new SessionModel(input)
  model.wish("start")
  if (phase === "Spawning") return model
  model.spawned()
  switch (phase) {
    case "Ready":
      break
    case "Busy":
      model.submit()
      break
    case "Backoff":
      model.decisions = [later]
      model.die()
      break
    case "Suspended":
      model.wish("suspend")
      model.die("SIGTERM")
      break
    case "Stopping":
      model.wish("stop")
      break
    case "Suspending":
      model.wish("suspend")
      break
    case "Restarting":
      model.wish("restart")
      break
    case "Stopped":
      model.wish("stop")
      model.die("SIGTERM")
      break
    case "Failed":
      model.decisions = [SessionModel.giveUp]
      model.die()
      break
    case "Gone":
      model.wish("remove")
      model.die("SIGTERM")
      break
  }
  return model
}

describe("a first start that a stop overtakes", () => {
  it("begins nothing: its caller is told, and no session is left", () => {
    const model = new SessionModel()
    const stopped = model.wish("stop")
    const started = model.wish("start")
    expect(model.spawns).toBe(0)
    expect(model.tag).toBe("Gone")
    expect(Exit.isSuccess(stopped.answers[0]!)).toBe(true)
    expect(Exit.isFailure(started.answers[0]!)).toBe(true)
  })
})

describe("each wish in each phase comes to rest in", () => {
  const table: Readonly<
    Record<string, Readonly<Record<"stop" | "suspend" | "restart" | "resume" | "remove", string>>>
  > = {
    Spawning: { stop: "Gone", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Ready: { stop: "Stopped", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Busy: { stop: "Stopped", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Backoff: { stop: "Stopped", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Suspended: { stop: "Stopped", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Stopping: { stop: "Stopped", suspend: "Stopped", restart: "Ready", resume: "Stopped", remove: "Gone" },
    Suspending: { stop: "Stopped", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Restarting: { stop: "Stopped", suspend: "Suspended", restart: "Ready", resume: "Ready", remove: "Gone" },
    Stopped: { stop: "Stopped", suspend: "Stopped", restart: "Ready", resume: "Ready", remove: "Gone" },
    Failed: { stop: "Failed", suspend: "Failed", restart: "Ready", resume: "Ready", remove: "Gone" },
    Gone: { stop: "Gone", suspend: "Gone", restart: "Gone", resume: "Gone", remove: "Gone" },
  }
  for (const [phase, wishes] of Object.entries(table)) {
    for (const [wish, end] of Object.entries(wishes) as ReadonlyArray<[keyof typeof wishes, string]>) {
      it(`${phase} + ${wish} → ${end}`, () => {
        const model = inPhase(phase)
        const asked = model.wish(wish)
        model.rest()
        expect(model.tag).toBe(end)
        expect(asked.answers.length).toBe(1)
        model.finish()
      })
    }
  }
})

describe("a turn that is handed in", () => {
  for (const [phase, outcome] of Object.entries({
    Spawning: "completed",
    Ready: "completed",
    Busy: "completed",
    Backoff: "completed",
    Suspended: "completed",
    Suspending: "completed",
    Restarting: "completed",
    Stopping: "refused",
    Stopped: "refused",
    Failed: "refused",
    Gone: "refused",
  })) {
    it(`in ${phase} is ${outcome}`, () => {
      const model = inPhase(phase)
      const known = model.submitted.get(model.submit("q"))!
      model.rest()
      expect(known.refused === 1 ? "refused" : known.ended[0]?.status).toBe(outcome)
    })
  }

  it("keeps a session from sleeping: what is queued when it is suspended wakes it, and is answered", () => {
    const model = inPhase("Busy", { mailbox: { capacity: 1, overflow: "fail" } })
    const queued = model.submit("queued")
    model.wish("suspend")
    model.die("SIGTERM")
    expect(model.tag).toBe("Starting")
    expect(model.submitted.get(model.submit("refused"))!.refused).toBe(1)
    model.rest()
    expect(model.submitted.get(queued)!.ended[0]?.status).toBe("completed")
  })
})

describe("a start", () => {
  it("that fails at first is the answer, and the session is gone", () => {
    const model = new SessionModel()
    const asked = model.wish("start")
    model.spawnFailed()
    expect(Exit.isFailure(asked.answers[0]!)).toBe(true)
    expect([model.tag, model.gone]).toEqual(["Gone", 1])
  })

  it("that was restarted while it was under way is a first start still: its failure leaves no session", () => {
    const model = new SessionModel()
    const asked = [model.wish("start"), model.wish("restart")]
    model.closed()
    model.spawnFailed()
    for (const { answers } of asked) expect(Exit.isFailure(answers[0]!)).toBe(true)
    expect(model.gone).toBe(1)
  })

  it("that fails under supervision is an abnormal exit, and is tried again", () => {
    const model = inPhase("Ready")
    model.decisions = [again, again]
    model.die()
    model.spawnFailed()
    expect([model.tag, model.life]).toEqual(["Starting", "spawning"])
    model.spawned()
    expect([model.tag, model.state.restarts]).toEqual(["Ready", 2])
  })

  it("that is too slow while the spawn is under way ends it, and says that it was not ready", () => {
    const model = new SessionModel({ readyTimeoutMs: 50 })
    const asked = model.wish("start")
    model.tick(50)
    expect(asked.answers).toEqual([])
    model.closed()
    expect(asked.answers[0]).toMatchObject({ _tag: "Failure" })
    expect(model.gone).toBe(1)
  })
})

describe("a start that waits for its place", () => {
  const waiting = (input: Partial<SessionSpecInput> = {}) => {
    const model = new SessionModel(input)
    model.admits = false
    return model
  }
  const asleep = (input: Partial<SessionSpecInput> = {}) => {
    const model = inPhase("Suspended", input)
    model.admits = false
    return model
  }

  it("may wait as long as it takes: readyTimeoutMs counts from when it is let in", () => {
    const model = waiting({ readyTimeoutMs: 50 })
    const asked = model.wish("start")
    model.tick(100_000)
    expect([model.status, asked.answers]).toEqual(["starting", []])
    model.admitted()
    model.tick(49)
    expect(model.ending).toBe(false)
    model.tick(1)
    expect(model.ending).toBe(true)
    model.closed()
    expect(asked.answers[0]).toMatchObject({ _tag: "Failure" })
  })

  it("is stopped, suspended and removed like any other, and nothing is ever spawned", () => {
    for (const [wish, tag] of [
      ["stop", "Stopped"],
      ["suspend", "Suspended"],
      ["remove", "Gone"],
    ] as const) {
      const model = asleep()
      const resumed = model.wish("resume")
      const asked = model.wish(wish)
      model.closed()
      expect([model.tag, asked.answers.length, resumed.answers.length]).toEqual([tag, 1, 1])
      expect(model.entries.filter(({ type }) => type === "process/spawned").length).toBe(1)
    }
  })

  it("and its turn's time passes meanwhile", () => {
    const model = asleep()
    const turn = model.submit("hi", 100)
    model.tick(100)
    expect(model.submitted.get(turn)!.ended[0]).toMatchObject({ status: "timed_out" })
    expect(model.tag).toBe("Starting")
  })

  it("and gets none fails where it is the first one, and leaves nothing behind", () => {
    const model = waiting()
    const asked = model.wish("start")
    model.notAdmitted()
    expect(asked.answers).toMatchObject([{ _tag: "Failure" }])
    expect(JSON.stringify(asked.answers[0])).toContain("LimitReached")
    expect(model.gone).toBe(1)
  })

  it("and gets none sleeps where it was there before, uncharged; its turns fail with LimitReached, and the next wakes it", () => {
    const model = asleep({ mailbox: { capacity: 1, overflow: "suspend" } })
    const [first, second] = [model.submit(), model.submit()]
    const resumed = model.wish("resume")
    model.notAdmitted()
    expect(model.state.phase).toEqual({ _tag: "Suspended", by: "room" })
    expect(model.submitted.get(first)!.ended[0]).toMatchObject({
      status: "failed",
      error: { tag: "LimitReached", value: 3 },
    })
    expect(model.submitted.get(second)).toMatchObject({ accepted: 0, refused: 1 })
    expect(resumed.answers).toMatchObject([{ _tag: "Failure" }])
    expect([model.state.restarts, model.state.exit?.kind]).toEqual([0, "killedByRuntime"])
    model.admits = true
    const third = model.submit()
    model.rest()
    expect(model.submitted.get(third)!.ended[0]).toMatchObject({ status: "completed" })
  })

  it("and gets none sleeps also where the schedule wanted it", () => {
    const model = inPhase("Backoff")
    model.admits = false
    model.tick(100)
    model.notAdmitted()
    expect(model.state.phase).toEqual({ _tag: "Suspended", by: "room" })
  })

  it("and was stopped while it was refused is stopped", () => {
    const model = asleep()
    model.submit()
    const asked = model.wish("stop")
    model.notAdmitted()
    expect([model.tag, asked.answers.length]).toEqual(["Stopped", 1])
  })
})

describe("making room", () => {
  it("suspends a session that is ready and has nothing to do", () => {
    const model = inPhase("Ready")
    const asked = model.wish("makeRoom")
    expect([model.status, asked.answers.length]).toEqual(["stopping", 0])
    model.die("SIGTERM")
    expect(model.state.phase).toEqual({ _tag: "Suspended", by: "room" })
    expect(asked.answers).toMatchObject([{ _tag: "Success" }])
  })

  it("passes over every other: whatever it does, it goes on with it", () => {
    for (const phase of [
      "Spawning",
      "Busy",
      "Backoff",
      "Suspended",
      "Stopping",
      "Suspending",
      "Restarting",
      "Stopped",
    ]) {
      const model = inPhase(phase)
      const before = model.state
      const asked = model.wish("makeRoom")
      expect(asked.answers, phase).toMatchObject([{ _tag: "Failure" }])
      expect(model.state).toEqual(before)
    }
  })

  it("passes over one whose process ended a moment ago", () => {
    const model = inPhase("Ready")
    model.exit(1)
    expect(model.wish("makeRoom").answers).toMatchObject([{ _tag: "Failure" }])
  })

  it("meets a turn: the session sleeps, and wakes for it", () => {
    const model = inPhase("Ready")
    model.wish("makeRoom")
    const turn = model.submit()
    model.rest()
    expect(model.submitted.get(turn)!.ended[0]).toMatchObject({ status: "completed" })
    expect([model.tag, model.spawns]).toEqual(["Ready", 2])
  })
})

describe("an end", () => {
  it("of stdout in a process that lives on is a crash after a grace", () => {
    const model = inPhase("Busy")
    model.decisions = [again]
    model.eof()
    model.tick(999)
    expect(model.ending).toBe(false)
    model.tick(1)
    expect(model.ending).toBe(true)
    model.rest()
    expect([...model.submitted.values()][0]!.ended[0]).toMatchObject({
      status: "failed",
      error: { tag: "ProtocolBroken" },
    })
    expect(model.tag).toBe("Ready")
  })

  it("of a process under a turn that was cancelled meanwhile ends that turn as cancelled, and supervision decides", () => {
    const model = inPhase("Busy", { restart: "temporary" })
    model.exit(0)
    const asked = model.cancel(null)
    expect(asked.answers[0]).toMatchObject({ value: { status: "cancelled" } })
    model.closed()
    expect([model.tag, model.spawns]).toEqual(["Stopped", 1])
  })

  it("that leaves survivors fails the session and starts nothing over them; a remove is refused", () => {
    for (const wish of ["restart", "stop", "remove"] as const) {
      const model = inPhase("Ready")
      const asked = model.wish(wish)
      model.exit("SIGKILL")
      model.closed([42])
      expect([model.tag, model.spawns, model.gone]).toEqual(["Failed", 1, 0])
      expect(Exit.isSuccess(asked.answers[0]!)).toBe(wish === "stop")
      expect(model.state.survivors).toEqual([42])
    }
  })
})

describe("cancelling by the protocol's own way", () => {
  it("keeps the incarnation when the child obeys, and the next turn begins at once", () => {
    const model = new SessionModel({}, cancellable as Protocol)
    model.wish("start")
    model.spawned()
    model.submit("1")
    const second = model.submit("2")
    const asked = model.cancel(null)
    expect(model.writes.at(-1)).toBe("cancel\n")
    model.say("cancelled")
    expect(asked.answers[0]).toMatchObject({ value: { status: "cancelled" } })
    expect(model.running).toEqual(new Set([second]))
    expect(model.spawns).toBe(1)
  })

  it("replaces the incarnation when the child does not settle in time", () => {
    const model = new SessionModel({}, cancellable as Protocol)
    model.wish("start")
    model.spawned()
    model.submit("1")
    const asked = [model.cancel(null), model.cancel(null)]
    model.tick(4_999)
    expect(asked[0]!.answers).toEqual([])
    model.tick(1)
    for (const { answers } of asked) expect(answers[0]).toMatchObject({ value: { status: "cancelled" } })
    model.rest()
    expect([model.tag, model.spawns]).toEqual(["Ready", 2])
  })
})

describe("what goes wrong inside", () => {
  it("a line over the limit fails the turn that it may have answered", () => {
    const model = inPhase("Busy")
    model.event({ type: "oversize", bytes: 9 })
    expect([...model.submitted.values()][0]!.ended[0]).toMatchObject({
      status: "failed",
      error: { tag: "LimitReached" },
    })
    model.rest()
    expect(model.tag).toBe("Ready")
  })

  it("late output of a replaced incarnation is recorded as output, and is in no turn", () => {
    const model = inPhase("Busy")
    model.cancel(null)
    model.say("the answer")
    expect(model.entries.at(-1)).toMatchObject({ type: "output", data: "late the answer" })
    expect(model.entries.at(-1)!.turn).toBe(undefined)
  })

  it("a prompt that the protocol refuses ends its turn, and the next goes on", () => {
    const model = inPhase("Busy")
    const refused = model.submit("two\nlines")
    const next = model.submit("one")
    model.say("answer")
    expect(model.submitted.get(refused)!.ended[0]).toMatchObject({
      status: "failed",
      error: { tag: "PromptHasNewline" },
    })
    expect(model.running).toEqual(new Set([next]))
  })

  it("a protocol that throws, in whatever step, loses no turn and brings nobody else down", () => {
    const throwing = (): never => {
      throw new Error("bug")
    }
    const plain = lines as unknown as Protocol
    for (const protocol of [
      { ...plain, frames: throwing },
      { ...plain, prompt: throwing },
      { ...plain, start: throwing },
      { ...plain, eof: throwing },
    ]) {
      const model = new SessionModel({}, protocol)
      model.decisions = [again, SessionModel.giveUp]
      model.wish("start")
      model.spawned()
      model.submit()
      model.say("x")
      model.eof()
      // A turn that came before the fault was noticed may wait; none is lost.
      model.finish()
    }
  })
})
