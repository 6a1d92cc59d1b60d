/** `creche answer`: answers a permission request of a session's agent. */
import { withRuntime } from "../Connection.ts"
import { CommandFailure } from "../Failure.ts"
import type { Run } from "../Run.ts"

export const run: Run<"answer"> = async (call, io) => {
  const { session, outcome, request } = call.args
  const answered = await withRuntime(call, io, async (client) => {
    const wanted = request ?? onlyRequest(await client.request("session/get", { session }))
    return client.request("session/answer", { session, request: wanted, outcome })
  })
  await io.stdout(call.shared.json ? `${JSON.stringify(answered)}\n` : `answered: ${outcome}\n`)
  return 0
}

/** Nobody should have to copy an id where there is nothing to choose. */
const onlyRequest = (session: {
  readonly name: string
  readonly pendingRequests: ReadonlyArray<{ readonly request: string; readonly tool: string }>
}): string => {
  const [first, ...more] = session.pendingRequests
  if (first === undefined) throw new CommandFailure(`session ${session.name} waits for no answer`)
  if (more.length === 0) return first.request
  const all = session.pendingRequests.map(({ request, tool }) => `  ${request}  ${tool}`).join("\n")
  throw new CommandFailure(`session ${session.name} waits for ${more.length + 1} answers; say which:\n${all}`)
}
