/**
 * One runtime per data directory. The lock is an exclusively held SQLite file, since that is a lock of the operating
 * system's that every platform gives back when its holder dies, however it dies; nothing stale is ever left.
 */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "./Sqlite.ts"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export class DataDirectoryInUse extends Data.TaggedError("DataDirectoryInUse")<{
  readonly directory: string
  /** What the holder wrote of itself, where it did. */
  readonly holder: string | null
}> {
  override get message() {
    const who = this.holder === null ? "another runtime" : `another runtime (pid ${this.holder})`
    return `${who} uses the data directory ${this.directory}; stop it, or give another with --data or CRECHE_DATA`
  }
}

export class DataDirectoryUnusable extends Data.TaggedError("DataDirectoryUnusable")<{
  readonly directory: string
  readonly detail: string
}> {
  override get message() {
    return `the data directory ${this.directory} cannot be used: ${this.detail}; give another with --data or CRECHE_DATA`
  }
}

const lockFile = "runtime.lock"
const pidFile = "runtime.pid"
const sqliteBusy = 5

const readHolder = (directory: string): string | null => {
  try {
    return readFileSync(join(directory, pidFile), "utf8").trim()
  } catch {
    return null
  }
}

/** Makes the directory (private to the user) and holds it until the scope closes. */
export const hold = (directory: string): Effect.Effect<void, DataDirectoryInUse | DataDirectoryUnusable, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        mkdirSync(directory, { recursive: true, mode: 0o700 })
        chmodSync(directory, 0o700)
        const lock = new DatabaseSync(join(directory, lockFile))
        try {
          lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")
        } catch (error) {
          lock.close()
          throw error
        }
        writeFileSync(join(directory, pidFile), `${process.pid}\n`, { mode: 0o600 })
        return lock
      },
      catch: (error) =>
        (error as { readonly errcode?: number }).errcode === sqliteBusy
          ? new DataDirectoryInUse({ directory, holder: readHolder(directory) })
          : new DataDirectoryUnusable({ directory, detail: (error as Error).message }),
    }),
    (lock) =>
      Effect.sync(() => {
        rmSync(join(directory, pidFile), { force: true })
        lock.close()
      }),
  ).pipe(Effect.asVoid)
