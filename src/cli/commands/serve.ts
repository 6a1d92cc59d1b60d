/** `creche serve`: the runtime in the foreground, until a signal or `runtime/shutdown` ends it. */
import * as Effect from "effect/Effect"
import { serve } from "../../main.ts"
import type { Run } from "../Dispatch.ts"
import { resolvePaths } from "../Paths.ts"

export const run: Run<"serve"> = async (call, io) => {
  const { dataDirectory, socket } = resolvePaths(call.shared, io.env, io.cwd)
  await Effect.runPromise(serve({ dataDirectory, socket, demo: call.flags.demo }))
  return 0
}
