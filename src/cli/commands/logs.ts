/** `creche logs`: a session's transcript; with `-f` also what comes, without a gap in between. */
import type { TranscriptType } from "../../domain/Transcript.ts"
import type { WireEntry } from "../../transport/Wire.ts"
import { withRuntime } from "../Connection.ts"
import { CommandFailure } from "../Failure.ts"
import type { ExitCode } from "../Io.ts"
import type { Run } from "../Run.ts"
import { transcriptLine } from "../TranscriptLine.ts"

export const run: Run<"logs"> = async (call, io) => {
  const { session } = call.args
  const { flags } = call
  const types = flags.type.length > 0 ? { types: flags.type as ReadonlyArray<TranscriptType> } : {}
  const line = (entry: WireEntry) =>
    call.shared.json ? `${JSON.stringify(entry)}\n` : `${transcriptLine(entry, io.colours)}\n`
  const missed = (through: number) => {
    io.stderr(`entries up to seq ${through} were dropped by the session's limits\n`)
  }
  return withRuntime(call, io, async (client): Promise<ExitCode> => {
    let after = flags.after ?? 0
    if (flags.follow) {
      const events = await client.subscribe({ session, after, ...types })
      io.onInterrupt(() => void events.close())
      for await (const event of events) {
        if ("missed" in event) missed(event.missed.through)
        else if (flags.turn === undefined || event.entry.turn === flags.turn) await io.stdout(line(event.entry))
      }
      const ending = events.ending()
      if (ending === "removed") io.stderr(`the session ${session} was removed\n`)
      if (ending !== "lost") return 0
      throw new CommandFailure("the runtime closed the connection", { tag: "ConnectionLost" })
    }
    for (let first = true; ; first = false) {
      const turn = flags.turn === undefined ? {} : { turn: flags.turn }
      const page = await client.request("session/transcript", { session, after, limit: 1000, ...types, ...turn })
      if (first && page.trimmed > after) missed(page.trimmed)
      await io.stdout(page.entries.map(line).join(""))
      if (page.entries.length === 0 || page.nextAfter <= after) return 0
      after = page.nextAfter
    }
  })
}
