import * as fc from "fast-check"
import { describe, it } from "vitest"
import type { Decision } from "../../src/actors/SessionEvent.ts"
import type { TurnId } from "../../src/domain/Ids.ts"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { lines } from "../../src/protocols/Lines.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { checkedTimes } from "../support/Property.ts"
import { cancellable, SessionModel } from "../support/SessionModel.ts"

const spec: fc.Arbitrary<Partial<SessionSpecInput>> = fc.record({
  mailbox: fc.record({
    capacity: fc.integer({ min: 1, max: 3 }),
    overflow: fc.constantFrom("fail", "suspend", "sliding", "dropping"),
  }),
  retryTurns: fc.integer({ min: 0, max: 2 }),
  readyTimeoutMs: fc.constant(300),
  turnTimeoutMs: fc.constantFrom(200, 100_000),
  idleTimeoutMs: fc.constantFrom(null, 150),
  stallTimeoutMs: fc.constantFrom(null, 90),
  onStall: fc.constantFrom("notify", "cancel", "restart"),
  permissions: fc.record({
    default: fc.constantFrom("ask", "ask", "allow", "deny"),
    timeoutMs: fc.constantFrom(70, 300_000),
    onTimeout: fc.constantFrom("allow", "deny"),
  }),
  expiresInMs: fc.constantFrom(null, null, null, 1_500),
}) as fc.Arbitrary<Partial<SessionSpecInput>>

const decision: fc.Arbitrary<Decision> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Decision>({ _tag: "Restart", delayMs: 0, attempt: 1 }) },
  { weight: 4, arbitrary: fc.constant<Decision>({ _tag: "Restart", delayMs: 120, attempt: 2 }) },
  { weight: 1, arbitrary: fc.constant<Decision>({ _tag: "Park", delayMs: 0, attempt: 1 }) },
  { weight: 1, arbitrary: fc.constant<Decision>({ _tag: "Done" }) },
  { weight: 1, arbitrary: fc.constant<Decision>(SessionModel.giveUp) },
)

type Command = readonly [name: string, run: (model: SessionModel) => void]

const turnAt = (model: SessionModel, index: number): TurnId | null => {
  const ids = [...model.submitted.keys()]
  return ids.length === 0 ? null : ids[index % ids.length]!
}

const plain = (...names: ReadonlyArray<Parameters<SessionModel["wish"]>[0]>): ReadonlyArray<Command> =>
  names.map((name) => [name, (model) => void model.wish(name)])

const some = (name: string, run: (model: SessionModel, turn: TurnId) => void): fc.Arbitrary<Command> =>
  fc.nat(6).map((index) => [
    `${name} ${index}`,
    (model) => {
      const turn = turnAt(model, index)
      if (turn !== null) run(model, turn)
    },
  ])

const wishes = fc.constantFrom<Command>(
  ...plain("suspend", "resume", "restart", "stop", "kill", "remove", "signal", "write", "makeRoom", "makeRoom"),
  ["cancel running", (model) => void model.cancel(null)],
  ["allow", (model) => void model.answer("allow")],
  ["deny", (model) => void model.answer("no")],
  ["answer with nonsense", (model) => void model.answer("perhaps")],
)
const supervisor = fc.constantFrom<Command>(
  ["park", (model) => model.supervisorWish("park")],
  ["release", (model) => (model.leaving || model.holding ? undefined : model.supervisorWish("release"))],
  ["fall", (model) => model.supervisorWish("fall")],
  ["rise", (model) => (model.leaving || model.holding ? undefined : model.supervisorWish("rise"))],
  ["rise asleep", (model) => (model.leaving || model.holding ? undefined : model.supervisorWish("rise asleep"))],
)
const submits = fc.constantFrom<Command>(
  ["submit", (model) => void model.submit()],
  ["submit", (model) => void model.submit()],
  ["submit with newline", (model) => void model.submit("a\nb")],
  ["submit for 100 ms", (model) => void model.submit("hi", 100)],
)
const turns = fc.oneof(
  some("cancel", (model, turn) => void model.cancel(turn)),
  some("await", (model, turn) => void model.await(turn)),
  some("withdraw", (model, turn) => model.withdraw(turn)),
)
const gate = fc.constantFrom<Command>(
  ["gate shuts", (model) => (model.admits = false)],
  ["gate opens", (model) => (model.admits = true)],
  ["admitted", (model) => model.admitted()],
  ["not admitted", (model) => model.notAdmitted()],
)
const process = fc.constantFrom<Command>(
  ["spawned", (model) => model.spawned()],
  ["spawned", (model) => model.spawned()],
  ["spawned", (model) => model.spawned()],
  ["spawn fails", (model) => model.spawnFailed()],
  ["says", (model) => model.say("answer")],
  ["says", (model) => model.say("answer")],
  ["says two lines", (model) => model.say("one", "two")],
  ["says broken", (model) => model.say("broken")],
  ["obeys cancel", (model) => (model.ending ? undefined : model.say("cancelled"))],
  ["asks leave", (model) => model.say("may I")],
  ["asks leave", (model) => model.say("may I")],
  ["needs no leave any more", (model) => model.say("never mind")],
  ["stderr", (model) => model.stderr()],
  ["too long a line", (model) => model.life === "running" && model.event({ type: "oversize", bytes: 9 })],
  ["eof", (model) => model.eof()],
  ["exits 0", (model) => model.exit(0)],
  ["crashes", (model) => model.exit(1)],
  ["closed", (model) => model.closed()],
  ["closed", (model) => model.closed()],
  ["dies", (model) => model.die("SIGSEGV")],
)
const rare = fc.constantFrom<Command>(
  ["survivors", (model) => model.closed([666])],
  ["framing broken", (model) => model.life === "running" && model.event({ type: "broken", detail: "bad header" })],
  ["defect", (model) => model.event({ type: "defect", detail: "bug" })],
  ["note", (model) => (model.gone > 0 ? undefined : model.event({ type: "note", text: "n" }))],
  ["clock set forward", (model) => (model.state = { ...model.state, skewMs: 3_600_000 })],
)
/** What a supervisor refuses while it ends reaches no session. */
const unlessLeaving = (command: Command): Command => [
  command[0],
  (model) => (model.leaving || model.holding ? undefined : command[1](model)),
]
const death = fc.constantFrom<Command>(
  ["the runtime dies", (model) => model.loseRuntime()],
  ["the runtime dies", (model) => model.loseRuntime()],
  ["the runtime ends", (model) => (model.gone > 0 ? undefined : model.leave())],
  ["the runtime drains", (model) => (model.gone > 0 ? undefined : model.hold())],
)
const time = fc.constantFrom(1, 60, 100, 151, 301, 1_000).map((ms): Command => [`${ms} ms`, (model) => model.tick(ms)])

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: wishes.map(unlessLeaving) },
  { weight: 2, arbitrary: supervisor },
  { weight: 5, arbitrary: submits.map(unlessLeaving) },
  { weight: 3, arbitrary: turns },
  { weight: 10, arbitrary: process },
  { weight: 3, arbitrary: gate },
  { weight: 1, arbitrary: rare },
  { weight: 4, arbitrary: time },
)

describe("whatever happens to a session, in whatever order", () => {
  it("every accepted turn ends once and seq has no gap, however often the runtime dies", () => {
    checkedTimes(
      4_000,
      fc.tuple(spec, fc.constantFrom("permanent", "transient", "temporary")),
      fc.constantFrom<Protocol>(lines as Protocol, cancellable as Protocol),
      fc.array(decision, { maxLength: 12 }),
      fc.array(
        fc
          .oneof({ weight: 12, arbitrary: command }, { weight: 1, arbitrary: death })
          .map((it) => Object.assign([...it] as unknown as Command, { [fc.toStringMethod]: () => it[0] })),
        { maxLength: 50 },
      ),
      ([input, restart], protocol, decisions, commands) => {
        const model = new SessionModel({ ...input, restart } as Partial<SessionSpecInput>, protocol)
        model.decisions = [...decisions]
        model.wish("start")
        for (const [, run] of commands) run(model)
        model.finish()
      },
    )
  })

  it("every turn, reply, seq, process and status keeps its promise, and a stop brings it to rest", () => {
    checkedTimes(
      4_000,
      spec,
      fc.constantFrom<Protocol>(lines as Protocol, cancellable as Protocol),
      fc.array(decision, { maxLength: 12 }),
      fc.array(
        command.map((it) => Object.assign(it, { [fc.toStringMethod]: () => it[0] })),
        { maxLength: 40 },
      ),
      (input, protocol, decisions, commands) => {
        const model = new SessionModel(input, protocol)
        model.decisions = [...decisions]
        model.wish("start")
        for (const [, run] of commands) run(model)
        model.finish()
      },
    )
  })
})
