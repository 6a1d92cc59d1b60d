/**
 * Looks through seeds for one that breaks a rule, and says what it found: the rule, how to replay it, and the smallest plan
 * that still breaks it.
 */
import type { Mutation } from "./Mutations.ts"
import type { Plan } from "./Plan.ts"
import { makePlan, type Size } from "./PlanMaker.ts"
import { describePlan } from "./PlanText.ts"
import type { Violation } from "./Rules.ts"
import { shrink, type Shrunk } from "./Shrink.ts"
import { simulate, type Outcome } from "./Simulation.ts"

export interface Found {
  readonly seed: number
  readonly violation: Violation
  readonly outcome: Outcome
}

export interface Sum {
  seeds: number
  steps: number
  virtualMs: number
  spawns: number
  turns: number
  answers: number
  lives: number
}

export const emptySum = (): Sum => ({ seeds: 0, steps: 0, virtualMs: 0, spawns: 0, turns: 0, answers: 0, lives: 0 })

/** Those of another search to those of this one. */
export const add = (sum: Sum, other: Sum): void => {
  for (const key of Object.keys(sum) as Array<keyof Sum>) sum[key] += other[key]
}

const count = (sum: Sum, { steps, virtualMs, spawns, turns, answers, lives }: Outcome): void => {
  sum.seeds++
  sum.steps += steps
  sum.virtualMs += virtualMs
  sum.spawns += spawns
  sum.turns += turns
  sum.answers += answers
  sum.lives += lives
}

/** With the bug in, if one is given. */
export const under = <A>(mutation: Mutation | undefined, use: () => A): A => {
  const undo = mutation?.put()
  try {
    return use()
  } finally {
    undo?.()
  }
}

/** The first of `seeds` seeds from `from` on that breaks a rule. */
export const search = (
  from: number,
  seeds: number,
  { size, mutation, sum = emptySum() }: { size?: Size; mutation?: Mutation; sum?: Sum } = {},
): Found | undefined => {
  for (let seed = from; seed < from + seeds; seed++) {
    const outcome = under(mutation, () => simulate(makePlan(seed, size)))
    count(sum, outcome)
    if (outcome.violation !== undefined) return { seed, violation: outcome.violation, outcome }
  }
  return undefined
}

export const shrinkFound = (plan: Plan, violation: Violation, mutation?: Mutation): Shrunk =>
  shrink(plan, violation, (smaller) => under(mutation, () => simulate(smaller)).violation)

const options = (size: Size | undefined, mutation: Mutation | undefined): string =>
  (size === undefined ? "" : ` --size ${size}`) + (mutation === undefined ? "" : ` --mutation ${mutation.name}`)

/** What people are told of a seed that broke a rule. */
export const report = (found: Found, { size, mutation }: { size?: Size; mutation?: Mutation } = {}): string => {
  const { seed, violation } = found
  const smallest = shrinkFound(makePlan(seed, size), violation, mutation)
  const replayed = under(mutation, () => simulate(smallest.plan, "words"))
  return [
    `seed ${seed} breaks ${violation.rule} after ${violation.at} ms: ${violation.detail}`,
    `replay: npm run test:simulation -- --seed ${seed}${options(size, mutation)}`,
    "",
    `the smallest schedule found (${smallest.tries} tried): ${smallest.violation.detail}`,
    describePlan(smallest.plan),
    "",
    "what happens then",
    ...(replayed.log ?? []),
  ].join("\n")
}
