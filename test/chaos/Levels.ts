/** The levels of containment that the suite attacks, and why one cannot be had here. */
import { afterAll, beforeAll } from "vitest"
import { openRuntime } from "../../src/index.ts"
import { noGuard } from "../acceptance/Processes.ts"

export type Level = "group" | "guard" | "namespace" | "cgroup"

export const levels: ReadonlyArray<Level> = ["group", "guard", "namespace", "cgroup"]

/** Levels that hold the whole tree, whatever its processes do. */
export const holdsTrees = (level: Level): boolean => level !== "group"

/** Asks a runtime once; the answer is kept for the file. Undefined: the level can be had. */
export const refusals = (): ((level: Level) => string | undefined) => {
  const refused = new Map<Level, string>()
  beforeAll(async () => {
    await using runtime = await openRuntime()
    for (const level of levels) {
      try {
        await runtime.start({ name: level, command: "cat", containment: level })
      } catch (error) {
        refused.set(level, (error as Error).message)
      }
    }
  })
  afterAll(() => refused.clear())
  return (level) => (level !== "group" && noGuard !== undefined ? noGuard : refused.get(level))
}
