// Runs seeds and says what is on the heap more than before, with the young generation alone looked at (bytes).
import { makePlan } from "./PlanMaker.ts"
import { simulate } from "./Simulation.ts"

const collect = (globalThis as { readonly gc?: (options?: { readonly type: "minor" }) => void }).gc!

/** Who survives one look is in the old generation after the second. */
const collectYoung = (): number => {
  collect({ type: "minor" })
  collect({ type: "minor" })
  return process.memoryUsage().heapUsed
}

const seeds = 400
const run = () => {
  for (let seed = 1; seed <= seeds; seed++) simulate(makePlan(seed))
}
run()
collect()
const before = collectYoung()
run()
console.log(JSON.stringify({ seeds, kept: collectYoung() - before }))
