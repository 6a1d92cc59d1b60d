/**
 * Where commits become durable: one write to a file for all that share it, some microseconds where a transaction of the
 * database takes ten times as long. It holds what the database does not have yet. There are two files: while the
 * database takes in what one holds, the other is written; each turn is an epoch, and the database knows the newest epoch
 * that it holds. So what the log says counts exactly once, whenever the process dies. Knows nothing of what it keeps.
 */
import { closeSync, constants, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs"
import { crc32 } from "node:zlib"

/** The files stand beside the database under its name and these. */
export const logSuffixes = ["-commits", "-commits2"] as const

/**
 * A record: a head of 64 bytes, `creche EPOCH BYTES CRC32 BEFORE`, filled up with spaces to a line feed; then so many
 * bytes of text, then a line feed. BEFORE: how many bytes the epoch before has; 0 where the database holds that one.
 */
const magic = "creche"
const headSize = 64
const lineFeed = 10

const headOf = (epoch: number, size: number, sum: number, before: number): string =>
  `${`${magic} ${epoch} ${size} ${sum} ${before}`.padEnd(headSize - 1)}\n`

/** Records up to this (UTF-16 units) are put together in the same place each time. */
const usualLength = 1024 * 1024

export class CommitLog {
  readonly #files: ReadonlyArray<string>
  readonly #fds: ReadonlyArray<number>
  readonly #sync: boolean
  readonly #buffer = Buffer.allocUnsafeSlow(headSize + 3 * usualLength + 1)
  #epoch: number
  #position = 0
  #before = 0

  /** Beside the database `file`. Goes on after `epoch`, which the database holds. With `sync` each record is on the disk itself before `append` returns. */
  constructor(file: string, epoch: number, sync: boolean) {
    this.#files = logSuffixes.map((suffix) => file + suffix)
    // Not emptied: the room that they have is kept, for the day when the disk is full.
    this.#fds = this.#files.map((each) => openSync(each, constants.O_RDWR | constants.O_CREAT, 0o600))
    this.#epoch = epoch + 1
    this.#sync = sync
  }

  /** The epoch of what is appended now. */
  get epoch(): number {
    return this.#epoch
  }

  get #fd(): number {
    return this.#fds[this.#epoch % 2]!
  }

  /** Throws where the text could not be written whole; the next record then takes its place. */
  append(text: string): void {
    const usual = text.length <= usualLength
    const buffer = usual ? this.#buffer : Buffer.allocUnsafeSlow(headSize + Buffer.byteLength(text) + 1)
    const size = buffer.write(text, headSize)
    const sum = crc32(buffer.subarray(headSize, headSize + size))
    buffer.write(headOf(this.#epoch, size, sum, this.#before), 0, "latin1")
    buffer[headSize + size] = lineFeed
    const length = headSize + size + 1
    for (let written = 0; written < length;) {
      written += writeSync(this.#fd, buffer, written, length - written, this.#position + written)
    }
    if (this.#sync) fdatasyncSync(this.#fd)
    this.#position += length
  }

  /** Goes on in the other file, over what stands there: the database must hold all of that one. Answers the epoch that ends. */
  turnOver(): number {
    this.#before = this.#position
    this.#position = 0
    return this.#epoch++
  }

  /** With `remove` the files go too: only where the database holds all of it. */
  close(remove: boolean): void {
    for (const fd of this.#fds) closeSync(fd)
    if (remove) for (const file of this.#files) rmSync(file, { force: true })
  }
}

interface LogFile {
  /** Of its first record. */
  readonly epoch: number
  readonly before: number
  readonly records: ReadonlyArray<string>
  /** What its records take. */
  readonly size: number
}

/** The records of one file, up to the first that is not whole. */
const readFile = (file: string): LogFile | undefined => {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined
    throw error
  }
  let found: LogFile | undefined
  const records: Array<string> = []
  let at = 0
  while (at + headSize < bytes.length) {
    const head = bytes
      .toString("latin1", at, at + headSize)
      .trimEnd()
      .split(" ")
    const [epoch, size, sum, before] = head.slice(1).map(Number) as [number, number, number, number]
    if (head.length !== 5 || head[0] !== magic || bytes[at + headSize - 1] !== lineFeed) break
    if (found !== undefined && epoch !== found.epoch) break
    found ??= { epoch, before, records, size: 0 }
    const from = at + headSize
    if (!Number.isSafeInteger(size) || size < 0 || from + size >= bytes.length) break
    const body = bytes.subarray(from, from + size)
    if (crc32(body) !== sum || bytes[from + size] !== lineFeed) break
    records.push(body.toString())
    at = from + size + 1
  }
  return found === undefined ? undefined : { ...found, size: at }
}

export interface ReadLog {
  readonly records: ReadonlyArray<string>
  /** The newest epoch that was ever begun, or `epoch`: nothing may be written under it, or one before, again. */
  readonly epoch: number
}

/**
 * What the log beside `file` still holds for a database that has everything through `epoch`. What does not follow on from
 * there (the machine lost power, or the database is another copy) counts for nothing.
 */
export const readLog = (file: string, epoch: number): ReadLog => {
  const files = logSuffixes.flatMap((suffix) => readFile(file + suffix) ?? [])
  const first = files.find((each) => each.epoch === epoch + 1)
  const second = first && files.find((each) => each.epoch === epoch + 2 && each.before === first.size)
  return {
    records: [...(first?.records ?? []), ...(second?.records ?? [])],
    // A damaged head may say anything.
    epoch: Math.max(epoch, ...files.map((each) => (each.epoch < 2 ** 48 ? each.epoch : 0))),
  }
}
