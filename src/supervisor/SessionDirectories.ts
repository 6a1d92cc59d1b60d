/**
 * The directories that sessions without a `cwd` get, below the data directory. One is made before the session's first
 * process and goes with the session; what an earlier runtime left and no record speaks of is swept.
 */
import { mkdirSync } from "node:fs"
import { readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import * as Effect from "effect/Effect"

const parent = (dataDirectory: string): string => join(dataDirectory, "sessions")

export const directoryOf = (dataDirectory: string, session: string): string => join(parent(dataDirectory), session)

/** Throws what the operating system says. */
export const make = (dataDirectory: string, session: string): void => {
  mkdirSync(directoryOf(dataDirectory, session), { recursive: true, mode: 0o700 })
}

export const remove = (dataDirectory: string, session: string): Promise<void> =>
  rm(directoryOf(dataDirectory, session), { recursive: true, force: true })

/** Removes every directory but those of the given sessions. Failing is no reason not to start. */
export const sweep = (dataDirectory: string, keep: ReadonlySet<string>): Effect.Effect<void> =>
  Effect.ignore(
    Effect.tryPromise(async () => {
      const names = await readdir(parent(dataDirectory)).catch(() => [])
      await Promise.all(names.filter((name) => !keep.has(name)).map((name) => remove(dataDirectory, name)))
    }),
  )
