import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { searchOnCores } from "./Cores.ts"
import { mutations } from "./Mutations.ts"
import { makePlan } from "./PlanMaker.ts"
import { describePlan } from "./PlanText.ts"
import { regressions } from "./Regressions.ts"
import { rules } from "./Rules.ts"
import { report, search, shrinkFound, under } from "./Search.ts"
import { simulate } from "./Simulation.ts"

const isLong = process.env["CHAOS"] === "long"
const seeds = Number(process.env["SEEDS"] ?? (isLong ? 500_000 : 4_000))
const base = Number(process.env["FROM"] ?? Math.floor(Math.random() * 2 ** 31))

console.log(`simulation: ${seeds} seeds from ${base} on (FROM=${base} SEEDS=${seeds} repeats them)`)

describe("the runtime in simulated worlds", () => {
  it(
    "keeps its promises, whatever the seed",
    async () => {
      const { sum, found } = await searchOnCores(base, seeds)
      if (found !== undefined) expect.fail(report(found))
      // A search in which nothing happens would prove nothing.
      expect(sum.seeds).toBe(seeds)
      expect(sum.turns).toBeGreaterThan(seeds)
      expect(sum.spawns).toBeGreaterThan(2 * seeds)
      expect(sum.lives).toBeGreaterThan(seeds)
    },
    isLong ? 7_200_000 : 240_000,
  )

  for (const [what, plan] of Object.entries(regressions)) {
    it(`keeps them where once ${what}`, () => {
      const { violation, log } = simulate(plan, "words")
      if (violation !== undefined) expect.fail([violation.detail, describePlan(plan), ...log!].join("\n"))
    })
  }
})

const some = Array.from({ length: 60 }, (_, i) => base + i)

describe("a simulation", () => {
  it("takes the same course each time", () => {
    for (const seed of some) {
      const first = simulate(makePlan(seed), "words")
      const second = simulate(makePlan(seed), "words")
      expect(second.hash, `seed ${seed}`).toBe(first.hash)
      expect(second.log).toEqual(first.log)
    }
  })

  it("takes it in another process as well", () => {
    const run = fileURLToPath(new URL("run.ts", import.meta.url))
    const args = [run, "--hashes", "--from", String(base), "--seeds", String(some.length)]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" })
    expect(stderr).toBe("")
    expect(stdout.trim().split("\n")).toEqual(some.map((seed) => `${seed} ${simulate(makePlan(seed), "number").hash}`))
  })

  it("takes different courses for different seeds", () => {
    expect(new Set(some.map((seed) => simulate(makePlan(seed), "number").hash)).size).toBe(some.length)
  })
})

describe("a search on all processors", () => {
  it("finds the seed that one alone would have found first", async () => {
    const mutation = mutations.find(({ name }) => name === "supervisor-charge-missed")!
    const alone = search(1, mutation.within, { mutation })
    const { found } = await searchOnCores(1, mutation.within, { mutation, cores: 3, rangeSeeds: 7 })
    expect(found).toEqual(alone)
  })

  it("leaves no seed out", async () => {
    const { sum, found } = await searchOnCores(base, 31, { cores: 3, rangeSeeds: 7 })
    expect(found).toBeUndefined()
    expect(sum.seeds).toBe(31)
    expect(sum.turns).toBe(
      some.reduce((turns, seed) => turns + (seed < base + 31 ? simulate(makePlan(seed)).turns : 0), 0),
    )
  })
})

describe("the rules and the known bugs", () => {
  it("stand in the docs as they are", () => {
    const page = readFileSync(new URL("../../docs/simulation.md", import.meta.url), "utf8")
    for (const [name, says] of Object.entries(rules)) expect(page).toContain(`| \`${name}\` | ${says} |`)
    for (const { name, says, within } of mutations) {
      expect(page).toMatch(new RegExp(`\\| \`${name}\` \\| ${says} \\| .* \\| ${within} \\|`))
    }
  })
})

describe("a known bug", () => {
  for (const mutation of mutations) {
    it(`is found where ${mutation.says}, and the schedule that shows it is cut down`, () => {
      const found = search(1, mutation.within, { mutation })
      expect(found, `none of the seeds 1 to ${mutation.within} finds it`).toBeDefined()
      const { seed, violation } = found!
      expect(mutation.rules).toContain(violation.rule)
      const plan = makePlan(seed)
      expect(simulate(plan).violation, "without the bug all is well").toBeUndefined()
      const small = shrinkFound(plan, violation, mutation)
      expect(small.violation.rule).toBe(violation.rule)
      expect(small.plan.steps.length, describePlan(small.plan)).toBeLessThanOrEqual(mutation.steps)
      expect(under(mutation, () => simulate(small.plan)).violation).toEqual(small.violation)
      expect(simulate(small.plan).violation, "the small one needs the bug").toBeUndefined()
    })
  }
})
