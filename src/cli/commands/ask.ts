/** `creche ask`: prints the answer's text; a turn that did not complete is exit code 1 with its reason. */
import type { WireEntry, WireTurn } from "../../transport/Wire.ts"
import { withRuntime } from "../Connection.ts"
import { CommandFailure } from "../Failure.ts"
import type { Run } from "../Run.ts"
import type { Io } from "../Io.ts"
import { visible } from "../Text.ts"
import { turnRequest } from "../TurnRequest.ts"

export const run: Run<"ask"> = async (call, io) => {
  const { json } = call.shared
  const request = await turnRequest(call, io)
  const shown = shows(io)
  const onEntry = (entry: WireEntry) => (json ? io.stdout(`${JSON.stringify(entry)}\n`) : shown.entry(entry))
  const turn = await withRuntime(call, io, (client) =>
    client.ask(request, call.flags.stream ? { onEntry, onMissed: shown.missed } : {}),
  )
  if (json) await io.stdout(`${JSON.stringify(turn)}\n`)
  else await shown.end(turn)
  if (turn.status === "completed") return 0
  throw new CommandFailure(reason(turn), { ...turn.error, tag: turn.error?.tag ?? turn.status, turn: turn.id })
}

/** Prints deltas as they come, up to a gap, and of the whole text what was not printed then. */
const shows = (io: Io) => {
  let printed = ""
  let gap = false
  const print = (text: string) => io.stdout(io.terminal ? visible(text) : text)
  return {
    entry: async (entry: WireEntry): Promise<void> => {
      if (entry.type !== "turn/delta" || gap) return
      printed += entry.text
      await print(entry.text)
    },
    missed: () => {
      gap = true
    },
    end: async (turn: WireTurn): Promise<void> => {
      const rest = turn.text.startsWith(printed) ? turn.text.slice(printed.length) : `\n${turn.text}`
      const all = printed + rest
      if (all === "" && turn.status !== "completed") return
      await print(all.endsWith("\n") ? rest : `${rest}\n`)
    },
  }
}

const reason = (turn: WireTurn): string =>
  `the turn ${turn.id} ended as ${turn.status}${turn.error === null ? "" : `: ${turn.error.message}`}`
