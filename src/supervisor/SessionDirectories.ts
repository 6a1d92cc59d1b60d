/**
 * The directories of a session below the data directory: `sessions/ID`, where it works unless its spec has a `cwd`, and
 * `tmp/ID`, its TMPDIR. They are made before its first process and go with the session; what an earlier runtime left and
 * no record speaks of is swept. Refuses every name that is no session's id, and a parent that is a link: a child may
 * plant what it likes in its directories, or in their place, and nothing outside them is removed.
 */
import { lstatSync, mkdirSync, unlinkSync } from "node:fs"
import { chmod, lstat, readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

const idPattern = /^ses_[A-Za-z0-9_-]{1,100}$/

const parents = ["sessions", "tmp"] as const
type Parent = (typeof parents)[number]

const below = (dataDirectory: string, parent: Parent, session: string): string => {
  if (!idPattern.test(session)) throw new Error(`${JSON.stringify(session)} is no id of a session`)
  return join(dataDirectory, parent, session)
}

/** Where a session without a `cwd` works. */
export const directoryOf = (dataDirectory: string, session: string): string => below(dataDirectory, "sessions", session)

/** Its TMPDIR. A unix socket in it has what the system allows for a path (107 bytes on Linux) less this path's length. */
export const temporaryOf = (dataDirectory: string, session: string): string => below(dataDirectory, "tmp", session)

const isDirectory = (path: string): boolean | undefined => lstatSync(path, { throwIfNoEntry: false })?.isDirectory()

const notDirectory = (path: string): Error =>
  Object.assign(new Error(`${path} is no directory (a link to one does not count)`), { code: "ENOTDIR" })

/** A private directory, empty unless it was there already; what stands in its place and is none was put there by the child. */
const makeOne = (dataDirectory: string, parent: Parent, session: string): string => {
  const path = below(dataDirectory, parent, session)
  const above = join(dataDirectory, parent)
  if (isDirectory(above) === false) throw notDirectory(above)
  const there = isDirectory(path)
  if (there === true) return path
  if (there === false) unlinkSync(path)
  mkdirSync(path, { recursive: true, mode: 0o700 })
  return path
}

export interface OwnDirectories {
  /** Where the session works: the `cwd` given, or its own. */
  readonly cwd: string
  readonly temporary: string
}

/** Both directories; with a `cwd` the temporary one alone. Throws what the operating system says. */
export const make = (dataDirectory: string, session: string, cwd: string | null = null): OwnDirectories => ({
  cwd: cwd ?? makeOne(dataDirectory, "sessions", session),
  temporary: makeOne(dataDirectory, "tmp", session),
})

/** What its owner may not write in cannot be emptied by it either; package caches are made read-only. */
const unlock = async (directory: string): Promise<void> => {
  await chmod(directory, 0o700)
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await unlock(join(directory, entry.name))
  }
}

const removeOne = async (dataDirectory: string, parent: Parent, session: string): Promise<void> => {
  const path = below(dataDirectory, parent, session)
  const above = await lstat(join(dataDirectory, parent)).catch(() => undefined)
  if (above === undefined) return
  if (!above.isDirectory()) throw notDirectory(join(dataDirectory, parent))
  const erase = () => rm(path, { recursive: true, force: true, maxRetries: 3 })
  await erase().catch(async (error: unknown) => {
    if (isDirectory(path) !== true) throw error
    await unlock(path)
    await erase()
  })
}

/** Both directories, whatever is in them; links are removed and not followed. Call it when the last process is gone. */
export const remove = async (dataDirectory: string, session: string): Promise<void> => {
  const outcomes = await Promise.allSettled(parents.map((parent) => removeOne(dataDirectory, parent, session)))
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason
}

/**
 * Removes the directories of every session but the given ones, and nothing else that lies there. Call it before a
 * session is made. Failing is no reason not to start.
 */
export const sweep = (dataDirectory: string, keep: ReadonlySet<string>): Effect.Effect<void> =>
  Effect.ignore(
    Effect.tryPromise(() =>
      Promise.all(
        parents.map(async (parent) => {
          const names = await readdir(join(dataDirectory, parent)).catch(() => [])
          const left = names.filter((name) => idPattern.test(name) && !keep.has(name))
          await Promise.allSettled(left.map((name) => removeOne(dataDirectory, parent, name)))
        }),
      ),
    ),
  )

/** What a runtime does with directories. `make` throws what the operating system says. */
export interface Directories {
  readonly make: (dataDirectory: string, session: string, cwd: string | null) => OwnDirectories
  /** What cannot be removed is left for the next runtime's sweep. */
  readonly remove: (dataDirectory: string, session: string) => Effect.Effect<void>
  readonly sweep: (dataDirectory: string, keep: ReadonlySet<string>) => Effect.Effect<void>
}

/** On the disk by default; a reference, so that a runtime can be had that leaves it alone. */
export const SessionDirectories = Context.Reference<Directories>("creche/supervisor/SessionDirectories", {
  defaultValue: () => ({
    make,
    remove: (dataDirectory, session) => Effect.ignore(Effect.tryPromise(() => remove(dataDirectory, session))),
    sweep,
  }),
})
