/** `creche stdio`: a runtime that belongs to its caller, spoken to on standard input and output. */
import * as Effect from "effect/Effect"
import { stdio } from "../../main.ts"
import type { Run } from "../Dispatch.ts"
import { resolvePaths } from "../Paths.ts"

export const run: Run<"stdio"> = async (call, io) => {
  const { dataDirectory } = resolvePaths(call.shared, io.env, io.cwd)
  await Effect.runPromise(stdio({ dataDirectory }))
  return 0
}
