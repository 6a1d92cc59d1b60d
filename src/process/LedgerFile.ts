/**
 * Reads a ledger, whatever state it is in: cut short, with garbage in it, or larger than memory would like. A line that
 * makes no sense costs no other line; what is read is checked, so that no number in it can mean somebody else. It ends nobody.
 */
import { closeSync, openSync, readSync } from "node:fs"
import { StringDecoder } from "node:string_decoder"

/** The first line of a ledger: who wrote it. */
export interface LedgerOwner {
  readonly pid: number
  /** Field 22 of its stat; 0 where the platform has none. */
  readonly start: number
  readonly boot: string
  /** The PID namespace in which all numbers of the ledger are meant; empty where the platform has none. */
  readonly namespace: string
}

export interface NotedProcess {
  readonly pid: number
  readonly start: number
}

/** What a dead runtime had running. */
export interface Ledger {
  readonly owner: LedgerOwner
  readonly processes: ReadonlyArray<NotedProcess>
  /** Values of CRECHE_RUNTIME in what it started and did not see end. */
  readonly markers: ReadonlySet<string>
  /** A private directory of its spawn server's. */
  readonly directory: string | undefined
}

/** Longer lines are none of ours. */
const longestLine = 64 * 1024
const pieceBytes = 64 * 1024
/** As large as Linux lets a pid get. */
const largestPid = 2 ** 22

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

const parseLine = (line: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

const text = (value: unknown): string => (typeof value === "string" ? value : "")

/** Not 1 and not 0, which is our own group; nothing that a rounding could turn into another one. */
const isPid = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 1 && value <= largestPid

const isStart = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 0

/** Takes a ledger line by line; pure. */
export class LedgerReader {
  private owner: LedgerOwner | undefined
  private first = true
  private readonly begun = new Map<number, string>()
  private readonly live = new Map<number, NotedProcess>()
  private directory: string | undefined

  line(raw: string): void {
    const line = raw.length > longestLine ? undefined : parseLine(raw)
    if (this.first) {
      this.first = false
      this.owner = line === undefined ? undefined : ownerOf(line)
      return
    }
    if (line === undefined) return
    const { begin, live, end, marker, pid, start, directory } = line
    if (typeof begin === "number") this.begun.set(begin, text(marker))
    else if (typeof live === "number") {
      if (isPid(pid) && isStart(start)) this.live.set(live, { pid, start })
    } else if (typeof end === "number") {
      this.begun.delete(end)
      this.live.delete(end)
    } else if (typeof directory === "string") this.directory = directory
  }

  /** Undefined: it does not even say who wrote it. */
  done(): Ledger | undefined {
    if (this.owner === undefined) return undefined
    return {
      owner: this.owner,
      processes: [...this.live.values()],
      markers: new Set([...this.begun.values()].filter((marker) => marker !== "")),
      directory: this.directory,
    }
  }
}

const ownerOf = ({ pid, start, boot, namespace }: Record<string, unknown>): LedgerOwner | undefined =>
  typeof pid === "number" && typeof start === "number"
    ? { pid, start, boot: text(boot), namespace: text(namespace) }
    : undefined

export const parseLedger = (whole: string): Ledger | undefined => {
  const reader = new LedgerReader()
  for (const line of whole.split("\n")) reader.line(line)
  return reader.done()
}

/** Piece by piece: a ledger that could not be compacted may be large. Throws where it cannot be read. */
export const readLedger = (path: string): Ledger | undefined => {
  const fd = openSync(path, "r")
  try {
    const reader = new LedgerReader()
    const decoder = new StringDecoder("utf8")
    const piece = Buffer.allocUnsafe(pieceBytes)
    let rest = ""
    for (let bytes: number; (bytes = readSync(fd, piece, 0, pieceBytes, null)) > 0;) {
      const lines = (rest + decoder.write(piece.subarray(0, bytes))).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) reader.line(line)
      // Too long to be one of ours; one character more than that is enough to know it.
      if (rest.length > longestLine) rest = rest.slice(0, longestLine + 1)
    }
    reader.line(rest)
    return reader.done()
  } finally {
    closeSync(fd)
  }
}
