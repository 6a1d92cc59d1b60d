/**
 * Known bugs, put into the real classes from outside for as long as a run lasts: the proof that the rules find what they are
 * there for. Each changes one thing in the way in which such a bug would come about.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { Alarm } from "../../src/actors/Alarm.ts"
import { SessionActor } from "../../src/actors/SessionActor.ts"
import { Step } from "../../src/actors/SessionDraft.ts"
import { StepStore } from "../../src/actors/StepStore.ts"
import { SubprocessLink } from "../../src/actors/SubprocessLink.ts"
import { GroupRestarts } from "../../src/supervisor/GroupRestarts.ts"
import { LiveSessions } from "../../src/supervisor/LiveSessions.ts"
import { noCharges } from "../../src/supervisor/RestartIntensity.ts"
import { SessionRegister } from "../../src/supervisor/SessionRegister.ts"
import { SessionSupervisor } from "../../src/supervisor/SessionSupervisor.ts"
import { replace } from "./Replacement.ts"
import type { Rule } from "./Rules.ts"

export interface Mutation {
  readonly name: string
  readonly says: string
  /** Any of these finds it. */
  readonly rules: ReadonlyArray<Rule>
  /** Some seed from 1 to this finds it. */
  readonly within: number
  /** No more steps than this are left of its schedule. */
  readonly steps: number
  /** Puts the bug in; what comes back takes it out. */
  readonly put: () => () => void
}

export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "turn-ends-twice",
    says: "a turn that is cancelled gets its end twice",
    rules: ["ends-once"],
    within: 50,
    steps: 6,
    put: () =>
      replace(
        Step.prototype,
        "end",
        (end) =>
          function (this: Step, pending, ended) {
            const turn = end.call(this, pending, ended)
            return ended.status === "cancelled" ? end.call(this, pending, ended) : turn
          },
      ),
  },
  {
    name: "exit-means-gone",
    says: "the end of a process passes for the end of its tree",
    rules: ["never-two", "stopped-means-gone"],
    within: 50,
    steps: 6,
    put: () =>
      replace(
        SubprocessLink.prototype,
        "onExit",
        (onExit) =>
          function (this: SubprocessLink, exit) {
            onExit.call(this, exit)
            this.onClosed([])
          },
      ),
  },
  {
    name: "wake-up-lost",
    says: "the timer of a backoff is not set",
    rules: ["comes-to-rest"],
    within: 500,
    steps: 6,
    put: () => {
      let isLost = false
      const undo = [
        replace(
          SessionSupervisor.prototype,
          "supervise",
          (supervise) =>
            function (this: SessionSupervisor, session, report) {
              const decision = supervise.call(this, session, report)
              isLost = decision._tag === "Restart" && decision.delayMs > 0
              return decision
            },
        ),
        replace(
          Alarm.prototype,
          "set",
          (set) =>
            function (this: Alarm, due) {
              if (isLost && due !== null) isLost = false
              else set.call(this, due)
            },
        ),
      ]
      return () => undo.forEach((back) => back())
    },
  },
  {
    name: "seq-skipped",
    says: "a session that comes back with its runtime leaves a seq out",
    rules: ["seq-without-gaps"],
    within: 100,
    steps: 6,
    put: () =>
      replace(
        SessionRegister.prototype,
        "seat",
        (seat) =>
          function (this: SessionRegister, state, ...rest) {
            return seat.call(this, state.seq > 0 ? { ...state, seq: state.seq + 1 } : state, ...rest)
          },
      ),
  },
  {
    name: "charge-missed",
    says: "every second charge is not counted",
    rules: ["restart-intensity"],
    within: 200,
    steps: 6,
    put: () => {
      let charges = 0
      return replace(
        SessionSupervisor.prototype,
        "supervise",
        (supervise) =>
          function (this: SessionSupervisor, session, report) {
            const slot = this.register.byId(session.state.id)
            const before = slot?.history
            const decision = supervise.call(this, session, report)
            if (slot !== undefined && before !== undefined && ++charges % 2 === 0) {
              slot.history = { ...slot.history, charges: before.charges }
            }
            return decision
          },
      )
    },
  },
  {
    name: "reply-before-commit",
    says: "what is on its way to the store passes for stored",
    rules: ["acknowledged-is-stored"],
    within: 20,
    steps: 6,
    put: () =>
      replace(
        StepStore.prototype,
        "commit",
        (commit) =>
          function (this: StepStore, step) {
            return Effect.asVoid(Effect.forkDetach(commit.call(this, step)))
          },
      ),
  },
  {
    name: "answered-twice",
    says: "who waits for a turn is answered twice",
    rules: ["answered-once"],
    within: 50,
    steps: 6,
    put: () =>
      replace(
        SessionActor.prototype,
        "hand",
        (hand) =>
          function (this: SessionActor, pending, until, reply) {
            return hand.call(this, pending, until, (exit) => {
              reply(exit)
              reply(exit)
            })
          },
      ),
  },
  {
    name: "bucket-bypassed",
    says: "restarts do not queue for their tokens",
    rules: ["restart-bucket"],
    within: 300,
    steps: 6,
    put: () => replace(SessionSupervisor.prototype, "queueForSpawn", () => () => 0),
  },
  {
    name: "history-forgotten",
    says: "the restart history is not kept with the record",
    rules: ["restart-schedule", "restart-intensity"],
    within: 1500,
    steps: 6,
    put: () => replace(SessionSupervisor.prototype, "history", () => () => undefined),
  },
  {
    name: "place-not-given-back",
    says: "every second session keeps its place among the live ones when it has no process any more",
    rules: ["comes-to-rest"],
    within: 200,
    steps: 6,
    put: () => {
      let releases = 0
      return replace(
        LiveSessions.prototype,
        "release",
        (release) =>
          function (this: LiveSessions, id) {
            if (++releases % 2 === 0) release.call(this, id)
          },
      )
    },
  },
  {
    name: "type-ignored",
    says: "every end of a process passes for a crash",
    rules: ["restart-type"],
    within: 200,
    steps: 6,
    put: () =>
      replace(
        SessionSupervisor.prototype,
        "supervise",
        (supervise) =>
          function (this: SessionSupervisor, session, report) {
            return supervise.call(this, session, { ...report, normal: false })
          },
      ),
  },
  {
    name: "backoff-outlives-stop",
    says: "the wake-up after a backoff starts the session whatever it is by then",
    rules: ["no-start-unasked", "restart-schedule"],
    within: 100,
    steps: 6,
    put: () =>
      replace(
        SessionSupervisor.prototype,
        "supervise",
        (supervise) =>
          function (this: SessionSupervisor, session, report) {
            const decision = supervise.call(this, session, report)
            const slot = this.register.byId(session.state.id)
            if (decision._tag === "Restart" && decision.delayMs > 0 && slot !== undefined) {
              const wake = Effect.sync(() => slot.actor.post({ type: "resume", reply: () => {} }))
              this.run(Effect.andThen(Effect.sleep(decision.delayMs + 1), wake))
            }
            return decision
          },
      ),
  },
  {
    name: "key-forgotten",
    says: "no turn is found by its idempotency key",
    rules: ["one-turn-a-key"],
    within: 600,
    steps: 6,
    put: () => replace(StepStore.prototype, "turnByKey", () => () => Effect.succeed(undefined)),
  },
  {
    name: "subscriber-not-told",
    says: "every third time subscribers are not told that there is more",
    rules: ["feed-without-gaps"],
    within: 100,
    steps: 6,
    put: () => {
      let told = 0
      return replace(
        SessionActor.prototype,
        "listen",
        (listen) =>
          function (this: SessionActor, listener) {
            return listen.call(this, () => {
              if (++told % 3 !== 0) listener()
            })
          },
      )
    },
  },
  {
    name: "name-lent-twice",
    says: "nobody looks whether a name is taken",
    rules: ["one-bearer-a-name"],
    within: 50,
    steps: 6,
    put: () => replace(SessionRegister.prototype, "taken", () => () => undefined),
  },
  {
    name: "timer-left",
    says: "a session that is closed may set its timer again",
    rules: ["nothing-left"],
    within: 2500,
    steps: 6,
    put: () =>
      replace(
        Alarm.prototype,
        "close",
        () =>
          function (this: Alarm) {
            this.clear()
          },
      ),
  },
  {
    name: "places-ignored",
    says: "every third start is let in without a place",
    rules: ["admission-bound"],
    within: 200,
    steps: 6,
    put: () => {
      let starts = 0
      return replace(
        LiveSessions.prototype,
        "acquire",
        (acquire) =>
          function (this: LiveSessions, resident) {
            return ++starts % 3 === 0 ? Effect.void : acquire.call(this, resident)
          },
      )
    },
  },
  {
    name: "one-store-for-all",
    says: "commits of all sessions wait for each other",
    rules: ["nobody-delays-another"],
    within: 400,
    steps: 8,
    put: () => {
      // Each life of the runtime has a clock of its own.
      const gates = new WeakMap<Clock.Clock, Semaphore.Semaphore>()
      const gateOf = (clock: Clock.Clock): Semaphore.Semaphore => {
        const gate = gates.get(clock) ?? Semaphore.makeUnsafe(1)
        gates.set(clock, gate)
        return gate
      }
      return replace(
        StepStore.prototype,
        "commit",
        (commit) =>
          function (this: StepStore, step) {
            return Clock.clockWith((clock) => gateOf(clock).withPermits(1)(commit.call(this, step)))
          },
      )
    },
  },
  {
    name: "group-not-awaited",
    says: "a group restart does not wait until those that it ends are gone",
    rules: ["group-order", "never-two", "comes-to-rest"],
    within: 300,
    steps: 8,
    put: () =>
      replace(
        SessionActor.prototype,
        "request",
        (request) =>
          function (this: SessionActor, event) {
            if (event(() => {}).type !== "park") return request.call(this, event)
            return Effect.sync(() => {
              this.post(event(() => {}))
              return this.snapshot()
            })
          },
      ),
  },
  {
    name: "supervisor-charge-missed",
    says: "every second time a supervisor forgets the charges that it has",
    rules: ["supervisor-limit"],
    within: 500,
    steps: 8,
    put: () => {
      let crashes = 0
      return replace(
        GroupRestarts.prototype,
        "crashed",
        (crashed) =>
          function (this: GroupRestarts, node, ...rest) {
            if (++crashes % 2 === 0) node.charges = noCharges
            return crashed.call(this, node, ...rest)
          },
      )
    },
  },
]
