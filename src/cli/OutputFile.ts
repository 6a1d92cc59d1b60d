/**
 * A file that a command writes for its caller: it appears under its name once all of it is written, readable by the caller
 * alone, and never in place of another one unless that was asked for. Used by `creche export`.
 */
import { randomBytes } from "node:crypto"
import type { Stats } from "node:fs"
import { type FileHandle, open, realpath, rename, stat, unlink } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { CommandFailure } from "./Failure.ts"

export interface OutputFile {
  readonly write: (text: string) => Promise<void>
  /** Puts it in its place. */
  readonly keep: () => Promise<void>
  /** As if nothing had been written. */
  readonly discard: () => Promise<void>
}

const failure = (path: string, detail: string): CommandFailure =>
  new CommandFailure(`cannot write ${path}: ${detail}`, { tag: "OutputUnwritable", file: path })

const taken = (path: string): CommandFailure =>
  new CommandFailure(`${path} is there already; --force replaces it`, { tag: "OutputExists", file: path })

const worded =
  (path: string) =>
  (error: NodeJS.ErrnoException): never => {
    throw error.code === "EEXIST" ? taken(path) : failure(path, error.message)
  }

export const openOutput = async (path: string, force: boolean): Promise<OutputFile> => {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) =>
    error.code === "ENOENT" ? undefined : worded(path)(error),
  )
  if (found === undefined) return beside(path, path, undefined)
  if (found.isDirectory()) throw failure(path, "it is a directory")
  // A pipe or a device has nothing that could be overwritten, and must not be replaced by a file.
  if (!found.isFile()) return straight(path, await open(path, "w").catch(worded(path)))
  if (!force) throw taken(path)
  return beside(path, await realpath(path).catch(worded(path)), found)
}

const straight = (path: string, handle: FileHandle): OutputFile => ({
  write: (text) => handle.appendFile(text).catch(worded(path)),
  keep: () => handle.close(),
  discard: () => handle.close(),
})

/** Written under a name of its own in the same directory. */
const beside = async (path: string, target: string, replaced: Stats | undefined): Promise<OutputFile> => {
  const part = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.part`)
  const handle = await open(part, "wx", 0o600).catch(worded(path))
  const discard = async () => {
    await handle.close().catch(() => {})
    await unlink(part).catch(() => {})
  }
  return {
    write: (text) => handle.appendFile(text).catch(worded(path)),
    keep: async () => {
      try {
        if (replaced === undefined) {
          // Takes the name only where nobody else took it meanwhile.
          await open(target, "wx", 0o600).then((claimed) => claimed.close())
        } else await handle.chmod(replaced.mode & 0o777)
        await handle.datasync()
        await handle.close()
        await rename(part, target)
      } catch (error) {
        await discard()
        worded(path)(error as NodeJS.ErrnoException)
      }
    },
    discard,
  }
}
