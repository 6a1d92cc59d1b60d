/** `creche tell`: hands over a prompt and prints the turn's id. */
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { turnRequest } from "../TurnRequest.ts"

export const run: Run<"tell"> = async (call, io) => {
  const request = await turnRequest(call, io)
  const turn = await withRuntime(call, io, (client) => client.request("session/tell", request))
  await io.stdout(call.shared.json ? `${JSON.stringify(turn)}\n` : `${turn.id}\n`)
  return 0
}
