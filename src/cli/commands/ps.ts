/** `creche ps`: the sessions as a table. */
import type { WireList } from "../../transport/Contract.ts"
import type { WireSession } from "../../transport/Wire.ts"
import type { SessionStatus } from "../../domain/Session.ts"
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { pairs } from "../Pairs.ts"
import { age, clip, paintStatus, table } from "../Text.ts"

export const run: Run<"ps"> = async (call, io) => {
  const { flags } = call
  const tags = pairs("tag", flags.tag)
  const query = {
    ...(flags.status.length > 0 ? { status: flags.status as ReadonlyArray<SessionStatus> } : {}),
    ...(tags === undefined ? {} : { tags }),
    ...(flags.task === undefined ? {} : { task: flags.task }),
    ...(flags.supervisor === undefined ? {} : { supervisor: flags.supervisor }),
    limit: 1000,
  }
  const sessions = await withRuntime(call, io, async (client) => {
    const all: Array<WireSession> = []
    let cursor: string | null = null
    do {
      const page: WireList = await client.request("session/list", cursor === null ? query : { ...query, cursor })
      all.push(...page.sessions)
      cursor = page.nextCursor
    } while (cursor !== null)
    return all
  })
  if (call.shared.json) {
    await io.stdout(sessions.map((session) => `${JSON.stringify(session)}\n`).join(""))
  } else if (flags.quiet) {
    await io.stdout(sessions.map((session) => `${session.name}\n`).join(""))
  } else if (sessions.length === 0) {
    io.stderr("no sessions; start one with `creche start NAME -- COMMAND`\n")
  } else {
    await io.stdout(render(sessions, io.colours, Date.now()))
  }
  return 0
}

const render = (sessions: ReadonlyArray<WireSession>, colours: boolean, now: number): string =>
  table(
    [
      { title: "NAME", value: (session) => session.name },
      {
        title: "STATUS",
        value: (session) => session.status,
        paint: (text, session) => paintStatus(colours, session.status, text),
      },
      { title: "PID", align: "right", value: (session) => (session.pid === null ? "-" : String(session.pid)) },
      { title: "RESTARTS", align: "right", value: (session) => String(session.restarts) },
      { title: "QUEUED", align: "right", value: ({ turns }) => String(turns.queued) },
      { title: "DONE", align: "right", value: ({ turns }) => String(turns.completed) },
      { title: "FAILED", align: "right", value: ({ turns }) => String(turns.failed) },
      { title: "ACTIVE", align: "right", value: (session) => age(session.lastActiveAt, now) },
      { title: "PROTOCOL", value: ({ spec }) => spec.protocol.type },
      { title: "COMMAND", value: ({ spec }) => clip([spec.command, ...spec.args].join(" "), 60) },
    ],
    sessions,
  )
