/** `creche rm`: forgets sessions. */
import type { Run } from "../Run.ts"
import { eachSession } from "../SessionControl.ts"

export const run: Run<"rm"> = (call, io) =>
  eachSession(
    call,
    call.args.session,
    io,
    async (client, session) => {
      await client.request("session/remove", { session })
      return { session, removed: true }
    },
    (_, session) => `${session} is removed`,
  )
