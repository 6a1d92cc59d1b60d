/**
 * Makes a plan that fails smaller, for as long as it fails by the same rule: fewer steps, fewer sessions, calmer lives, a
 * store that works, the defaults instead of what the spec says, less time between the steps.
 */
import {
  calmLife,
  calmStore,
  calmTurn,
  type Life,
  type Plan,
  type SessionPlan,
  type Step,
  type WorldPlan,
} from "./Plan.ts"
import type { Violation } from "./Rules.ts"

export const calmWorld: WorldPlan = {
  durable: true,
  restarts: { burst: 50, perSecond: 100 },
  admission: { maxLiveSessions: null, maxLiveProcesses: null, whenFull: "wait" },
  retentionMs: null,
  readMs: 0,
  readFails: 0,
  ties: "arrival",
  lateMs: 0,
  yieldAfter: 2_048,
}

/** Says how a plan fails. */
export type Judge = (plan: Plan) => Violation | undefined

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

/** Ways to make a plan smaller, the boldest first. */
function* smaller(plan: Plan): Generator<Plan> {
  yield* fewerSteps(plan)
  yield* fewerSessions(plan)
  yield* calmerWorld(plan)
  for (const [i, session] of plan.sessions.entries()) {
    for (const calmer of calmerSession(session)) {
      yield { ...plan, sessions: plan.sessions.map((other, j) => (j === i ? calmer : other)) }
    }
  }
  yield* fewerSupervisors(plan)
  yield* soonerSteps(plan)
}

function* fewerSteps(plan: Plan): Generator<Plan> {
  const { steps } = plan
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < steps.length; at += size) {
      yield { ...plan, steps: [...steps.slice(0, at), ...steps.slice(at + size)] }
    }
  }
}

function* fewerSessions(plan: Plan): Generator<Plan> {
  for (const gone of plan.sessions.keys()) {
    const steps = plan.steps.flatMap((step): ReadonlyArray<Step> => {
      if (!("session" in step)) return [step]
      if (step.session === gone) return []
      return [step.session > gone ? { ...step, session: step.session - 1 } : step]
    })
    yield { ...plan, sessions: plan.sessions.filter((_, i) => i !== gone), steps }
  }
}

/** The last ones first: others may stand below the first. */
function* fewerSupervisors(plan: Plan): Generator<Plan> {
  const last = plan.supervisors.length - 1
  if (last < 0) return
  const { path } = plan.supervisors[last]!
  yield {
    ...plan,
    supervisors: plan.supervisors.slice(0, last),
    sessions: plan.sessions.map((session) => {
      const { supervisor, ...spec } = session.spec
      return supervisor === path ? { ...session, spec } : session
    }),
    steps: plan.steps.filter((step) => !("supervisor" in step) || step.supervisor !== last),
  }
  for (const [i, { intensity }] of plan.supervisors.entries()) {
    if (intensity === null) continue
    const without = plan.supervisors.map((other, j) => (j === i ? { ...other, intensity: null } : other))
    yield { ...plan, supervisors: without }
  }
}

function* calmerWorld(plan: Plan): Generator<Plan> {
  for (const key of Object.keys(calmWorld) as Array<keyof WorldPlan>) {
    if (!same(plan.world[key], calmWorld[key])) yield { ...plan, world: { ...plan.world, [key]: calmWorld[key] } }
  }
}

function* calmerSession(session: SessionPlan): Generator<SessionPlan> {
  if (!same(session.store, calmStore)) {
    yield { ...session, store: calmStore }
    for (const key of Object.keys(calmStore) as Array<keyof typeof calmStore>) {
      if (session.store[key] !== calmStore[key])
        yield { ...session, store: { ...session.store, [key]: calmStore[key] } }
    }
  }
  if (session.further === "again") yield { ...session, further: "calm" }
  for (const i of session.lives.keys()) {
    yield { ...session, lives: session.lives.filter((_, j) => j !== i) }
    for (const life of calmerLife(session.lives[i]!)) {
      yield { ...session, lives: session.lives.map((other, j) => (j === i ? life : other)) }
    }
  }
  for (const key of Object.keys(session.spec)) {
    if (key === "name" || key === "command" || key === "cwd" || key === "protocol") continue
    const { [key as "task"]: _, ...spec } = session.spec
    yield { ...session, spec }
  }
}

function* calmerLife(life: Life): Generator<Life> {
  if (same(life, calmLife)) return
  yield calmLife
  for (const key of Object.keys(calmLife) as Array<keyof Life>) {
    if (!same(life[key], calmLife[key])) yield { ...life, [key]: calmLife[key] }
  }
  for (const i of life.turns.keys()) {
    if (same(life.turns[i], calmTurn)) continue
    yield { ...life, turns: life.turns.map((turn, j) => (j === i ? calmTurn : turn)) }
    yield { ...life, turns: life.turns.slice(0, i) }
  }
}

/** A step comes earlier, and with it all that follow. */
function* soonerSteps(plan: Plan): Generator<Plan> {
  for (const [i, step] of plan.steps.entries()) {
    const gap = step.at - (plan.steps[i - 1]?.at ?? 0)
    for (const less of [0, 1, 10, Math.floor(gap / 2)]) {
      if (less >= gap) continue
      const by = gap - less
      yield { ...plan, steps: plan.steps.map((other, j) => (j < i ? other : { ...other, at: other.at - by })) }
    }
  }
}

export interface Shrunk {
  readonly plan: Plan
  readonly violation: Violation
  /** Plans tried. */
  readonly tries: number
}

export const shrink = (plan: Plan, first: Violation, judge: Judge, most = 4_000): Shrunk => {
  let best = { plan, violation: first }
  let tries = 0
  let smallerWasFound = true
  while (smallerWasFound && tries < most) {
    smallerWasFound = false
    for (const candidate of smaller(best.plan)) {
      if (++tries > most) break
      const violation = judge(candidate)
      if (violation?.rule !== first.rule) continue
      best = { plan: candidate, violation }
      smallerWasFound = true
      break
    }
  }
  return { ...best, tries }
}
