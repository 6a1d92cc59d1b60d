/** `creche logs`: a session's transcript; with `--all` from the archive on, with `-f` also what comes, without a gap in between. */
import type { TranscriptType } from "../../domain/Transcript.ts"
import type { Client, Missed } from "../../client/index.ts"
import { type TranscriptPages, transcriptPages } from "../../client/Pages.ts"
import type { WireEntry } from "../../transport/Wire.ts"
import type { Invocation } from "../Commands.ts"
import { withRuntime } from "../Connection.ts"
import { CommandFailure } from "../Failure.ts"
import type { ExitCode, Io } from "../Io.ts"
import type { Run } from "../Run.ts"
import { transcriptLine } from "../TranscriptLine.ts"

type Logs = Invocation<"logs">

export const run: Run<"logs"> = (call, io) =>
  withRuntime(call, io, async (client) => {
    const { after = 0, all, follow } = call.flags
    if (follow) return followed(client, call, io, all ? await stored(client, call, io, { after }) : after)
    await stored(client, call, io, { after })
    return 0
  })

const typesOf = ({ flags }: Logs) =>
  flags.type.length > 0 ? { types: flags.type as ReadonlyArray<TranscriptType> } : {}

const print = (call: Logs, io: Io, entries: ReadonlyArray<WireEntry>): Promise<void> =>
  io.stdout(
    entries
      .map((entry) => (call.shared.json ? `${JSON.stringify(entry)}\n` : `${transcriptLine(entry, io.colours)}\n`))
      .join(""),
  )

const tellMissed = (call: Logs, io: Io, { after, through }: Missed): void => {
  io.stderr(
    call.flags.all
      ? `entries ${after + 1} to ${through} are no longer kept\n`
      : `entries ${after + 1} to ${through} are over the session's limits; --all shows what is still archived\n`,
  )
}

/** Prints what is there, and gives the seq up to which it looked. */
const stored = async (
  client: Client,
  call: Logs,
  io: Io,
  range: Pick<TranscriptPages, "after" | "through">,
): Promise<number> => {
  const { session } = call.args
  const { all, turn } = call.flags
  let seen = range.after ?? 0
  const query = {
    session,
    ...typesOf(call),
    ...(turn === undefined ? {} : { turn }),
    ...(all ? { all } : {}),
    ...range,
  }
  for await (const { entries, missed, nextAfter } of transcriptPages(client.request, query)) {
    if (missed !== undefined) tellMissed(call, io, missed)
    await print(call, io, entries)
    seen = nextAfter
  }
  return seen
}

const followed = async (client: Client, call: Logs, io: Io, after: number): Promise<ExitCode> => {
  const { session } = call.args
  const { all, turn } = call.flags
  const events = await client.subscribe({ session, after, ...typesOf(call) })
  io.onInterrupt(() => void events.close())
  for await (const event of events) {
    if ("entry" in event) {
      if (turn === undefined || event.entry.turn === turn) await print(call, io, [event.entry])
    } else if (all) await stored(client, call, io, { after: event.missed.after, through: event.missed.through })
    else tellMissed(call, io, event.missed)
  }
  const ending = events.ending()
  if (ending === "removed") io.stderr(`the session ${session} was removed\n`)
  if (ending !== "lost") return 0
  throw new CommandFailure("the runtime closed the connection", { tag: "ConnectionLost" })
}
