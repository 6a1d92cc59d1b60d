/**
 * Where an answer of free text ends: a prompt, a sentinel, a delimiter, or silence. A mark reads text that was not
 * given on yet and splits it: what is answer for certain, and what must be held back because it may belong to the
 * mark. The outcome is the same however the text was cut into reads; only what is held is read again, so that a
 * long answer costs no more for each byte than a short one. Pure; called by `Text`.
 */

export interface Scan {
  /** Answer for certain. */
  readonly give: string
  /** To be read again together with what comes next; includes the line break that may be the answer's last. */
  readonly held: string
  /** The mark is in `held`: what of it stands before the mark, and what after. */
  readonly end: { readonly text: string; readonly rest: string } | null
}

export interface Mark {
  /** How many of the characters given on already `scan` must see. */
  readonly context: number
  readonly scan: (before: string, text: string) => Scan
  /** What of the held text is answer once stdout has ended without the mark. */
  readonly remains: (held: string) => string
}

/** What is searched for a prompt: a match may not be longer. Bounds the work for each read. */
const promptWindow = 4096
/** As much of an unfinished line as may be a prompt is held back. */
const promptHold = 1024

/** Where the line break that ends just before `end` begins; `end` when there is none. A lone CR at the very end may become one. */
const breakBefore = (text: string, end: number): number => {
  if (text.charCodeAt(end - 1) === 0x0a) return text.charCodeAt(end - 2) === 0x0d ? end - 2 : end - 1
  return end === text.length && text.charCodeAt(end - 1) === 0x0d ? end - 1 : end
}

/** How long the line break at `at` is; 0 when there is none. */
const lineBreakAt = (text: string, at: number): number =>
  text.startsWith("\n", at) ? 1 : text.startsWith("\r\n", at) ? 2 : 0

const split = (text: string, at: number, end: Scan["end"]): Scan => ({
  give: text.slice(0, at),
  held: at === 0 ? text : text.slice(at),
  end,
})

/** Never between the halves of a character. */
const characterStart = (text: string, at: number): number => {
  const unit = text.charCodeAt(at)
  return unit >= 0xdc00 && unit <= 0xdfff ? at - 1 : at
}

/** Silence: nothing in the text ends the answer. */
export const quietMark: Mark = {
  context: 0,
  scan: (_before, text) => split(text, breakBefore(text, text.length), null),
  remains: (held) => held,
}

/** A line that equals `delimiter`. */
export const delimiterMark = (delimiter: string): Mark => {
  const scan = (before: string, text: string): Scan => {
    const atLineStart = before === "" || before.endsWith("\n")
    const next = (from: number) => {
      const at = text.indexOf("\n" + delimiter, from)
      return at < 0 ? -1 : at + 1
    }
    for (let at = atLineStart && text.startsWith(delimiter) ? 0 : next(0); at >= 0; at = next(at)) {
      const after = at + delimiter.length
      const broken = lineBreakAt(text, after)
      if (broken === 0) continue
      const from = breakBefore(text, at)
      return split(text, from, { text: text.slice(from, at), rest: text.slice(after + broken) })
    }
    const line = text.lastIndexOf("\n") + 1
    const candidate = (line > 0 || atLineStart) && (delimiter + "\r").startsWith(text.slice(line))
    return split(text, breakBefore(text, candidate ? line : text.length), null)
  }
  return { context: 1, scan, remains: (held) => held }
}

/** Where the longest end of `text` that is a beginning of `pattern` starts; the text's length when there is none. */
const partialAt = (text: string, pattern: string): number => {
  for (let at = Math.max(0, text.length - pattern.length + 1); at < text.length; at++) {
    if (pattern.startsWith(text.slice(at))) return at
  }
  return text.length
}

/**
 * The line that holds `expect`, from there to its line break; what stands before on that line is answer (its last
 * line may lack a line break). An echo of `send` is cut out with the line break behind it and ends nothing.
 */
export const sentinelMark = (send: string, expect: string): Mark => {
  const inEcho = send === expect ? -1 : send.indexOf(expect)
  const mostOfMark = Math.max(send.length, expect.length) + 2
  const scan = (_before: string, given: string): Scan => {
    let text = given
    for (;;) {
      const at = text.indexOf(expect)
      if (at < 0) break
      const echo = at - inEcho
      if (inEcho >= 0 && echo >= 0) {
        const seen = text.slice(echo, echo + send.length)
        const after = echo + send.length
        if (seen === send && (text.length >= after + 2 || text.startsWith("\n", after))) {
          text = text.slice(0, echo) + text.slice(after + lineBreakAt(text, after))
          continue
        }
        if (send.startsWith(seen)) {
          return split(text, breakBefore(text, echo), null)
        }
      }
      const from = breakBefore(text, at)
      const newline = text.indexOf("\n", at + expect.length)
      if (newline < 0) return { give: text.slice(0, from), held: text.slice(from, at + mostOfMark), end: null }
      return split(text, from, { text: text.slice(from, at), rest: text.slice(newline + 1) })
    }
    const partial = Math.min(partialAt(text, expect), inEcho < 0 ? text.length : partialAt(text, send))
    return split(text, breakBefore(text, partial), null)
  }
  // What is held is a line break and a part of the sentinel; half a sentinel is no answer.
  const remains = (held: string) => held.slice(0, lineBreakAt(held, 0))
  return { context: 0, scan, remains }
}

/**
 * A match of `source` that ends where the output ends so far. `^` and `$` mean lines. The unfinished last line is
 * held back, with the blank before it and as many whole lines as `source` names line breaks.
 */
export const promptMark = (source: string): Mark => {
  const pattern = new RegExp(`(?:${source})(?![^])`, "m")
  const extraLines = Math.min(8, source.split(/\\n|\n/).length - 1)
  const holdFrom = (text: string): number => {
    let at = text.lastIndexOf("\n") + 1
    for (let extra = 0; extra < extraLines && at > 1; extra++) at = text.lastIndexOf("\n", at - 2) + 1
    while (at > 0 && /\s/.test(text[at - 1] ?? "")) at--
    return Math.max(at, characterStart(text, text.length - promptHold))
  }
  const scan = (before: string, text: string): Scan => {
    const all = before + text
    const window = all.length > promptWindow ? all.slice(-promptWindow) : all
    const match = pattern.exec(window)
    const hold = Math.min(text.length, Math.max(0, holdFrom(text)))
    if (match === null || match[0] === "") return split(text, hold, null)
    const at = Math.max(0, text.length - (window.length - match.index))
    const from = Math.min(hold, breakBefore(text, at))
    return split(text, from, { text: text.slice(from, at), rest: "" })
  }
  return { context: promptWindow, scan, remains: (held) => held }
}
