/** Text for people: tables, trees, ages, colours, and control characters made visible. Pure. */
import type { SessionStatus } from "../domain/Session.ts"

const escapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u001b": "\\e" }

/** Control characters of a child's output would move the reader's cursor; here they are shown instead. Newline and tab stay. */
export const visible = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, escape)

/** The same for one line: newlines and tabs are shown as well. */
export const visibleLine = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, escape)

const escape = (character: string): string =>
  escapes[character] ?? `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`

/** At most `width` characters; what is cut is marked. */
export const clip = (text: string, width: number): string => {
  const characters = [...text]
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join("")}…`
}

const widthOf = (text: string): number => [...text].length

export interface Column<Row> {
  readonly title: string
  readonly value: (row: Row) => string
  readonly align?: "right"
  /** Applied after the width was settled. */
  readonly paint?: (text: string, row: Row) => string
}

/** Columns two spaces apart, titles above; no trailing blanks. */
export const table = <Row>(columns: ReadonlyArray<Column<Row>>, rows: ReadonlyArray<Row>): string =>
  tableInPages(columns)(rows)

/** The same for rows that come page by page: titles above the first; a column never gets narrower than it was. */
export const tableInPages = <Row>(columns: ReadonlyArray<Column<Row>>): ((rows: ReadonlyArray<Row>) => string) => {
  let widths = columns.map((column) => widthOf(column.title))
  let begun = false
  const pad = (text: string, at: number) => {
    const blanks = " ".repeat(widths[at]! - widthOf(text))
    return columns[at]!.align === "right" ? blanks + text : text + blanks
  }
  return (rows) => {
    const cells = rows.map((row) => columns.map((column) => visibleLine(column.value(row))))
    widths = widths.map((width, at) => cells.reduce((most, line) => Math.max(most, widthOf(line[at]!)), width))
    const lines = cells.map((line, index) =>
      line.map((text, at) => {
        const padded = pad(text, at)
        return columns[at]!.paint?.(padded, rows[index]!) ?? padded
      }),
    )
    if (!begun) lines.unshift(columns.map((column, at) => pad(column.title, at)))
    begun = true
    return lines.map((line) => `${line.join("  ").trimEnd()}\n`).join("")
  }
}

/** `4s`, `3m`, `5h`, `2d`: how long ago, coarse enough to be read at a glance. */
export const age = (at: string, now: number): string => {
  const seconds = Math.max(0, Math.floor((now - Date.parse(at)) / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** `2026-01-31T12:00:00Z` of a time on the wire. */
export const shortTime = (at: string): string => `${at.slice(0, 19)}Z`

/** `12 ms`, `3.4 s`, `5.0 min`, `2.5 h`. */
export const duration = (ms: number): string => {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 3_597_000) return `${(ms / 60_000).toFixed(1)} min`
  return `${(ms / 3_600_000).toFixed(1)} h`
}

export const bytes = (count: number): string => {
  const units = ["B", "KiB", "MiB", "GiB"]
  let value = count
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

export const plural = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`

const codes: Readonly<Record<SessionStatus, number>> = {
  starting: 36,
  authenticating: 36,
  ready: 32,
  busy: 33,
  backoff: 35,
  suspended: 90,
  stopping: 90,
  stopped: 90,
  failed: 31,
}

export const paintStatus = (colours: boolean, status: SessionStatus, text: string): string =>
  colours ? `\u001b[${codes[status]}m${text}\u001b[0m` : text

export const faint = (colours: boolean, text: string): string => (colours ? `\u001b[90m${text}\u001b[0m` : text)

export interface Branch {
  readonly label: string
  readonly children: ReadonlyArray<Branch>
}

/** A tree with lines: `├─`, `└─`. */
export const drawTree = (root: Branch): string => {
  const lines = [root.label]
  const draw = (branches: ReadonlyArray<Branch>, indent: string) => {
    branches.forEach((branch, at) => {
      const last = at === branches.length - 1
      lines.push(`${indent}${last ? "└─ " : "├─ "}${branch.label}`)
      draw(branch.children, `${indent}${last ? "   " : "│  "}`)
    })
  }
  draw(root.children, "")
  return lines.map((line) => `${line}\n`).join("")
}
