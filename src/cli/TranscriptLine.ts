/** One transcript entry as one readable line: seq, time, what happened. Pure; exhaustive over the entry types. */
import { describeExit, type ExitReason } from "../domain/ExitReason.ts"
import type { WireEntry, WireExit } from "../transport/Wire.ts"
import { shownText } from "../domain/PromptText.ts"
import { clip, faint, visibleLine } from "./Text.ts"

/** On the wire the time alone is another, and the phrase has none. */
const exitText = (exit: WireExit): string => describeExit({ ...exit, at: Date.parse(exit.at) } as ExitReason)

const json = (value: unknown): string => (value === undefined ? "" : clip(JSON.stringify(value), 200))

/** What happened, in one phrase; empty where the type says it all. */
export const entryText = (entry: WireEntry): string => {
  switch (entry.type) {
    case "status":
      return entry.detail === undefined ? entry.status : `${entry.status} (${entry.detail})`
    case "process/spawned":
      return `pid ${entry.pid}, containment ${entry.containment}, incarnation ${entry.incarnation}`
    case "process/exited":
      return entry.survivors === undefined || entry.survivors.length === 0
        ? exitText(entry.exit)
        : `${exitText(entry.exit)}; could not be killed: ${entry.survivors.join(", ")}`
    case "restart/scheduled":
      return `attempt ${entry.attempt} in ${entry.delayMs} ms`
    case "turn/queued":
      return shownText(entry.prompt)
    case "turn/started":
      return entry.attempt > 1 ? `attempt ${entry.attempt}` : ""
    case "turn/delta":
    case "turn/thought":
    case "note":
      return entry.text
    case "turn/tool":
      return [entry.name, entry.status, json(entry.input), json(entry.output)].filter((part) => part !== "").join(" ")
    case "turn/stalled":
      return `silent for ${entry.silentMs} ms: ${entry.action}`
    case "turn/ended": {
      const why = entry.error === undefined ? "" : ` ${entry.error.tag}: ${entry.error.message}`
      return `${entry.status} after ${entry.durationMs} ms${why}${entry.text === "" ? "" : `: ${entry.text}`}`
    }
    case "permission/requested":
      return `${entry.request}: ${entry.tool} ${json(entry.input)}`
    case "permission/resolved":
      return `${entry.request}: ${entry.outcome} by ${entry.by}`
    case "output":
      return `${entry.stream}: ${entry.data}`
    case "native":
      return json(entry.message)
  }
}

/** Ends without a newline. Control characters are shown, never sent to the terminal. */
export const transcriptLine = (entry: WireEntry, colours: boolean): string => {
  const time = entry.at.slice(11, 23)
  const turn = entry.turn === undefined ? "" : ` ${entry.turn}`
  const text = visibleLine(entryText(entry).trimEnd())
  return `${faint(colours, `${String(entry.seq).padStart(5)} ${time}`)} ${entry.type.padEnd(17)}${faint(colours, turn)}${text === "" ? "" : ` ${text}`}`
}
