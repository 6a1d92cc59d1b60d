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
  /** Called once for each dropped frame, when its end is reached. */
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

/** A header block longer than this is malformed. Bytes. */
const maxHeaderBytes = 8192

class ContentLengthFraming implements Framing {
  private held = new Held()
  /** Body bytes still to come; -1: a header is being read. */
  private body = -1
  /** Size of the body that is being skipped for being over the limit; 0: none. */
  private skipping = 0
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
    const bytes = this.skipping > 0 ? this.skipping : this.held.length
    if (bytes > 0 || this.body > 0) this.malformed(bytes, "the stream ended inside a message")
    this.held.clear()
    this.body = -1
    this.skipping = 0
    return none
  }

  private header(rest: Buffer, frames: Array<string>): Buffer {
    const before = this.held.length
    const room = maxHeaderBytes - before
    this.held.append(rest.length > room ? rest.subarray(0, room) : rest, maxHeaderBytes)
    const bytes = this.held.view()
    const end = endOfHeader(bytes, before)
    if (end === undefined) {
      if (bytes.length < maxHeaderBytes) return rest.subarray(rest.length)
      this.malformed(bytes.length, `no end of header within ${maxHeaderBytes} bytes`)
      this.held.clear()
      return rest.subarray(room)
    }
    const after = rest.subarray(end.next - before)
    this.begin(bytes.toString("latin1", 0, end.at), frames)
    return after
  }

  private begin(header: string, frames: Array<string>): void {
    this.held.clear()
    if (header.trim() === "") return
    let length: number | undefined
    let stray = false
    for (const line of header.split("\n").map((text) => (text.endsWith("\r") ? text.slice(0, -1) : text))) {
      const field = /^([A-Za-z][A-Za-z0-9-]*)[ \t]*:[ \t]*(.*?)[ \t]*$/.exec(line)
      if (field === null) stray = true
      else if (field[1]!.toLowerCase() === "content-length" && /^\d{1,15}$/.test(field[2]!)) length = Number(field[2])
    }
    // Output that does not belong there, in front of a header that is one: the message itself is not lost.
    if (stray || length === undefined) {
      this.malformed(
        header.length,
        length === undefined ? "a header without a valid Content-Length" : "stray output before a header",
      )
    }
    if (length === undefined) return
    if (length === 0) frames.push("")
    else {
      this.body = length
      this.skipping = length > this.options.maxBytes ? length : 0
    }
  }

  private content(rest: Buffer, frames: Array<string>): Buffer {
    const taken = Math.min(this.body, rest.length)
    const part = rest.subarray(0, taken)
    this.body -= taken
    const whole = this.body === 0
    if (this.skipping > 0) {
      if (whole) {
        const { maxBytes, onDropped } = this.options
        const bytes = this.skipping
        this.skipping = 0
        onDropped({
          reason: "tooLong",
          bytes,
          detail: `a message of ${bytes} bytes is over the limit of ${maxBytes}: dropped`,
        })
      }
    } else if (whole && this.held.length === 0) {
      frames.push(part.toString("utf8"))
    } else {
      this.held.append(part, taken + this.body + this.held.length)
      if (whole) {
        frames.push(this.held.view().toString("utf8"))
        this.held.clear()
      }
    }
    if (whole) this.body = -1
    return rest.subarray(taken)
  }

  private malformed(bytes: number, detail: string): void {
    this.options.onDropped({ reason: "malformed", bytes, detail })
  }
}

/** The blank line that ends a header, with or without carriage returns. `from`: what was looked at before. */
const endOfHeader = (bytes: Buffer, from: number): { readonly at: number; readonly next: number } | undefined => {
  for (let at = bytes.indexOf(newline, Math.max(0, from - 3)); at >= 0; at = bytes.indexOf(newline, at + 1)) {
    if (bytes[at + 1] === newline) return { at, next: at + 2 }
    if (bytes[at + 1] === 0x0d && bytes[at + 2] === newline) return { at, next: at + 3 }
  }
  // A blank line right at the start ends an empty header.
  return undefined
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
