/** `creche history`: what a session was asked, newest last, as a shell's history. */
import { shownText } from "../../domain/PromptText.ts"
import { historyPages } from "../../client/Pages.ts"
import type { WireTurn } from "../../transport/Wire.ts"
import { withRuntime } from "../Connection.ts"
import { wrongUsage } from "../Failure.ts"
import type { Run } from "../Run.ts"
import { clip, duration, faint, shortTime, visibleLine } from "../Text.ts"

const defaultLimit = 100
const pageSize = 100

export const run: Run<"history"> = async (call, io) => {
  const { session } = call.args
  const { limit = defaultLimit } = call.flags
  if (limit === 0) throw wrongUsage("--limit wants at least 1")
  // They come newest first: what is held meanwhile are lines, not answers.
  const lines: Array<string> = []
  await withRuntime(call, io, async (client) => {
    const query = { session, pageSize: Math.min(limit, pageSize) }
    for await (const turns of historyPages(client.request, query)) {
      for (const turn of turns.slice(0, limit - lines.length)) {
        lines.push(call.shared.json ? JSON.stringify(turn) : line(turn, io.colours))
      }
      if (lines.length >= limit) return
    }
  })
  for (let end = lines.length; end > 0; end -= pageSize) {
    const some = lines.slice(Math.max(0, end - pageSize), end).toReversed()
    await io.stdout(some.map((text) => `${text}\n`).join(""))
  }
  return 0
}

const line = (turn: WireTurn, colours: boolean): string => {
  const [first = "", ...more] = shownText(turn.prompt).trim().split("\n")
  const took = turn.durationMs === null ? "-" : duration(turn.durationMs)
  const prompt = `${clip(visibleLine(first.trimEnd()), 200)}${more.length > 0 ? " …" : ""}`
  return `${faint(colours, shortTime(turn.queuedAt))}  ${turn.status.padEnd(9)}  ${took.padStart(8)}  ${prompt}`
}
