/**
 * How a guard says that it could not run its command: a line in an unlinked file that all guards of this process append to,
 * read only where one ended as such a guard ends. So a spawn that goes well costs one descriptor number, and no pipe.
 */
import type { ChildProcess } from "node:child_process"
import { randomBytes } from "node:crypto"
import { closeSync, openSync, readSync, unlinkSync } from "node:fs"
import { endianness, tmpdir } from "node:os"
import { join } from "node:path"
import { getSystemErrorMap } from "node:util"
import type { SpawnCall } from "./SpawnCall.ts"

const little = endianness() === "LE"
/** i32 pid of the guard; i32 errno. */
const lineBytes = 8

export class FailureReport {
  readonly fd: number
  private offset = 0
  private readonly errnos = new Map<number, number>()

  /** Throws where there is no place for temporary files. */
  constructor() {
    const path = join(tmpdir(), `creche-report-${process.pid}-${randomBytes(6).toString("hex")}`)
    this.fd = openSync(path, "ax+", 0o600)
    try {
      unlinkSync(path)
    } catch (error) {
      closeSync(this.fd)
      throw error
    }
  }

  /** The errno that the guard with this pid met, once. */
  take(pid: number): number | undefined {
    const line = Buffer.alloc(lineBytes)
    while (readSync(this.fd, line, 0, lineBytes, this.offset) === lineBytes) {
      this.offset += lineBytes
      if (little) this.errnos.set(line.readInt32LE(0), line.readInt32LE(4))
      else this.errnos.set(line.readInt32BE(0), line.readInt32BE(4))
    }
    const errno = this.errnos.get(pid)
    this.errnos.delete(pid)
    return errno
  }
}

/** Undefined: there is no place for it. Guards then say on standard error what they met, and exit 126 or 127. */
export const openReport = (): FailureReport | undefined => {
  try {
    return new FailureReport()
  } catch {
    return undefined
  }
}

const spawnError = ({ file, args }: SpawnCall, errno: number): Error => {
  const [code = `errno ${errno}`] = getSystemErrorMap().get(-errno) ?? []
  const syscall = `spawn ${file}`
  const said = { errno: -errno, code, syscall, path: file, spawnargs: [...args] }
  return Object.assign(new Error(`${syscall} ${code}`), said)
}

/** Exit codes of a guard that could not run its command: see guard.h. */
const isFailure = (code: unknown): boolean => code === 125 || code === 126 || code === 127

/** What the guard alone could meet is told by the events of a command that could not be run: `error`, then `close`. */
export const tellFailure = (child: ChildProcess, call: SpawnCall, report: FailureReport): void => {
  const emit = child.emit.bind(child) as (event: string, ...args: ReadonlyArray<unknown>) => boolean
  let errno: number | undefined
  const tell = (event: string, ...args: ReadonlyArray<unknown>): boolean => {
    if (event === "exit" && isFailure(args[0]) && child.pid !== undefined) {
      errno = report.take(child.pid)
      if (errno !== undefined) {
        Object.assign(child, { exitCode: -errno })
        return emit("error", spawnError(call, errno))
      }
    }
    return event === "close" && errno !== undefined ? emit("close", -errno, null) : emit(event, ...args)
  }
  Object.assign(child, { emit: tell })
}
