/** `creche export`: a session's whole transcript, page by page, to standard output or into a file. */
import { resolve } from "node:path"
import type { Client } from "../../client/index.ts"
import { transcriptPages } from "../../client/Pages.ts"
import type { WireEntry, WireSession } from "../../transport/Wire.ts"
import type { Invocation } from "../Commands.ts"
import { withRuntime } from "../Connection.ts"
import { CommandFailure, wrongUsage } from "../Failure.ts"
import type { Io } from "../Io.ts"
import { type OutputFile, openOutput } from "../OutputFile.ts"
import type { Run } from "../Run.ts"
import { plural } from "../Text.ts"
import { transcriptMarkdown } from "../TranscriptMarkdown.ts"

export const run: Run<"export"> = async (call, io) => {
  const { format = "ndjson", output, force } = call.flags
  if (output === undefined && force) throw wrongUsage("--force is for an --output FILE")
  if (output === undefined && format === "markdown" && call.shared.json)
    throw wrongUsage("--format markdown prints no JSON; leave --json out, or name a file with --output")
  await withRuntime(call, io, async (client) => {
    const session = await client.request("session/get", { session: call.args.session })
    if (output === undefined) return void (await write(client, session, format, io, io.stdout))
    const file = await openOutput(resolve(io.cwd, output), force)
    const entries = await kept(file, () => write(client, session, format, io, stoppable(io, file.write)))
    await io.stdout(told(call, session, format, output, entries))
  })
  return 0
}

type Format = NonNullable<Invocation<"export">["flags"]["format"]>
type Write = (text: string) => Promise<void>

const kept = async <A>(file: OutputFile, use: () => Promise<A>): Promise<A> => {
  let result: A
  try {
    result = await use()
  } catch (error) {
    await file.discard()
    throw error
  }
  await file.keep()
  return result
}

/** At SIGINT half a file would stay behind. */
const stoppable = (io: Io, write: Write): Write => {
  let interrupted = false
  io.onInterrupt(() => (interrupted = true))
  return (text) => {
    if (interrupted) throw new CommandFailure("interrupted; the file is as it was", { tag: "Interrupted" })
    return write(text)
  }
}

/** Everything up to what is there now, also of a session that goes on writing. Gives how many entries there were. */
const write = async (client: Client, session: WireSession, format: Format, io: Io, out: Write): Promise<number> => {
  const writer = format === "markdown" ? transcriptMarkdown(session) : ndjson
  let count = 0
  await out(writer.begin())
  const query = { session: session.id, all: true, through: session.seq }
  for await (const { entries, missed } of transcriptPages(client.request, query)) {
    if (missed !== undefined) {
      io.stderr(`entries ${missed.after + 1} to ${missed.through} are no longer kept\n`)
      await out(writer.missed(missed))
    }
    await out(entries.map(writer.entry).join(""))
    count += entries.length
  }
  await out(writer.end())
  return count
}

/** Exact: what a reader wants to know of what is missing, `seq` tells. */
const ndjson = {
  begin: () => "",
  entry: (entry: WireEntry) => `${JSON.stringify(entry)}\n`,
  missed: () => "",
  end: () => "",
}

const told = (
  { shared }: Invocation<"export">,
  { name }: WireSession,
  format: Format,
  file: string,
  entries: number,
): string =>
  shared.json
    ? `${JSON.stringify({ session: name, file, format, entries })}\n`
    : `${plural(entries, "entry", "entries")} of ${name} written to ${file}\n`
