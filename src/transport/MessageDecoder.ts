/**
 * Bytes of one connection → texts of JSON-RPC messages. Tells NDJSON from Content-Length framing by the first
 * bytes, holds at most one message of `limitBytes`, skips what is longer and goes on, and refuses bytes that
 * are not UTF-8. It parses no JSON. Stricter than `process/Framing`, which must take what a child prints: here every
 * refusal is reported in its place among the messages, since it gets an answer. Pushed by `Connection` and the client.
 */
import { isUtf8 } from "node:buffer"

export type Framing = "lines" | "contentLength"

export interface MessageReceiver {
  readonly onMessage: (text: string) => void
  /** Once for each message over the limit; its bytes are skipped. */
  readonly onTooLarge: () => void
  /** What came is no message of this framing. */
  readonly onMalformed: (detail: string) => void
}

export const defaultLimitBytes = 16 * 1024 * 1024

const newline = 10
const headerLimitBytes = 8192
const notUtf8 = "the message is not valid UTF-8"
const contentPrefix = "content-"

/** Bytes held until their message is whole: one growing buffer, since a Buffer for each chunk could cost a hundred times the bytes. */
class HeldBytes {
  #buffer = Buffer.alloc(0)
  #start = 0
  #end = 0

  get length(): number {
    return this.#end - this.#start
  }

  append(chunk: Buffer): void {
    const needed = this.length + chunk.length
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2, 1024))
      this.#buffer.copy(grown, 0, this.#start, this.#end)
      this.#buffer = grown
    } else if (this.#end + chunk.length > this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#start, this.#end)
    } else {
      chunk.copy(this.#buffer, this.#end)
      this.#end += chunk.length
      return
    }
    this.#start = 0
    chunk.copy(this.#buffer, needed - chunk.length)
    this.#end = needed
  }

  /** Valid until the next `append` or `drop`. */
  view(): Buffer {
    return this.#buffer.subarray(this.#start, this.#end)
  }

  drop(bytes: number): void {
    this.#start += bytes
    if (this.#start >= this.#end) this.clear()
  }

  clear(): void {
    this.#start = 0
    this.#end = 0
    if (this.#buffer.length > 65_536) this.#buffer = Buffer.alloc(0)
  }
}

export class MessageDecoder {
  framing: Framing | undefined = undefined
  readonly #receiver: MessageReceiver
  readonly #limit: number
  readonly #held = new HeldBytes()
  /** Lines: inside a line over the limit. */
  #skippingLine = false
  /** Content-Length: bytes of a body over the limit still to come. */
  #skipBytes = 0
  /** Content-Length: the length of the body that follows the header read last. */
  #bodyBytes: number | undefined = undefined
  /** Content-Length: a bad header was reported, and none was found since. */
  #lost = false

  constructor(receiver: MessageReceiver, limitBytes: number = defaultLimitBytes) {
    this.#receiver = receiver
    this.#limit = limitBytes
  }

  push(chunk: Buffer): void {
    if (this.framing === "lines") this.#pushLines(chunk)
    else if (this.framing === "contentLength") this.#pushContentLength(chunk)
    else this.#detect(chunk)
  }

  /** No more bytes come: a last line needs no newline. */
  end(): void {
    if (this.framing === "contentLength") {
      const cutShort = this.#held.length > 0 || this.#bodyBytes !== undefined
      this.#held.clear()
      this.#bodyBytes = undefined
      if (cutShort && !this.#lost) this.#receiver.onMalformed("the input ended inside a message")
    } else if (this.#held.length > 0) {
      const rest = Buffer.from(this.#held.view())
      this.#held.clear()
      this.#line(rest)
    }
  }

  #detect(chunk: Buffer): void {
    this.#held.append(chunk)
    const bytes = this.#held.view()
    let start = 0
    while (start < bytes.length && isSpace(bytes[start])) start++
    const opening = bytes.toString("latin1", start, start + contentPrefix.length).toLowerCase()
    if (contentPrefix.startsWith(opening) && opening.length < contentPrefix.length) {
      // Undecided; but blanks alone, however many, tell nothing and are not kept.
      if (opening === "") this.#held.clear()
      return
    }
    this.framing = opening === contentPrefix ? "contentLength" : "lines"
    const rest = Buffer.from(bytes.subarray(start))
    this.#held.clear()
    this.push(rest)
  }

  #pushLines(chunk: Buffer): void {
    let start = 0
    if (this.#skippingLine) {
      const end = chunk.indexOf(newline)
      if (end < 0) return
      this.#skippingLine = false
      start = end + 1
    }
    const last = chunk.lastIndexOf(newline)
    if (last >= start) {
      if (this.#held.length === 0) this.#block(start === 0 ? chunk.subarray(0, last) : chunk.subarray(start, last))
      else {
        this.#held.append(chunk.subarray(start, last))
        const block = this.#held.view()
        this.#block(block)
        this.#held.clear()
      }
      start = last + 1
    }
    if (start === chunk.length) return
    if (this.#held.length + chunk.length - start > this.#limit) {
      this.#held.clear()
      this.#skippingLine = true
      this.#receiver.onTooLarge()
    } else this.#held.append(start === 0 ? chunk : chunk.subarray(start))
  }

  /** Whole lines, the last without its newline. */
  #block(bytes: Buffer): void {
    if (bytes.length <= this.#limit) {
      const text = bytes.toString("utf8")
      if (!text.includes("\ufffd") || isUtf8(bytes)) {
        let start = 0
        for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
          this.#text(text.slice(start, end))
          start = end + 1
        }
        return this.#text(start === 0 ? text : text.slice(start))
      }
    }
    let start = 0
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, start)) {
      this.#line(bytes.subarray(start, end))
      start = end + 1
    }
    this.#line(bytes.subarray(start))
  }

  #line(bytes: Buffer): void {
    if (bytes.length > this.#limit) this.#receiver.onTooLarge()
    else if (isUtf8(bytes)) this.#text(bytes.toString("utf8"))
    else this.#receiver.onMalformed(notUtf8)
  }

  /** Blank lines between messages are nothing, and so is a byte order mark. */
  #text(line: string): void {
    if (/\S/.test(line)) this.#receiver.onMessage(line.charCodeAt(0) === 0xfeff ? line.slice(1) : line)
  }

  #pushContentLength(chunk: Buffer): void {
    if (this.#skipBytes > 0) {
      const skipped = Math.min(this.#skipBytes, chunk.length)
      this.#skipBytes -= skipped
      if (skipped === chunk.length) return
      chunk = chunk.subarray(skipped)
    }
    this.#held.append(chunk)
    while (this.#skipBytes === 0 && (this.#bodyBytes === undefined ? this.#header() : this.#body()));
  }

  /** True when there may be more to take from what is held. */
  #header(): boolean {
    const bytes = this.#held.view()
    if (bytes.length === 0) return false
    const crlf = bytes.indexOf("\r\n\r\n")
    const within = crlf < 0 || crlf > headerLimitBytes ? headerLimitBytes : crlf
    const text = bytes.toString("latin1", 0, Math.min(bytes.length, within + 4))
    const end = /\r?\n\r?\n/.exec(text)
    if (end === null) {
      if (bytes.length > headerLimitBytes) {
        this.#malformedHeader()
        // A header may have begun in the last bytes.
        this.#held.drop(bytes.length - 64)
      }
      return false
    }
    this.#held.drop(end.index + end[0].length)
    const header = text.slice(0, end.index)
    // The last one, wherever it stands: after a body of a wrong length that is the way back into step.
    const length = Number([...header.matchAll(/content-length:[ \t]*(\d{1,15})[ \t]*(?=\r?\n|$)/gi)].at(-1)?.[1])
    const clean = header.split(/\r?\n/).every((line) => line === "" || /^[A-Za-z-]+:/.test(line))
    if (Number.isNaN(length) || !clean) this.#malformedHeader()
    if (Number.isNaN(length)) return true
    this.#lost = false
    if (length <= this.#limit) {
      this.#bodyBytes = length
      return true
    }
    this.#receiver.onTooLarge()
    const skipped = Math.min(length, this.#held.length)
    this.#held.drop(skipped)
    this.#skipBytes = length - skipped
    return true
  }

  #malformedHeader(): void {
    if (this.#lost) return
    this.#lost = true
    this.#receiver.onMalformed("expected a header `Content-Length: BYTES` and an empty line before each message")
  }

  #body(): boolean {
    const length = this.#bodyBytes ?? 0
    if (this.#held.length < length) return false
    const body = this.#held.view().subarray(0, length)
    const text = isUtf8(body) ? body.toString("utf8") : undefined
    this.#held.drop(length)
    this.#bodyBytes = undefined
    if (text === undefined) this.#receiver.onMalformed(notUtf8)
    else this.#receiver.onMessage(text)
    return true
  }
}

const isSpace = (byte: number | undefined): boolean => byte === 32 || byte === 9 || byte === 10 || byte === 13
