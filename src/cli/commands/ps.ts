/** `creche ps`: the sessions as a table, page by page: the first lines come before the last are asked for. */
import { sessionPages } from "../../client/Pages.ts"
import type { WireSession } from "../../transport/Wire.ts"
import type { SessionStatus } from "../../domain/Session.ts"
import { withRuntime } from "../Connection.ts"
import { wrongUsage } from "../Failure.ts"
import type { Run } from "../Run.ts"
import { pairs } from "../Pairs.ts"
import { age, type Column, clip, paintStatus, tableInPages } from "../Text.ts"

export const run: Run<"ps"> = async (call, io) => {
  const { flags } = call
  const { limit = Number.MAX_SAFE_INTEGER } = flags
  if (limit === 0) throw wrongUsage("--limit wants at least 1")
  const tags = pairs("tag", flags.tag)
  const query = {
    ...(flags.status.length > 0 ? { status: flags.status as ReadonlyArray<SessionStatus> } : {}),
    ...(tags === undefined ? {} : { tags }),
    ...(flags.task === undefined ? {} : { task: flags.task }),
    ...(flags.supervisor === undefined ? {} : { supervisor: flags.supervisor }),
    pageSize: Math.min(limit, 500),
  }
  const rows = tableInPages(columns(io.colours, Date.now()))
  const text = (sessions: ReadonlyArray<WireSession>): string => {
    if (call.shared.json) return sessions.map((session) => `${JSON.stringify(session)}\n`).join("")
    return flags.quiet ? sessions.map((session) => `${session.name}\n`).join("") : rows(sessions)
  }
  let shown = 0
  await withRuntime(call, io, async (client) => {
    for await (const page of sessionPages(client.request, query)) {
      const sessions = page.slice(0, limit - shown)
      shown += sessions.length
      await io.stdout(text(sessions))
      if (shown >= limit) return
    }
  })
  if (shown === 0 && !call.shared.json && !flags.quiet) {
    io.stderr("no sessions; start one with `creche start NAME -- COMMAND`\n")
  }
  return 0
}

/** `suspended (idle)`: who ended its process, where it was not a client. */
const statusText = ({ status, suspendedBy }: WireSession): string =>
  status === "suspended" && suspendedBy !== null && suspendedBy !== "client" ? `${status} (${suspendedBy})` : status

const columns = (colours: boolean, now: number): ReadonlyArray<Column<WireSession>> => [
  { title: "NAME", value: (session) => session.name },
  { title: "STATUS", value: statusText, paint: (text, session) => paintStatus(colours, session.status, text) },
  { title: "PID", align: "right", value: (session) => (session.pid === null ? "-" : String(session.pid)) },
  { title: "RESTARTS", align: "right", value: (session) => String(session.restarts) },
  { title: "QUEUED", align: "right", value: ({ turns }) => String(turns.queued) },
  { title: "DONE", align: "right", value: ({ turns }) => String(turns.completed) },
  { title: "FAILED", align: "right", value: ({ turns }) => String(turns.failed) },
  { title: "ACTIVE", align: "right", value: (session) => age(session.lastActiveAt, now) },
  { title: "PROTOCOL", value: ({ spec }) => spec.protocol.type },
  { title: "COMMAND", value: ({ spec }) => clip([spec.command, ...spec.args].join(" "), 60) },
]
