/** `creche fork`: a new session from where another's conversation stands. */
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"

export const run: Run<"fork"> = async (call, io) => {
  const { session, name } = call.args
  const forked = await withRuntime(call, io, (client) =>
    client.request("session/fork", name === undefined ? { session } : { session, name }),
  )
  await io.stdout(
    call.shared.json
      ? `${JSON.stringify(forked)}\n`
      : `${forked.name} is ${forked.status}, a fork of ${session}, id ${forked.id}\n`,
  )
  return 0
}
