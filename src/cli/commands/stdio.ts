/**
 * `creche stdio`: a runtime that belongs to its caller, spoken to on standard input and output. It has a data
 * directory of its own, gone with it, unless one was named.
 */
import * as Effect from "effect/Effect"
import { stdio } from "../../main.ts"
import { resolvePaths } from "../../client/Paths.ts"
import { logOf } from "../LogFlags.ts"
import type { Run } from "../Run.ts"

export const run: Run<"stdio"> = async (call, io) => {
  const named = (call.shared.data ?? io.env["CRECHE_DATA"] ?? "") !== ""
  await Effect.runPromise(
    stdio({
      dataDirectory: named ? resolvePaths(call.shared, io.env, io.cwd).dataDirectory : null,
      log: logOf(call.flags),
    }),
  )
  return 0
}
