/**
 * One runtime per data directory, which is private to its user. A directory that holds files of somebody else's is never
 * changed, it is refused. The lock is an exclusively held SQLite file, since that is a lock of the operating
 * system's that every platform gives back when its holder dies, however it dies; nothing stale is ever left.
 */
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { makeDirectory } from "./PrivateDirectory.ts"
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
    return `${who} uses the data directory ${this.directory}; end it with SIGTERM, or give another with --data or CRECHE_DATA`
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

const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`)

/** Closes the directory to others where nobody but creche can miss it; throws where it is not ours to change. */
const makePrivate = (directory: string): void => {
  const { mode, uid } = statSync(directory)
  const self = process.getuid?.()
  // No such thing as modes here.
  if (self === undefined) return
  const command = `chmod 700 ${quoted(directory)}`
  if (uid !== self)
    throw new Error(
      `it belongs to another user (uid ${uid}); if it shall be yours: \`sudo chown ${self} ${quoted(directory)} && ${command}\``,
    )
  if ((mode & 0o077) === 0) return
  const isCreches = existsSync(join(directory, lockFile))
  if (!isCreches && readdirSync(directory).length > 0)
    throw new Error(
      `it holds files that are not creche's, and other users may enter it (mode ${(mode & 0o777).toString(8)}); if it shall be private: \`${command}\``,
    )
  chmodSync(directory, 0o700)
}

/** Makes the directory (private to the user) and holds it until the scope closes. */
export const hold = (directory: string): Effect.Effect<void, DataDirectoryInUse | DataDirectoryUnusable, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        makeDirectory(directory)
        makePrivate(directory)
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
