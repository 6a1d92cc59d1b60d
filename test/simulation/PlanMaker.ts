/**
 * A plan from a seed. Weights lean to what hurts: the same moment for many things, short limits, processes that end while
 * something is under way. Small ones by far the most often: they are quick and are read by people.
 */
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { conversationSpec } from "./ChildLanguage.ts"
import { Dice } from "./Lots.ts"
import {
  calmLife,
  calmStore,
  type End,
  type Life,
  type Plan,
  type SessionPlan,
  type SessionWish,
  type Step,
  type StorePlan,
  type SupervisorPlan,
  type TurnPlan,
  type WorldPlan,
} from "./Plan.ts"

/** The name of the session that nothing befalls. */
export const wellName = "well"

export type Size = "small" | "large"

const endOf = (dice: Dice): End => {
  switch (dice.weigh({ code: 5, zero: 3, signal: 2, guard: 1 })) {
    case "zero":
      return { by: "exit", code: 0 }
    case "code":
      return { by: "exit", code: dice.int(1, 3) }
    case "signal":
      return { by: "signal", signal: dice.pick(["SIGKILL", "SIGSEGV"]) }
    case "guard":
      return { by: "guardLost" }
  }
}

const turnOf = (dice: Dice): TurnPlan => {
  const does = dice.weigh({ answers: 6, hangs: 1, ends: 3, asks: 2, babbles: 1, overflows: 1, closesStdout: 1 })
  return {
    does,
    afterMs: dice.int(0, 60),
    pieces: dice.int(1, 4),
    ...(does === "ends" ? { end: endOf(dice) } : undefined),
  }
}

const lifeOf = (dice: Dice): Life => {
  const kind = dice.weigh({ calm: 3, sick: 5, still: 1, broken: 2 })
  if (kind === "calm") return { ...calmLife, spawnMs: dice.int(0, 10), readyMs: dice.int(0, 10) }
  const spawn = kind === "broken" ? dice.pick(["fails", "fails", "hangs"] as const) : "works"
  const doesEnd = dice.chance(0.35)
  return {
    spawn,
    spawnMs: dice.chance(0.2) ? dice.int(50, 400) : dice.int(0, 10),
    ready: dice.chance(0.1) ? dice.pick(["hangs", "refuses"] as const) : "works",
    readyMs: dice.int(0, 30),
    turns: Array.from({ length: dice.int(0, 3) }, () => turnOf(dice)),
    endsAfterMs: doesEnd ? dice.int(0, 400) : null,
    end: endOf(dice),
    obeysAfterMs: dice.chance(0.3) ? null : dice.int(0, 40),
    heedsEof: dice.chance(0.5),
    straysMs: dice.chance(0.3) ? dice.int(1, 200) : 0,
    heldMs: dice.chance(0.15) ? dice.int(1, 400) : 0,
    unkillable: dice.chance(0.04),
    stdinFullMs: dice.chance(0.15) ? dice.int(1, 60) : 0,
    chatter: dice.chance(0.3) ? dice.int(1, 3) : 0,
  }
}

/** It never lives long. */
const shortLifeOf = (dice: Dice): Life => ({
  ...calmLife,
  ...(dice.chance(0.3)
    ? { spawn: "fails", spawnMs: dice.int(0, 5) }
    : { endsAfterMs: dice.int(0, 30), end: endOf(dice), straysMs: dice.chance(0.2) ? dice.int(1, 50) : 0 }),
})

const storeOf = (dice: Dice): StorePlan => {
  const kind = dice.weigh({ instant: 3, quick: 4, slow: 1, bad: 3 })
  if (kind === "instant") return calmStore
  const isBad = kind === "bad"
  return {
    commits: dice.chance(0.2) ? "instant" : "delayed",
    mostMs: kind === "slow" ? dice.int(20, 300) : dice.int(0, 6),
    fails: isBad ? dice.pick([0.05, 0.2, 0.5]) : 0,
    answersLost: isBad && dice.chance(0.5) ? 0.1 : 0,
    dies: isBad && dice.chance(0.2) ? 0.05 : 0,
  }
}

const livesOf = (dice: Dice): Pick<SessionPlan, "lives" | "further"> => {
  // A child that crashes again and again: a while calm, then never again, or from the first on.
  if (dice.chance(0.25)) {
    const calm = Array.from({ length: dice.int(0, 1) }, () => lifeOf(dice))
    return { lives: [...calm, shortLifeOf(dice)], further: "again" }
  }
  return {
    lives: Array.from({ length: dice.int(1, 4) }, () => lifeOf(dice)),
    further: dice.chance(0.2) ? "again" : "calm",
  }
}

const specOf = (dice: Dice, name: string): SessionPlan["spec"] => {
  const language = dice.weigh({ lines: 5, ndjson: 3, claude: 3 })
  const protocol: SessionSpecInput["protocol"] =
    language === "lines"
      ? "lines"
      : language === "claude"
        ? { type: "claude" }
        : { type: "ndjson", end: { done: true }, conversation: conversationSpec }
  const maxMs = dice.pick([0, 50, 400, 2_000])
  return {
    name,
    command: language,
    cwd: "/",
    protocol,
    restart: dice.weigh({ transient: 3, permanent: 6, temporary: 1 }),
    backoff: {
      initialMs: Math.min(maxMs, dice.pick([0, 1, 20, 100])),
      factor: dice.pick([1, 2, 3]),
      maxMs,
      jitter: dice.pick([0, 0.2, 1]),
      resetAfterMs: dice.pick([100, 500, 60_000]),
    },
    intensity: { maxRestarts: dice.int(0, 5), withinMs: dice.pick([200, 1_000, 10_000]) },
    shutdown: dice.chance(0.15)
      ? "brutal_kill"
      : { graceMs: dice.pick([0, 10, 100, 400]), stdinEofMs: dice.pick([0, 0, 20]) },
    readyTimeoutMs: dice.pick([30, 200, 1_000]),
    turnTimeoutMs: dice.pick([50, 300, 2_000]),
    stallTimeoutMs: dice.chance(0.2) ? dice.pick([20, 100]) : null,
    onStall: dice.pick(["notify", "cancel", "restart"] as const),
    idleTimeoutMs: dice.chance(0.3) ? dice.pick([5, 50, 500]) : null,
    expiresInMs: dice.chance(0.12) ? dice.int(50, 4_000) : null,
    mailbox: { capacity: dice.int(1, 4), overflow: dice.pick(["fail", "suspend", "sliding", "dropping"] as const) },
    retryTurns: dice.pick([0, 0, 1, 2]),
    permissions: {
      default: dice.pick(["ask", "ask", "allow", "deny"] as const),
      timeoutMs: dice.pick([20, 200]),
      onTimeout: dice.pick(["allow", "deny"] as const),
    },
    limits: {
      lineBytes: 2_000,
      ...(dice.chance(0.15) ? { transcriptEntries: dice.int(5, 30) } : undefined),
      ...(dice.chance(0.1) ? { turns: dice.int(1, 5), onReached: dice.pick(["suspend", "stop"] as const) } : undefined),
    },
    ...(dice.chance(0.1) ? { task: dice.pick(["one", "two"]) } : undefined),
  }
}

const supervisorsOf = (dice: Dice): ReadonlyArray<SupervisorPlan> => {
  if (dice.chance(0.6)) return []
  const make = (path: string): SupervisorPlan => ({
    path,
    strategy: dice.pick(["one_for_one", "one_for_all", "one_for_all", "rest_for_one", "rest_for_one"] as const),
    intensity: dice.chance(0.6) ? { maxRestarts: dice.int(0, 4), withinMs: dice.pick([200, 1_000, 10_000]) } : null,
  })
  const first = make("root/a")
  switch (dice.int(0, 3)) {
    case 0:
      return [first, make("root/a/b")]
    case 1:
      return [first, make("root/c")]
    default:
      return [first]
  }
}

const placeOf = (dice: Dice, supervisors: ReadonlyArray<SupervisorPlan>): { readonly supervisor?: string } =>
  supervisors.length === 0 || dice.chance(0.15) ? {} : { supervisor: dice.pick(supervisors).path }

const worldOf = (dice: Dice): WorldPlan => {
  const isLimited = dice.chance(0.2)
  return {
    durable: dice.chance(0.85),
    restarts: dice.chance(0.3)
      ? { burst: dice.int(1, 3), perSecond: dice.pick([5, 20, 100]) }
      : { burst: 50, perSecond: 100 },
    admission: {
      maxLiveSessions: isLimited ? dice.int(1, 3) : null,
      maxLiveProcesses: null,
      whenFull: dice.pick(["wait", "refuse"] as const),
    },
    retentionMs: dice.chance(0.05) ? 500 : null,
    readMs: dice.chance(0.3) ? dice.int(1, 20) : 0,
    readFails: dice.chance(0.1) ? 0.1 : 0,
    ties: dice.chance(0.7) ? "lot" : "arrival",
    lateMs: dice.chance(0.3) ? dice.int(1, 5) : 0,
    yieldAfter: dice.pick([2_048, 2_048, 64, 9]),
  }
}

const wishes = {
  ask: 14,
  tell: 6,
  submit: 4,
  wait: 3,
  cancel: 5,
  answer: 3,
  write: 1,
  signal: 1,
  suspend: 4,
  resume: 4,
  restart: 4,
  stop: 5,
  kill: 2,
  remove: 2,
  get: 1,
  start: 3,
  configure: 2,
  fork: 2,
  extend: 1,
  subscribe: 3,
} as const

const wishOf = (dice: Dice, asked: ReadonlyArray<number>): SessionWish => {
  const type = dice.weigh(wishes)
  const earlier = asked.length === 0 ? 0 : dice.pick(asked.slice(-4))
  switch (type) {
    case "ask":
    case "tell":
    case "submit":
      return {
        type,
        ...(dice.chance(0.12) ? { key: dice.pick(["a", "b"]) } : undefined),
        ...(dice.chance(0.15) ? { timeoutMs: dice.int(1, 200) } : undefined),
      }
    case "wait":
      return { type, of: earlier, ...(dice.chance(0.4) ? { timeoutMs: dice.int(0, 100) } : undefined) }
    case "cancel":
      return { type, of: dice.chance(0.4) ? null : earlier }
    case "answer":
      return { type, outcome: dice.pick(["allow", "deny", "nonsense"]) }
    case "signal":
      return { type, signal: dice.pick(["SIGINT", "SIGTERM", "SIGKILL"] as const) }
    case "stop":
      return { type, mode: "graceful" }
    case "kill":
      return { type: "stop", mode: "kill" }
    case "start":
      return { type, ifExists: dice.pick(["fail", "return"] as const) }
    case "configure":
      return { type, changed: dice.chance(0.5) }
    case "extend":
      return { type, expiresInMs: dice.chance(0.4) ? null : dice.int(1, 800) }
    case "subscribe":
      return { type, after: dice.chance(0.5) ? 0 : null }
    default:
      return { type }
  }
}

export const makePlan = (seed: number, size: Size = seed % 50 === 0 ? "large" : "small"): Plan => {
  const dice = new Dice(seed)
  const isLarge = size === "large"
  const world = worldOf(dice)
  const count = isLarge ? dice.int(4, 10) : dice.int(1, 4)
  const supervisors = supervisorsOf(dice)
  const sessions: Array<SessionPlan> = Array.from({ length: count }, (_, i) => ({
    spec: { ...specOf(dice, `s${i}`), ...placeOf(dice, supervisors) },
    ...livesOf(dice),
    store: storeOf(dice),
  }))
  const isPeaceful = world.admission.maxLiveSessions === null && dice.chance(0.4)
  if (isPeaceful) {
    const spec = { name: wellName, command: "lines", cwd: "/", restart: "permanent", idleTimeoutMs: null } as const
    sessions.push({ spec, lives: [calmLife], further: "again", store: calmStore })
  }
  const steps: Array<Step> = []
  const asked: Array<number> = []
  // The runtime takes a moment to come up.
  let at = 25
  let n = 0
  const add = (step: object) => {
    steps.push({ at, n: ++n, ...step } as Step)
    return n
  }
  supervisors.forEach((_, supervisor) => add({ type: "supervisorStart", supervisor }))
  sessions.forEach((_, session) => {
    add({ type: "start", ifExists: "fail", session })
    if (dice.chance(0.3)) at += dice.int(0, 40)
  })
  // Most of the time few misfortunes, so that those that come are seen in peace.
  const misfortune = dice.pick([0, 0.05, 0.15])
  const deadly = dice.chance(0.2)
  const length = isLarge ? dice.int(80, 200) : dice.int(4, 24)
  const busy = isLarge ? 0.6 : 0.45
  for (let i = 0; i < length; i++) {
    if (!dice.chance(busy)) at += dice.chance(0.2) ? dice.int(100, 600) : dice.int(1, 40)
    const session = dice.int(0, sessions.length - 1)
    const isWell = sessions[session]!.spec.name === wellName
    if (supervisors.length > 0 && dice.chance(0.08)) {
      const supervisor = dice.int(0, supervisors.length - 1)
      add({ type: dice.chance(0.6) ? "supervisorStart" : "supervisorStop", supervisor })
      continue
    }
    if (dice.chance(misfortune)) {
      switch (
        dice.weigh({
          kill: deadly ? 20 : 4,
          shutdown: 2,
          outage: 2,
          clock: 1,
          disconnect: 3,
          end: 4,
          list: 1,
          watch: 1,
        })
      ) {
        case "kill":
          add({ type: "kill", after: dice.int(0, 12), downMs: dice.int(0, 300) })
          break
        case "shutdown":
          add({ type: "shutdown", drainMs: dice.pick([0, 0, 50, 500]), downMs: dice.int(0, 300) })
          break
        case "outage":
          add({ type: "outage", forMs: dice.pick([20, 300, 1_500, 4_000]) })
          break
        case "clock":
          add({ type: "clock", byMs: dice.pick([-3_600_000, -50, 50, 3_600_000]) })
          break
        case "disconnect":
          if (asked.length > 0) add({ type: "disconnect", of: dice.pick(asked.slice(-4)) })
          break
        case "end":
          if (!isWell) add({ type: "end", session, end: endOf(dice) })
          break
        case "list":
          add({ type: "list" })
          break
        case "watch":
          add({ type: "watch" })
      }
      continue
    }
    if (isWell) add({ type: "ask", session })
    else asked.push(add({ ...wishOf(dice, asked), session }))
  }
  return { seed, world, supervisors, sessions, steps }
}
