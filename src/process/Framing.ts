/**
 * From bytes to frames: lines, text, or bodies with a Content-Length. Each framer is a small stateful object
 * with memory bounded by its limit; it reports what it had to drop and goes on. Invalid UTF-8 becomes U+FFFD;
 * a character cut in two by a read does not. Used by session actors (on stdout) and by transports.
 */
import { StringDecoder } from "node:string_decoder"

export type FramingName = "lines" | "text" | "contentLength"

/** A frame that was not delivered. `bytes`: its size as far as it is known, without its newline or header. */
export interface DroppedFrame {
  readonly reason: "tooLong" | "malformed"
  readonly bytes: number
  readonly detail: string
}

export interface Framing {
  /** The frames that are whole now, in order. */
  readonly push: (chunk: Buffer) => ReadonlyArray<string>
  /** The stream is at its end: the half line or the rest of a character, if there is one. */
  readonly end: () => ReadonlyArray<string>
}

export interface FramingOptions {
  /** A longer line or body is dropped. Bytes. */
  readonly maxBytes: number
  /** Called once for each dropped frame: of a line when its end is reached, of a message with a header at once. */
  readonly onDropped: (dropped: DroppedFrame) => void
}

const newline = 0x0a
const none: ReadonlyArray<string> = []

/** Bytes that wait for the rest of their frame: appended in amortised constant time, however small the pieces. */
class Held {
  private bytes: Buffer = Buffer.alloc(0)
  length = 0

  /** `usual`: what is never exceeded by much; doubling stops there. */
  append(chunk: Buffer, usual: number): void {
    const wanted = this.length + chunk.length
    if (wanted > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(wanted, Math.min(this.bytes.length * 2, usual)))
      this.bytes.copy(grown, 0, 0, this.length)
      this.bytes = grown
    }
    chunk.copy(this.bytes, this.length)
    this.length = wanted
  }

  view(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  /** A buffer that grew large is given back: a session that once had a long line does not keep it. */
  clear(): void {
    this.length = 0
    if (this.bytes.length > 4096) this.bytes = Buffer.alloc(0)
  }
}

class LineFraming implements Framing {
  private held: Held | undefined
  /** Bytes of the line that is being skipped; -1: none is. */
  private skipped = -1
  private readonly options: FramingOptions

  constructor(options: FramingOptions) {
    this.options = options
  }

  push = (chunk: Buffer): ReadonlyArray<string> => {
    let rest = chunk
    if (this.skipped >= 0) {
      const at = rest.indexOf(newline)
      if (at < 0) {
        this.skipped += rest.length
        return none
      }
      this.drop(this.skipped + at)
      this.skipped = -1
      rest = rest.subarray(at + 1)
    }
    const last = rest.lastIndexOf(newline)
    if (last < 0) {
      this.hold(rest)
      return none
    }
    let whole = rest.subarray(0, last)
    if (this.held !== undefined && this.held.length > 0) {
      this.held.append(whole, this.options.maxBytes)
      whole = this.held.view()
    }
    const frames = whole.length <= this.options.maxBytes ? splitLines(whole) : this.splitWithin(whole)
    this.held?.clear()
    if (last + 1 < rest.length) this.hold(rest.subarray(last + 1))
    return frames
  }

  end = (): ReadonlyArray<string> => {
    if (this.skipped >= 0) {
      this.drop(this.skipped)
      this.skipped = -1
      return none
    }
    if (this.held === undefined || this.held.length === 0) return none
    const frames = splitLines(this.held.view())
    this.held.clear()
    return frames
  }

  private hold(rest: Buffer): void {
    if (rest.length === 0) return
    const held = this.held?.length ?? 0
    if (held + rest.length > this.options.maxBytes) {
      this.held?.clear()
      this.skipped = held + rest.length
      return
    }
    this.held ??= new Held()
    this.held.append(rest, this.options.maxBytes)
  }

  /** Some line of the block may be over the limit: looked at one by one. */
  private splitWithin(block: Buffer): ReadonlyArray<string> {
    const frames: Array<string> = []
    for (let start = 0; start <= block.length;) {
      const at = block.indexOf(newline, start)
      const end = at < 0 ? block.length : at
      if (end - start > this.options.maxBytes) this.drop(end - start)
      else frames.push(...splitLines(block.subarray(start, end)))
      start = end + 1
    }
    return frames
  }

  private drop(bytes: number): void {
    const { maxBytes, onDropped } = this.options
    onDropped({
      reason: "tooLong",
      bytes,
      detail: `a line of ${bytes} bytes is over the limit of ${maxBytes}: dropped`,
    })
  }
}

/** `block` holds whole lines, the last without its newline. Decoded once: a newline byte is never part of a character. */
const splitLines = (block: Buffer): ReadonlyArray<string> => {
  const text = block.toString("utf8")
  const lines = text.split("\n")
  if (text.includes("\r")) {
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i]!
      if (line.endsWith("\r")) lines[i] = line.slice(0, -1)
    }
  }
  return lines
}

class TextFraming implements Framing {
  private readonly decoder = new StringDecoder("utf8")

  push = (chunk: Buffer): ReadonlyArray<string> => {
    const text = this.decoder.write(chunk)
    return text === "" ? none : [text]
  }

  end = (): ReadonlyArray<string> => {
    const text = this.decoder.end()
    return text === "" ? none : [text]
  }
}

/** No line of a header is longer; what is, is output that does not belong there, passed on in pieces of that size. Bytes. */
const maxHeaderBytes = 8192

/** Between two messages; a `Content-` field has opened a header, or none has yet. */
interface HeaderState {
  readonly isOpen: boolean
  /** Undefined before a valid Content-Length. */
  readonly length: number | undefined
}
const closedHeader: HeaderState = { isOpen: false, length: undefined }

/**
 * Output that stands between the messages becomes frames of its own, a line each, and costs no message: programs greet, and
 * libraries warn. Also where it has no newline of its own in front of the next header.
 */
class ContentLengthFraming implements Framing {
  private held = new Held()
  private head: HeaderState = closedHeader
  /** Body bytes still to come; -1: a header is being read. */
  private body = -1
  /** The body that is being read is over the limit, reported already. */
  private isSkipping = false
  private readonly options: FramingOptions

  constructor(options: FramingOptions) {
    this.options = options
  }

  push = (chunk: Buffer): ReadonlyArray<string> => {
    const frames: Array<string> = []
    let rest = chunk
    while (rest.length > 0) rest = this.body < 0 ? this.header(rest, frames) : this.content(rest, frames)
    return frames
  }

  end = (): ReadonlyArray<string> => {
    const stray: Array<string> = []
    if (this.body >= 0 || this.head.isOpen) {
      if (!this.isSkipping) this.malformed(this.held.length, "the stream ended inside a message")
    } else if (this.held.length > 0) stray.push(this.held.view().toString("utf8"))
    this.held.clear()
    this.head = closedHeader
    this.body = -1
    this.isSkipping = false
    return stray
  }

  /** Takes one line, or the piece of it that is there. */
  private header(rest: Buffer, frames: Array<string>): Buffer {
    const at = rest.subarray(0, maxHeaderBytes - this.held.length + 1).indexOf(newline)
    const taken = at < 0 ? Math.min(rest.length, maxHeaderBytes - this.held.length) : at
    this.held.append(rest.subarray(0, taken), maxHeaderBytes)
    if (at >= 0 || this.held.length >= maxHeaderBytes) {
      const line = this.held.view().toString("utf8")
      this.held.clear()
      this.line(line.endsWith("\r") ? line.slice(0, -1) : line, frames)
    }
    return rest.subarray(at < 0 ? taken : taken + 1)
  }

  private line(line: string, frames: Array<string>): void {
    const { isOpen, length } = this.head
    if (line === "") {
      this.head = closedHeader
      if (length !== undefined) this.begin(length, frames)
      else if (isOpen) this.malformed(0, "a header without a valid Content-Length")
      return
    }
    const field = /^(.*?)Content-Length[ \t]*:[ \t]*(\S*)[ \t]*$/is.exec(line)
    if (field !== null) {
      if (field[1] !== "") frames.push(field[1]!)
      const value = /^\d{1,15}$/.test(field[2]!) ? Number(field[2]) : undefined
      this.head = { isOpen: true, length: value }
    } else if (/^Content-[a-z]+[ \t]*:/i.test(line)) {
      this.head = { isOpen: true, length }
    } else if (!isOpen || !/^[a-z][a-z0-9-]*[ \t]*:/i.test(line)) {
      frames.push(line)
    }
  }

  private begin(length: number, frames: Array<string>): void {
    if (length === 0) return void frames.push("")
    const { maxBytes, onDropped } = this.options
    this.body = length
    this.isSkipping = length > maxBytes
    // At once: its end may be long in coming, or never come.
    if (this.isSkipping) {
      const detail = `a message of ${length} bytes is over the limit of ${maxBytes}: dropped`
      onDropped({ reason: "tooLong", bytes: length, detail })
    }
  }

  private content(rest: Buffer, frames: Array<string>): Buffer {
    const taken = Math.min(this.body, rest.length)
    const part = rest.subarray(0, taken)
    this.body -= taken
    const isWhole = this.body === 0
    if (!this.isSkipping) {
      if (isWhole && this.held.length === 0) {
        frames.push(part.toString("utf8"))
      } else {
        this.held.append(part, taken + this.body + this.held.length)
        if (isWhole) {
          frames.push(this.held.view().toString("utf8"))
          this.held.clear()
        }
      }
    }
    if (isWhole) {
      this.body = -1
      this.isSkipping = false
    }
    return rest.subarray(taken)
  }

  private malformed(bytes: number, detail: string): void {
    this.options.onDropped({ reason: "malformed", bytes, detail })
  }
}

export const makeFraming = (name: FramingName, options: FramingOptions): Framing => {
  switch (name) {
    case "lines":
      return new LineFraming(options)
    case "text":
      return new TextFraming()
    case "contentLength":
      return new ContentLengthFraming(options)
  }
}
