/** The suite as tests of one transport. Called by a file for each, so that they run side by side. */
import { afterAll, describe, it } from "vitest"
import type { Transport } from "./ConformanceClient.ts"
import { Run } from "./Run.ts"
import { cases, lackOf } from "./Suite.ts"

export const conforms = (transport: Transport): void => {
  describe(`the contract over ${transport.name}`, () => {
    const run = new Run(transport)
    afterAll(() => run.close())
    const fitting = cases.filter((one) => lackOf(one, transport) === undefined)
    it.each(fitting)("$name", (one) => run.carryOut(one))
  })
}
