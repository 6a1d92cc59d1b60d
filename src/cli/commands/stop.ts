/** `creche stop`: answers when the last descendant of every named session is gone. */
import type { Run } from "../Run.ts"
import { eachSession } from "../SessionControl.ts"

export const run: Run<"stop"> = (call, io) =>
  eachSession(
    call,
    call.args.session,
    io,
    (client, session) => client.request("session/stop", call.flags.kill ? { session, mode: "kill" } : { session }),
    (session) => `${session.name} is ${session.status}`,
  )
