/** `creche extend`: says how long a session lives from now on. */
import { withRuntime } from "../Connection.ts"
import { wrongUsage } from "../Failure.ts"
import type { Run } from "../Run.ts"

export const run: Run<"extend"> = async (call, io) => {
  const { session, ms } = call.args
  const expiresInMs = ms === "never" ? null : milliseconds(ms)
  const extended = await withRuntime(call, io, (client) => client.request("session/extend", { session, expiresInMs }))
  await io.stdout(
    call.shared.json
      ? `${JSON.stringify(extended)}\n`
      : `${extended.name} ${extended.expiresAt === null ? "never expires" : `expires at ${extended.expiresAt}`}\n`,
  )
  return 0
}

const milliseconds = (text: string): number => {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text)
  throw wrongUsage(`${JSON.stringify(text)} is no time to live: give milliseconds, at least 1, or never`)
}
