/** `creche suspend`: see the command table. */
import type { Run } from "../Run.ts"
import { eachSession, ended, isGone } from "../SessionControl.ts"

export const run: Run<"suspend"> = (call, io) =>
  eachSession(
    call,
    call.args.session,
    io,
    (client, session) => client.request("session/suspend", { session }),
    (session) => `${ended(session)}${session.pid === null ? "" : `, pid ${session.pid}`}`,
    isGone,
  )
