/** `creche cancel`: cancels a turn. */
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"

export const run: Run<"cancel"> = async (call, io) => {
  const { session, turn } = call.args
  const cancelled = await withRuntime(call, io, (client) =>
    client.request("session/cancel", turn === undefined ? { session } : { session, turn }),
  )
  await io.stdout(call.shared.json ? `${JSON.stringify(cancelled)}\n` : `turn ${cancelled.id} is ${cancelled.status}\n`)
  return 0
}
