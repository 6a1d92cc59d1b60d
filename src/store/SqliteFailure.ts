/**
 * What SQLite's refusals mean for an operator: one sentence that names the file and the remedy. Anything that is no
 * refusal of SQLite's is a bug and stays one.
 */
import { StoreUnavailable } from "../domain/Errors.ts"

/** Primary result codes (the low byte of the extended ones). */
const codes = {
  perm: 3,
  busy: 5,
  locked: 6,
  noMemory: 7,
  readonly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
} as const

interface SqliteError extends Error {
  readonly code: string
  readonly errcode?: number
}

const isSqliteError = (error: unknown): error is SqliteError =>
  error instanceof Error && "code" in error && (error.code === "ERR_SQLITE_ERROR" || error.code === "ERR_INVALID_STATE")

const primaryCode = (error: SqliteError): number => (error.errcode ?? 0) & 0xff

const otherData = "or give another data directory with --data or CRECHE_DATA"

const describe = (file: string, error: SqliteError): string => {
  if (error.code === "ERR_INVALID_STATE") return `${file} is closed`
  const said = `${error.message}, SQLite code ${error.errcode}`
  switch (primaryCode(error)) {
    case codes.full:
      return `${file}: the disk is full (${said}); free some space, and it goes on`
    case codes.readonly:
    case codes.perm:
      return `${file} cannot be written (${said}); make the file and its directory writable for this user, ${otherData}`
    case codes.busy:
    case codes.locked:
      return `${file} is locked by another process (${said}); end what else has it open, and it goes on`
    case codes.corrupt:
    case codes.notADatabase:
      return corrupt(file, said)
    case codes.cannotOpen:
      return `${file} cannot be opened (${said}); make sure that its directory exists and that this user may write there, ${otherData}`
    case codes.io:
      return `${file}: reading or writing failed (${said}); check the disk and the free space`
    case codes.noMemory:
      return `${file}: out of memory (${said})`
    default:
      return `${file}: ${said}`
  }
}

const corrupt = (file: string, said: string): string =>
  `${file} is not a sound database (${said}); nothing in it was changed. Move it away together with its -wal, -shm, -commits and -commits2 files and restore a copy, ${otherData}`

export const corruptStore = (file: string, said: string): StoreUnavailable =>
  new StoreUnavailable({ detail: corrupt(file, said) })

/** Whole records that say nothing: no damage to a disk leaves them. */
export const strangeLog = (file: string, said: string): StoreUnavailable =>
  new StoreUnavailable({
    detail: `the log of commits beside ${file} (-commits, -commits2) holds what this version cannot read (${said}); nothing was changed. Use the version that wrote it, ${otherData}`,
  })

export const foreignStore = (file: string): StoreUnavailable =>
  new StoreUnavailable({
    detail: `${file} is a database of another program; nothing in it was changed. Move it away, ${otherData}`,
  })

export const newerStore = (file: string, found: number, known: number): StoreUnavailable =>
  new StoreUnavailable({
    detail: `${file} was written by a newer version (schema ${found}; this version knows up to ${known}); nothing in it was changed. Use the newer version, ${otherData}`,
  })

const noRoom: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EIO"])

/** The failure that an error means; throws the error again where it is a bug of ours. */
export const toFailure = (file: string, error: unknown): StoreUnavailable => {
  if (error instanceof StoreUnavailable) return error
  if (isSqliteError(error)) return new StoreUnavailable({ detail: describe(file, error) })
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof Error && code !== undefined && noRoom.has(code)) {
    return new StoreUnavailable({
      detail: `${file}: what was to be stored could not be written (${message}); free some space or check the disk, and it goes on`,
    })
  }
  if (error instanceof Error && typeof code === "string" && /^E[A-Z]+$/.test(code)) {
    return new StoreUnavailable({
      detail: `${file} cannot be opened (${message}); make its directory writable for this user, ${otherData}`,
    })
  }
  throw error
}
