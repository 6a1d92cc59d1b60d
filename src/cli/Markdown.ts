/**
 * Text of others inside a Markdown document: code that stays code whatever is in it. Pure; words nothing itself.
 * Called by `TranscriptMarkdown`.
 */
import { visible, visibleLine } from "./Text.ts"

/** The longest run of backticks. */
const longestRun = (text: string): number =>
  (text.match(/`+/g) ?? []).reduce((most, run) => Math.max(most, run.length), 0)

/**
 * A fenced block that ends where it should: its fence is longer than any run of backticks inside. Control characters are
 * shown, since a lone carriage return would be an end of line to Markdown.
 */
export const fenced = (text: string, language = ""): string => {
  const shown = visible(text.replaceAll("\r\n", "\n"))
  const fence = "`".repeat(Math.max(3, longestRun(shown) + 1))
  return `${fence}${language}\n${shown}${shown === "" || shown.endsWith("\n") ? "" : "\n"}${fence}\n`
}

/** Code within a line. Of several lines one is made; nothing at all is shown as a pair of quotes. */
export const inlineCode = (text: string): string => {
  const shown = visibleLine(text)
  if (shown.trim() === "") return '`""`'
  const ticks = "`".repeat(longestRun(shown) + 1)
  // Markdown takes one blank off both ends where both have one.
  const padded = /^[` ]|[` ]$/.test(shown) ? ` ${shown} ` : shown
  return `${ticks}${padded}${ticks}`
}
