/**
 * Schedules that once broke a rule, cut down to what it takes. Each was found by a seed; seeds mean other schedules when
 * `PlanMaker` changes, these do not.
 */
import {
  calmLife,
  calmStore,
  type Life,
  type Plan,
  type SessionPlan,
  type Step,
  type StorePlan,
  type SupervisorPlan,
  type WorldPlan,
} from "./Plan.ts"
import { conversationSpec } from "./ChildLanguage.ts"
import { calmWorld } from "./Shrink.ts"

type StepInput = Step extends infer S ? (S extends Step ? Omit<S, "n"> & { readonly n?: number } : never) : never

const sessionOf = (
  spec: Partial<SessionPlan["spec"]>,
  lives: ReadonlyArray<Partial<Life>> = [],
  store: Partial<StorePlan> = {},
): SessionPlan => ({
  spec: { name: "s0", command: "lines", cwd: "/", ...spec },
  lives: lives.map((life) => ({ ...calmLife, ...life })),
  further: "calm",
  store: { ...calmStore, ...store },
})

const planOf = (
  sessions: ReadonlyArray<SessionPlan>,
  steps: ReadonlyArray<StepInput>,
  world: Partial<WorldPlan> = {},
  seed = 1,
  supervisors: ReadonlyArray<SupervisorPlan> = [],
): Plan => ({
  seed,
  world: { ...calmWorld, ...world },
  supervisors,
  sessions,
  steps: steps.map((step, i) => ({ n: i + 1, ...step }) as Step),
})

const start = { at: 0, type: "start", ifExists: "fail", session: 0 } as const
const ask = { type: "ask", session: 0 } as const
const silent: Partial<Life> = { turns: [{ does: "hangs", afterMs: 0, pieces: 1 }] }

/** By what went wrong. */
export const regressions: Readonly<Record<string, Plan>> = {
  "who suspends a session in the turn that uses up its budget was never answered": planOf(
    [sessionOf({ limits: { turns: 1 } }, [silent])],
    [start, { at: 10, ...ask }, { at: 20, type: "suspend", session: 0 }],
  ),
  "who restarts a session in the turn that uses up its budget was never answered": planOf(
    [sessionOf({ limits: { turns: 1 } }, [silent])],
    [start, { at: 10, ...ask }, { at: 20, type: "restart", session: 0 }],
  ),
  "a process that died in the turn that used up the budget was restarted": planOf(
    [
      sessionOf({ limits: { turns: 1 } }, [
        { turns: [{ does: "ends", afterMs: 1, pieces: 1, end: { by: "exit", code: 3 } }] },
      ]),
    ],
    [start, { at: 10, ...ask }],
  ),
  "a turn that was taken in and ended within one commit was open again once the commit was repeated": planOf(
    [
      sessionOf({ turnTimeoutMs: 500, mailbox: { capacity: 1, overflow: "sliding" } }, [silent], {
        commits: "delayed",
        mostMs: 40,
        answersLost: 0.5,
      }),
    ],
    [start, ...[50, 51, 52, 53, 54, 55].map((at) => ({ at, ...ask }))],
    {},
    125,
  ),
  "two sessions had one name while the first was taking a changed spec over": planOf(
    [sessionOf({}, [], { commits: "delayed", mostMs: 300 })],
    [
      { at: 0, type: "configure", changed: false, session: 0 },
      { at: 900, type: "configure", changed: true, session: 0 },
      ...[1_000, 1_100, 1_200, 1_300, 1_400, 1_500].map((at) => ({ ...start, at })),
    ],
  ),
  "a closed runtime left the timer of a session that would have expired later": planOf(
    [sessionOf({ expiresInMs: 60_000 })],
    [start, { at: 50, type: "shutdown", drainMs: 0, downMs: 100 }],
  ),
  "a session stayed parked, because a crash after it in the order took the group restart over": planOf(
    [
      sessionOf({ restart: "permanent", supervisor: "root/a" }, [{ endsAfterMs: 20, end: { by: "exit", code: 1 } }]),
      sessionOf({ name: "s1", restart: "permanent", supervisor: "root/a" }, [
        { endsAfterMs: 25, end: { by: "exit", code: 1 } },
      ]),
      sessionOf({ name: "s2", restart: "permanent", supervisor: "root/a" }, [{ obeysAfterMs: 40 }]),
    ],
    [
      { at: 0, type: "supervisorStart", supervisor: 0 },
      start,
      { ...start, session: 1 },
      { ...start, session: 2 },
      { at: 300, type: "list" },
    ],
    {},
    1,
    [{ path: "root/a", strategy: "rest_for_one", intensity: null }],
  ),
  "a turn that a temporary session had taken in was never answered, under a strategy with an order": planOf(
    [sessionOf({ restart: "temporary", supervisor: "root/a" }, [{ spawnMs: 166 }])],
    [
      { at: 0, type: "supervisorStart", supervisor: 0 },
      start,
      { at: 0, type: "tell", session: 0 },
      { at: 0, type: "kill", after: 4, downMs: 74 },
    ],
    {},
    1,
    [{ path: "root/a", strategy: "one_for_all", intensity: null }],
  ),
  "a session started below a supervisor that was ending, and outlived its stop": planOf(
    [sessionOf({ supervisor: "root/a" }, [{ obeysAfterMs: 50 }]), sessionOf({ name: "s1", supervisor: "root/a/b" })],
    [
      { at: 0, type: "supervisorStart", supervisor: 0 },
      start,
      { at: 2, type: "supervisorStart", supervisor: 1 },
      { at: 20, type: "supervisorStop", supervisor: 0 },
      { ...start, at: 30, session: 1 },
      { at: 31, type: "supervisorStop", supervisor: 0 },
    ],
    {},
    1,
    [
      { path: "root/a", strategy: "rest_for_one", intensity: null },
      { path: "root/a/b", strategy: "one_for_one", intensity: null },
    ],
  ),
  "a runtime was shut down over a session whose supervisor had been stopped and started anew while it came back":
    planOf(
      [
        sessionOf({ supervisor: "root/a" }, [], { commits: "delayed", mostMs: 50 }),
        sessionOf({ name: "s1", supervisor: "root/a" }, [
          { endsAfterMs: 23, end: { by: "signal", signal: "SIGKILL" } },
        ]),
      ],
      [
        { at: 0, type: "supervisorStart", supervisor: 0 },
        start,
        { ...start, at: 14, session: 1 },
        { at: 65, type: "tell", session: 0 },
        { at: 111, type: "supervisorStop", supervisor: 0 },
        { at: 111, type: "start", ifExists: "return", session: 0 },
        { at: 111, type: "supervisorStart", supervisor: 0 },
      ],
      {},
      4,
      [{ path: "root/a", strategy: "one_for_all", intensity: null }],
    ),
  "a runtime was closed before the session was forgotten whose first start had failed": planOf(
    [
      sessionOf({}),
      sessionOf({ name: "s1", command: "claude", protocol: { type: "claude" } }, [], {
        commits: "delayed",
        mostMs: 258,
      }),
    ],
    [
      { ...start, session: 1 },
      { at: 90, type: "shutdown", drainMs: 50, downMs: 151 },
      { at: 719, type: "outage", forMs: 4_000 },
      { at: 1_805, type: "list" },
    ],
    {},
    21_264,
  ),
  "who subscribed to a session as it was removed was told last what had been dropped before the first": planOf(
    [sessionOf({ limits: { transcriptEntries: 5 } })],
    [
      { ...start, at: 100 },
      ...Array.from({ length: 40 }, (_, i) => ({ at: 200 + 10 * i, ...ask })),
      { at: 700, type: "subscribe", after: 0, session: 0 },
      { at: 701, type: "remove", session: 0 },
    ],
    { readMs: 20 },
    4,
  ),
  "who crashed was started again while another before it in the order was not up yet": planOf(
    [
      sessionOf(
        {
          restart: "permanent",
          backoff: { initialMs: 1, factor: 1, maxMs: 1, jitter: 0 },
          intensity: { maxRestarts: 1, withinMs: 1_000 },
          supervisor: "root/a",
        },
        [30, 30, 30].map((endsAfterMs) => ({ endsAfterMs })),
      ),
      sessionOf({ name: "s1", supervisor: "root/a" }, [{}, { spawnMs: 300 }]),
    ],
    [{ at: 0, type: "supervisorStart", supervisor: 0 }, start, { ...start, session: 1 }, { ...start, at: 200 }],
    {},
    1,
    [{ path: "root/a", strategy: "rest_for_one", intensity: null }],
  ),
  "sessions rose below a supervisor that was stopped while it was being started anew, and outlived the runtime": planOf(
    [
      sessionOf({ supervisor: "root/a" }, [], { commits: "delayed", mostMs: 0 }),
      sessionOf(
        { name: "s1", restart: "permanent", supervisor: "root/a" },
        [16, 16].map((endsAfterMs) => ({ endsAfterMs })),
      ),
    ],
    [
      { at: 0, type: "supervisorStart", supervisor: 0 },
      start,
      { ...start, session: 1 },
      { at: 400, type: "supervisorStart", supervisor: 0 },
      { at: 400, type: "supervisorStop", supervisor: 0 },
      { at: 400, type: "supervisorStart", supervisor: 0 },
    ],
    {},
    1,
    [{ path: "root/a", strategy: "one_for_one", intensity: { maxRestarts: 1, withinMs: 1_000 } }],
  ),
  "a supervisor was there twice that was started again as it began to end": planOf(
    [sessionOf({ supervisor: "root/a" }, [{ obeysAfterMs: null }])],
    [
      { at: 100, type: "supervisorStart", supervisor: 0 },
      { ...start, at: 150 },
      { at: 200, type: "supervisorStart", supervisor: 0 },
      { at: 200, type: "supervisorStop", supervisor: 0 },
      { at: 250, type: "supervisorStop", supervisor: 0 },
    ],
    { yieldAfter: 9, ties: "lot" },
    15,
    [{ path: "root/a", strategy: "one_for_one", intensity: null }],
  ),
  "a process that could not be killed was forgotten because its spawn was given up as it was through": planOf(
    [sessionOf({ shutdown: { graceMs: 0, stdinEofMs: 0 } }, [{ obeysAfterMs: null, unkillable: true }])],
    [
      { ...start, at: 100 },
      { at: 102, type: "restart", session: 0 },
      { at: 500, type: "list" },
    ],
    { yieldAfter: 9, ties: "lot" },
    32,
  ),
  "a session below one that was being started anew was left alone because its own supervisor was stopped": planOf(
    [
      sessionOf({ restart: "permanent", supervisor: "root/a" }, [{ endsAfterMs: 16 }]),
      sessionOf({ name: "s1", supervisor: "root/a/b" }, [], { commits: "delayed", mostMs: 40 }),
    ],
    [
      { at: 0, type: "supervisorStart", supervisor: 0 },
      { at: 0, type: "supervisorStart", supervisor: 1 },
      start,
      { ...start, session: 1 },
      { at: 31, type: "supervisorStart", supervisor: 0 },
      { at: 31, type: "supervisorStop", supervisor: 1 },
    ],
    {},
    263,
    [
      { path: "root/a", strategy: "one_for_one", intensity: { maxRestarts: 0, withinMs: 200 } },
      { path: "root/a/b", strategy: "one_for_all", intensity: null },
    ],
  ),
  "who follows all sessions was told twice of one that was removed during the read of another": planOf(
    [
      sessionOf(
        {
          command: "claude",
          protocol: { type: "claude" },
          shutdown: { graceMs: 100, stdinEofMs: 20 },
          idleTimeoutMs: 50,
        },
        [],
        {
          commits: "delayed",
          mostMs: 5,
        },
      ),
      sessionOf(
        {
          name: "s1",
          command: "ndjson",
          protocol: { type: "ndjson", end: { done: true }, conversation: conversationSpec },
        },
        [],
        {
          commits: "delayed",
          mostMs: 29,
        },
      ),
    ],
    [
      { ...start, at: 25 },
      { ...start, at: 25, session: 1 },
      { at: 25, ...ask, session: 1 },
      { at: 267, type: "remove", session: 0 },
      { at: 267, type: "subscribe", after: 0, session: 1 },
      { at: 267, type: "watch" },
      { at: 275, ...ask, session: 1 },
      { at: 275, type: "start", ifExists: "return", session: 0 },
      { at: 275, type: "remove", session: 1 },
      { at: 303, type: "cancel", of: 1, session: 0 },
      { at: 303, ...ask },
    ],
    { readMs: 12 },
    800_064_752,
  ),
  "a session was restarted for ever because the store was slower than the window of its limit": planOf(
    [
      sessionOf(
        {
          command: "claude",
          protocol: { type: "claude" },
          backoff: { initialMs: 20, factor: 1, maxMs: 20, jitter: 0, resetAfterMs: 500 },
          intensity: { maxRestarts: 3, withinMs: 100 },
          readyTimeoutMs: 30,
        },
        [{ spawn: "fails" }],
        { commits: "delayed", mostMs: 300 },
      ),
    ],
    [start, { at: 0, type: "suspend", session: 0 }, { at: 0, ...ask }, { at: 265, type: "list" }],
  ),
  "a session was taken from the record by a runtime that was closed meanwhile, and its timer stayed": planOf(
    [sessionOf({ expiresInMs: 2_000 }, [], { commits: "delayed", mostMs: 2 })],
    [
      { at: 200, type: "stop", mode: "graceful", session: 0 },
      { ...start, at: 204 },
      { at: 204, type: "shutdown", drainMs: 0, downMs: 200 },
      { at: 2_000, type: "list" },
    ],
    { readMs: 9, ties: "lot", yieldAfter: 9 },
    41,
  ),
  "a session that had ended by itself before it heard of a client's stop came back with its group": planOf(
    [
      sessionOf({}),
      sessionOf({ name: "s1", turnTimeoutMs: 50, supervisor: "root/a" }, [{}, { endsAfterMs: 43 }], { fails: 0.5 }),
      sessionOf({ name: "s2", restart: "permanent", readyTimeoutMs: 30, supervisor: "root/a" }, [
        { spawnMs: 177 },
        { endsAfterMs: 236 },
      ]),
    ],
    [
      { at: 0, type: "supervisorStart", supervisor: 0 },
      { ...start, session: 1 },
      { ...start, session: 2 },
      { at: 0, ...ask, session: 1 },
      { at: 485, type: "stop", mode: "kill", session: 1 },
      { at: 485, type: "configure", changed: false, session: 2 },
    ],
    {},
    2_036_805_645,
    [{ path: "root/a", strategy: "one_for_all", intensity: null }],
  ),
  "who waited for room was not taken in by a mailbox that was made larger": planOf(
    [sessionOf({ mailbox: { capacity: 1, overflow: "suspend" } })],
    [
      start,
      { at: 0, type: "tell", session: 0 },
      { at: 0, type: "ask", session: 0 },
      { at: 0, type: "submit", session: 0 },
      { at: 0, type: "configure", changed: true, session: 0 },
      { at: 0, type: "disconnect", of: 3 },
    ],
  ),
  "a supervisor that was stopped during a shutdown was forgotten, and the next runtime's own shutdown left its session":
    planOf(
      [
        sessionOf({ restart: "permanent", shutdown: "brutal_kill", supervisor: "root/a" }),
        sessionOf({ name: "s1" }),
        sessionOf(
          {
            name: "s2",
            restart: "permanent",
            backoff: { initialMs: 0, jitter: 0 },
            shutdown: { graceMs: 10 },
            turnTimeoutMs: 300,
            retryTurns: 2,
            supervisor: "root/a",
          },
          [{ spawn: "fails" }, { endsAfterMs: 23, end: { by: "exit", code: 3 } }],
          { commits: "delayed", mostMs: 3, fails: 0.2 },
        ),
      ],
      [
        { at: 25, n: 1, type: "supervisorStart", supervisor: 0 },
        { at: 58, n: 4, type: "start", ifExists: "fail", session: 0 },
        { at: 58, n: 6, type: "start", ifExists: "fail", session: 2 },
        { at: 123, n: 19, type: "ask", session: 2 },
        { at: 155, n: 25, type: "shutdown", drainMs: 0, downMs: 281 },
        { at: 2_673, n: 112, type: "shutdown", drainMs: 50, downMs: 107 },
        { at: 2_680, n: 124, type: "supervisorStop", supervisor: 0 },
        { at: 4_286, n: 186, type: "supervisorStart", supervisor: 0 },
      ],
      {},
      9,
      [{ path: "root/a", strategy: "one_for_all", intensity: null }],
    ),
  "a session whose stop was not on record yet was started by a start that met its task": planOf(
    [
      sessionOf({ command: "claude", protocol: { type: "claude" }, task: "two" }, [], { fails: 0.5 }),
      sessionOf({ name: "s1", task: "two" }),
    ],
    [
      { at: 0, n: 36, type: "configure", changed: false, session: 0 },
      { at: 5, n: 50, type: "restart", session: 0 },
      { at: 5, n: 78, type: "stop", mode: "graceful", session: 0 },
      { at: 1_184, n: 154, type: "start", ifExists: "return", session: 1 },
    ],
    {},
    500_577_000,
  ),
  "a session that had ended by itself before its stop was on record came back with its group": planOf(
    [
      sessionOf({ name: "s0" }),
      {
        ...sessionOf(
          {
            name: "s1",
            command: "claude",
            protocol: { type: "claude" },
            backoff: { initialMs: 0, factor: 1, maxMs: 0, jitter: 0, resetAfterMs: 60_000 },
            supervisor: "root/c",
          },
          [{ endsAfterMs: 19 }],
          { fails: 0.2, answersLost: 0.1 },
        ),
        further: "again",
      },
      {
        ...sessionOf(
          {
            name: "s2",
            command: "ndjson",
            protocol: { type: "ndjson", end: { done: true }, conversation: conversationSpec },
            restart: "permanent",
            supervisor: "root/c",
          },
          [{ endsAfterMs: 11 }],
        ),
        further: "again",
      },
    ],
    [
      { at: 0, n: 2, type: "supervisorStart", supervisor: 1 },
      { at: 0, n: 4, type: "start", ifExists: "fail", session: 1 },
      { at: 10, n: 5, type: "start", ifExists: "fail", session: 2 },
      { at: 1_068, n: 16, type: "stop", mode: "graceful", session: 1 },
      { at: 1_134, n: 28, type: "ask", session: 2, key: "b" },
    ],
    {},
    1_300_056_706,
    [
      { path: "root/a", strategy: "one_for_one", intensity: null },
      { path: "root/c", strategy: "one_for_all", intensity: null },
    ],
  ),
  "a session that rose with its group was left held where another crash came before it knew": planOf(
    [
      sessionOf({ name: "s0" }),
      {
        ...sessionOf(
          {
            name: "s1",
            command: "claude",
            protocol: { type: "claude" },
            restart: "permanent",
            backoff: { initialMs: 0, factor: 1, maxMs: 0, jitter: 0, resetAfterMs: 60_000 },
            supervisor: "root/a",
          },
          [{ endsAfterMs: 29, straysMs: 6 }],
        ),
        further: "again",
      },
      sessionOf(
        {
          name: "s2",
          command: "ndjson",
          protocol: { type: "ndjson", end: { done: true }, conversation: conversationSpec },
          supervisor: "root/a",
        },
        [{ chatter: 2 }, { endsAfterMs: 29 }],
        { answersLost: 0.1 },
      ),
    ],
    [
      { at: 0, n: 1, type: "supervisorStart", supervisor: 0 },
      { at: 0, n: 3, type: "start", ifExists: "fail", session: 1 },
      { at: 0, n: 4, type: "start", ifExists: "fail", session: 2 },
      { at: 115, n: 15, type: "ask", session: 2 },
    ],
    {},
    1_300_256_615,
    [{ path: "root/a", strategy: "one_for_all", intensity: null }],
  ),
  "a session that was suspended as it fell with its supervisor was woken again, and held for ever": planOf(
    [
      sessionOf({ command: "claude", protocol: { type: "claude" }, restart: "permanent", supervisor: "root/a" }, [
        { endsAfterMs: 29 },
      ]),
      sessionOf(
        { name: "s3", command: "claude", protocol: { type: "claude" }, readyTimeoutMs: 30, supervisor: "root/a" },
        [],
        { commits: "delayed", mostMs: 152 },
      ),
    ],
    [
      { at: 0, n: 1, type: "supervisorStart", supervisor: 0 },
      { at: 0, n: 2, type: "start", ifExists: "fail", session: 0 },
      { at: 0, n: 5, type: "start", ifExists: "fail", session: 1 },
      { at: 0, n: 6, type: "suspend", session: 1 },
      { at: 43, n: 12, type: "tell", session: 1 },
      { at: 504, n: 18, type: "suspend", session: 1 },
    ],
    {},
    1_300_846_125,
    [{ path: "root/a", strategy: "one_for_one", intensity: { maxRestarts: 0, withinMs: 10_000 } }],
  ),
}
