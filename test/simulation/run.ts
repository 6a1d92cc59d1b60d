// npm run test:simulation -- [OPTIONS]: runs seeds, or one of them in full.
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { searchOnCores } from "./Cores.ts"
import { mutations } from "./Mutations.ts"
import { makePlan, type Size } from "./PlanMaker.ts"
import { describePlan } from "./PlanText.ts"
import { report, under } from "./Search.ts"
import { simulate } from "./Simulation.ts"

const usage = `usage: npm run test:simulation -- [OPTIONS]
  --seeds N          run N seeds (default 20000, or SEEDS)
  --from X           begin with seed X (default: a random one)
  --seed X           run seed X alone, and print its schedule and what happens
  --size small|large schedules of this size (default: every fiftieth is large)
  --cores N          threads that search (default: one for each processor)
  --mutation NAME    put a known bug in: ${mutations.map(({ name }) => name).join(", ")}
  --hashes           print seed and hash of each run instead`

const fail = (message: string): never => {
  console.error(`${message}\n${usage}`)
  process.exit(2)
}

const number = (name: string, given: string | undefined): number | undefined => {
  if (given === undefined) return undefined
  const value = Number(given)
  return Number.isSafeInteger(value) && value >= 0 ? value : fail(`--${name} must be a whole number`)
}

const parsed = () => {
  try {
    return parseArgs({
      options: {
        seeds: { type: "string" },
        from: { type: "string" },
        seed: { type: "string" },
        size: { type: "string" },
        mutation: { type: "string" },
        cores: { type: "string" },
        hashes: { type: "boolean" },
        help: { type: "boolean" },
      },
    }).values
  } catch (error) {
    return fail((error as Error).message)
  }
}

const given = parsed()
if (given.help === true) {
  console.log(usage)
  process.exit(0)
}
const { size } = given
if (size !== undefined && size !== "small" && size !== "large") fail("--size must be small or large")
const mutation = mutations.find(({ name }) => name === given.mutation)
if (given.mutation !== undefined && mutation === undefined) fail(`no mutation is called ${given.mutation}`)
const options = {
  ...(size === undefined ? undefined : { size: size as Size }),
  ...(mutation === undefined ? undefined : { mutation }),
}

const one = number("seed", given.seed)
const from = number("from", given.from) ?? Math.floor(Math.random() * 2 ** 31)
const cores = number("cores", given.cores) ?? availableParallelism()
if (cores === 0) fail("--cores must be at least 1")
const seeds = number("seeds", given.seeds ?? process.env["SEEDS"]) ?? 20_000

if (one !== undefined) {
  const plan = makePlan(one, options.size)
  console.log(describePlan(plan))
  const outcome = under(mutation, () => simulate(plan, "words"))
  console.log(`\nwhat happens\n${outcome.log!.join("\n")}\n`)
  if (outcome.violation === undefined) console.log(`all rules hold (hash ${outcome.hash})`)
  else {
    console.log(report({ seed: one, violation: outcome.violation, outcome }, options))
    process.exit(1)
  }
} else if (given.hashes === true) {
  for (let seed = from; seed < from + seeds; seed++) {
    console.log(seed, under(mutation, () => simulate(makePlan(seed, options.size), "number")).hash)
  }
} else {
  console.log(`seeds ${from} … ${from + seeds - 1} on ${cores} ${cores === 1 ? "processor" : "processors"}`)
  const begunAt = performance.now()
  const used = process.cpuUsage()
  const { sum, found } = await searchOnCores(from, seeds, { ...options, cores })
  const { user, system } = process.cpuUsage(used)
  const wall = (performance.now() - begunAt) / 1e3
  const processor = (user + system) / 1e6
  const perSeed = (n: number) => (n / sum.seeds).toFixed(1)
  console.log(
    `${sum.seeds} seeds in ${wall.toFixed(1)} s: ${Math.round(sum.seeds / wall)} a second, ` +
      `${Math.round(sum.seeds / processor)} a second of processor time\n` +
      `a seed has ${perSeed(sum.steps)} steps, ${perSeed(sum.spawns)} processes, ${perSeed(sum.turns)} turns, ` +
      `${perSeed(sum.answers)} answers, ${perSeed(sum.lives)} runtimes, ${perSeed(sum.virtualMs / 1000)} s of its own time`,
  )
  if (found !== undefined) {
    console.log(`\n${report(found, options)}`)
    process.exit(1)
  }
  console.log("all rules hold")
}
