/**
 * Property tests that can be repeated: the seed is drawn once a run, printed when a property fails, and taken from
 * FC_SEED where it is set. FC_RUNS multiplies the number of runs for a longer search.
 */
import * as fc from "fast-check"

export const seed =
  process.env["FC_SEED"] === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(process.env["FC_SEED"])
const effort = Number(process.env["FC_RUNS"] ?? 1)

console.log(`property seed ${seed} (FC_SEED=${seed} repeats it)`)

export function checkedTimes<Ts extends [unknown, ...Array<unknown>]>(
  numRuns: number,
  ...args: [...arbitraries: { [K in keyof Ts]: fc.Arbitrary<Ts[K]> }, predicate: (...values: Ts) => boolean | void]
): void {
  // fast-check's failure names the seed, the path and the shrunk counterexample.
  fc.assert(fc.property<Ts>(...(args as unknown as Parameters<typeof fc.property<Ts>>)), {
    seed,
    numRuns: numRuns * effort,
  })
}

export function checked<Ts extends [unknown, ...Array<unknown>]>(
  ...args: [...arbitraries: { [K in keyof Ts]: fc.Arbitrary<Ts[K]> }, predicate: (...values: Ts) => boolean | void]
): void {
  checkedTimes<Ts>(300, ...args)
}
