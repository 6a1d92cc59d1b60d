/**
 * A transcript as a conversation to read: what the session is, then each turn with its prompt, tools, answer and errors.
 * Pure: entries go in one by one, in order, and text comes out; between them it holds only the turns that are open. Raw
 * output, thoughts and native messages are counted and left out. Called by `creche export`.
 */
import type { WireEntry, WireSession } from "../transport/Wire.ts"
import { shownText } from "../domain/PromptText.ts"
import { fenced, inlineCode } from "./Markdown.ts"
import { duration, plural, shortTime } from "./Text.ts"
import { entryText } from "./TranscriptLine.ts"

export interface TranscriptMarkdown {
  /** What comes before the first entry. */
  readonly begin: () => string
  readonly entry: (entry: WireEntry) => string
  /** Entries with after < seq ≤ through are no longer kept. */
  readonly missed: (range: { readonly after: number; readonly through: number }) => string
  /** What comes after the last: turns that have not ended, and what was left out. */
  readonly end: () => string
}

interface OpenTurn {
  /** undefined where the entry that held it is no longer kept. */
  readonly prompt: string | undefined
  /** When it was accepted, as far as that is known. */
  readonly at: string
  begun: boolean
  /** The answer as far as it came. */
  deltas: Array<string>
}

type EntryOf<T extends WireEntry["type"]> = Extract<WireEntry, { readonly type: T }>

export const transcriptMarkdown = (session: WireSession): TranscriptMarkdown => {
  const open = new Map<string, OpenTurn>()
  const leftOut = new Map<string, number>()
  let turns = 0

  const begin = (id: string, turn: OpenTurn, at: string): string => {
    if (turn.begun) return ""
    turn.begun = true
    const prompt =
      turn.prompt === undefined ? "The prompt is no longer kept.\n" : `**Prompt**\n\n${fenced(turn.prompt)}`
    return `## Turn ${++turns} · ${shortTime(at)}\n\n${inlineCode(id)}\n\n${prompt}\n`
  }

  /** The turn of an entry; one whose beginning is no longer kept is opened here. */
  const turnOf = (id: string, at: string): OpenTurn => {
    const found = open.get(id) ?? { prompt: undefined, at, begun: false, deltas: [] }
    open.set(id, found)
    return found
  }

  const inTurn = (entry: WireEntry, text: string): string =>
    entry.turn === undefined ? text : begin(entry.turn, turnOf(entry.turn, entry.at), entry.at) + text

  const leave = (type: string): string => {
    leftOut.set(type, (leftOut.get(type) ?? 0) + 1)
    return ""
  }

  let inList = false
  /** A list ends where a paragraph begins, and not in the same line of thought. */
  const apart = (text: string, isItem: boolean): string => {
    if (text === "") return ""
    const blank = inList && !isItem ? "\n" : ""
    inList = isItem
    return blank + text
  }

  const textOf = (entry: WireEntry): string => {
    switch (entry.type) {
      case "turn/queued":
        if (entry.turn !== undefined) {
          open.set(entry.turn, { prompt: shownText(entry.prompt), at: entry.at, begun: false, deltas: [] })
        }
        return ""
      case "turn/started": {
        if (entry.turn !== undefined) turnOf(entry.turn, entry.at).deltas = []
        return inTurn(entry, entry.attempt > 1 ? `Asked again: attempt ${entry.attempt}.\n\n` : "")
      }
      case "turn/delta":
        if (entry.turn !== undefined) turnOf(entry.turn, entry.at).deltas.push(entry.text)
        return inTurn(entry, "")
      case "turn/tool":
        return inTurn(entry, tool(entry))
      case "turn/ended": {
        const came = entry.turn === undefined ? [] : turnOf(entry.turn, entry.at).deltas
        const text = inTurn(entry, ending(entry, entry.text === "" ? came.join("") : entry.text))
        if (entry.turn !== undefined) open.delete(entry.turn)
        return text
      }
      case "turn/thought":
      case "output":
      case "native":
        return leave(entry.type)
      case "turn/stalled":
      case "permission/requested":
      case "permission/resolved":
      case "status":
      case "process/spawned":
      case "process/exited":
      case "restart/scheduled":
      case "note":
        return happening(entry)
    }
  }

  const entry = (entry: WireEntry): string => apart(textOf(entry), happenings.has(entry.type))

  const unended = ([id, turn]: readonly [string, OpenTurn]): string => {
    const answer = turn.deltas.join("")
    const state = turn.begun ? "**Not ended**" : "**Queued**"
    return `${begin(id, turn, turn.at)}${state}\n\n${answer === "" ? "" : `${fenced(answer)}\n`}`
  }

  return {
    begin: () => `# Session ${inlineCode(session.name)}\n\n${facts(session)}\n`,
    entry,
    missed: ({ after, through }) => apart(`_Entries ${after + 1} to ${through} are no longer kept._\n\n`, false),
    end: () => {
      const counts = [...leftOut].map(([type, count]) => `${plural(count, "entry", "entries")} of ${inlineCode(type)}`)
      return (
        apart([...open].map(unended).join(""), false) +
        (counts.length === 0 ? "" : `\n---\n\nLeft out here: ${counts.join(", ")}; the format ndjson has them.\n`)
      )
    },
  }
}

const facts = (session: WireSession): string => {
  const { spec, turns } = session
  const tags = Object.entries(spec.tags).map(([name, value]) => inlineCode(`${name}=${value}`))
  const lines: ReadonlyArray<readonly [string, string | null]> = [
    ["Id", inlineCode(session.id)],
    ["Status", session.status],
    ["Command", inlineCode([spec.command, ...spec.args].join(" "))],
    ["Protocol", spec.protocol.type],
    ["Template", spec.template === null ? null : inlineCode(spec.template)],
    ["Task", spec.task === null ? null : inlineCode(spec.task)],
    ["Tags", tags.length === 0 ? null : tags.join(", ")],
    ["Agent's conversation", session.agentSessionId === null ? null : inlineCode(session.agentSessionId)],
    ["Created", shortTime(session.createdAt)],
    ["Last active", shortTime(session.lastActiveAt)],
    ["Turns", `${turns.completed} completed, ${turns.failed} ended otherwise, ${turns.queued + turns.running} open`],
    ["Restarts", String(session.restarts)],
    ["Entries", String(session.seq)],
  ]
  return lines.flatMap(([name, value]) => (value === null ? [] : [`- ${name}: ${value}\n`])).join("")
}

/** What is told in a line, and where it happens does not matter much. */
const happenings: ReadonlySet<WireEntry["type"]> = new Set([
  "turn/stalled",
  "permission/requested",
  "permission/resolved",
  "status",
  "process/spawned",
  "process/exited",
  "restart/scheduled",
  "note",
])

const happening = (entry: WireEntry): string => {
  const text = entryText(entry).trim()
  return `- ${shortTime(entry.at)} ${entry.type}${text === "" ? "" : `: ${inlineCode(text)}`}\n`
}

const json = (title: string, value: unknown): string =>
  value === undefined
    ? ""
    : typeof value === "string"
      ? `${title}\n\n${fenced(value)}\n`
      : `${title}\n\n${fenced(JSON.stringify(value, null, 2), "json")}\n`

const tool = (entry: EntryOf<"turn/tool">): string =>
  `**Tool** ${inlineCode(entry.name)}: ${inlineCode(entry.status)}\n\n${json("Input", entry.input)}${json("Output", entry.output)}`

const ending = (entry: EntryOf<"turn/ended">, text: string): string => {
  const answer = text === "" ? "" : `**Answer**\n\n${fenced(text)}\n`
  const error =
    entry.error === undefined ? "" : `**Error** ${inlineCode(entry.error.tag)}\n\n${fenced(entry.error.message)}\n`
  const why = entry.stopReason === null ? "" : `, ${inlineCode(entry.stopReason)}`
  return `${answer}${error}**Ended** as ${entry.status} after ${duration(entry.durationMs)}${why}\n\n`
}
