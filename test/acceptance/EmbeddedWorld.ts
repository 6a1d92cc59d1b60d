/** A runtime in the test's own process, of which nothing may be left. */
import { expect } from "vitest"
import { openRuntime, type EmbeddedRuntime } from "../../src/index.ts"

export const within = async (use: (runtime: EmbeddedRuntime) => Promise<void>): Promise<void> => {
  const runtime = await openRuntime()
  try {
    await use(runtime)
  } finally {
    expect(await runtime.close()).toEqual({ survivors: [] })
  }
}
