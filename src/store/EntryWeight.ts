/** What an entry of a transcript weighs in memory: about its text. */
import type { TranscriptEntry } from "../domain/Transcript.ts"

/** What an entry costs besides its text. */
const entryOverhead = 200

const jsonLength = (value: unknown): number => (value === undefined ? 0 : JSON.stringify(value).length)

export const weigh = (entry: TranscriptEntry): number => {
  switch (entry.type) {
    case "output":
      return entryOverhead + entry.data.length
    case "turn/delta":
    case "turn/thought":
    case "turn/ended":
    case "note":
      return entryOverhead + entry.text.length
    case "turn/queued":
      return entryOverhead + (typeof entry.prompt === "string" ? entry.prompt.length : jsonLength(entry.prompt))
    case "native":
      return entryOverhead + jsonLength(entry.message)
    case "turn/tool":
      return entryOverhead + jsonLength(entry.input) + jsonLength(entry.output)
    case "permission/requested":
      return entryOverhead + jsonLength(entry.input)
    default:
      return entryOverhead
  }
}
