/** `creche stop`: answers when the last descendant of every named session is gone; what could not be killed is named, with exit code 1. */
import type { Run } from "../Run.ts"
import { eachSession, ended, isGone } from "../SessionControl.ts"

export const run: Run<"stop"> = (call, io) =>
  eachSession(
    call,
    call.args.session,
    io,
    (client, session) => client.request("session/stop", call.flags.kill ? { session, mode: "kill" } : { session }),
    ended,
    isGone,
  )
