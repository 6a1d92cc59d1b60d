/** `creche resume`: see the command table. */
import type { Run } from "../Run.ts"
import { eachSession } from "../SessionControl.ts"

export const run: Run<"resume"> = (call, io) =>
  eachSession(
    call,
    call.args.session,
    io,
    (client, session) => client.request("session/resume", { session }),
    (session) => `${session.name} is ${session.status}${session.pid === null ? "" : `, pid ${session.pid}`}`,
  )
