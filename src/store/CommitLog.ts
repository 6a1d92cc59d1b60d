/**
 * The file in which commits become durable: one write for all that share it, some microseconds where a transaction of
 * the database takes ten times as long. It holds what the database does not have yet and starts over once that has
 * taken everything in; each start is an epoch, and the database knows the newest epoch that it holds. So what the log
 * says counts exactly once, whenever the process dies. Knows nothing of what it keeps.
 */
import { closeSync, constants, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs"
import { crc32 } from "node:zlib"

/** A record: one line `creche EPOCH BYTES CRC32`, then so many bytes of text, then a line feed. */
const magic = "creche"
const headLimit = 64
const lineFeed = 10

export class CommitLog {
  readonly file: string
  readonly #fd: number
  readonly #sync: boolean
  #epoch: number
  #position = 0

  /** Goes on after `epoch`, which the database holds. With `sync` each record is on the disk itself before `append` returns. */
  constructor(file: string, epoch: number, sync: boolean) {
    this.file = file
    // Not emptied: the room that it has is kept, for the day when the disk is full.
    this.#fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600)
    this.#epoch = epoch + 1
    this.#sync = sync
  }

  /** The epoch of what is appended now. */
  get epoch(): number {
    return this.#epoch
  }

  /** Throws where the text could not be written whole; the next record then takes its place. */
  append(text: string): void {
    const body = Buffer.from(text)
    const record = Buffer.concat([Buffer.from(`${magic} ${this.#epoch} ${body.length} ${crc32(body)}\n`), body, end])
    let written = 0
    while (written < record.length) {
      written += writeSync(this.#fd, record, written, record.length - written, this.#position + written)
    }
    if (this.#sync) fdatasyncSync(this.#fd)
    this.#position += record.length
  }

  /** The database holds all of it: begins anew, over the old. */
  startOver(): void {
    if (this.#position === 0) return
    this.#position = 0
    this.#epoch++
  }

  /** With `remove` the file goes too: only where the database holds all of it. */
  close(remove: boolean): void {
    closeSync(this.#fd)
    if (remove) rmSync(this.file, { force: true })
  }
}

const end = Buffer.from("\n")

/**
 * What a log still holds for a database that has everything through `epoch`: its records, up to the first that is not
 * whole. A log that does not follow on from there (the machine lost power, or the database is another copy) holds nothing.
 */
export const readLog = (file: string, epoch: number): ReadonlyArray<string> => {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []
    throw error
  }
  const records: Array<string> = []
  for (let at = 0; at < bytes.length;) {
    const headEnd = bytes.subarray(at, at + headLimit).indexOf(lineFeed)
    if (headEnd < 0) break
    const head = bytes.toString("latin1", at, at + headEnd).split(" ")
    const [size, sum] = [Number(head[2]), Number(head[3])]
    const from = at + headEnd + 1
    if (head.length !== 4 || head[0] !== magic || Number(head[1]) !== epoch + 1) break
    if (!Number.isSafeInteger(size) || size < 0 || from + size >= bytes.length) break
    const body = bytes.subarray(from, from + size)
    if (crc32(body) !== sum || bytes[from + size] !== lineFeed) break
    records.push(body.toString())
    at = from + size + 1
  }
  return records
}
