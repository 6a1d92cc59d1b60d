/**
 * A file below given directories and nowhere else, however its path gets there: links are followed and must lead to a place
 * below one of them. Where it led is asked once more of what was opened, for a link may take its place in between.
 */
import { constants } from "node:fs"
import { lstat, open, readlink, realpath, type FileHandle } from "node:fs/promises"
import { dirname, resolve, sep } from "node:path"

/** The path leads out of the directories. */
export class Outside extends Error {}

/** What is there is not what may be read or written. */
export class Refused extends Error {}

export const exchanged = (): Refused => new Refused("was exchanged while it was opened; try again")

export const below = (path: string, root: string): boolean =>
  path === root || path.startsWith(root.endsWith(sep) ? root : root + sep)

export interface Confinement {
  /** Absolute directories, as `realpath` gives them. */
  readonly roots: ReadonlyArray<string>
  /** Where relative paths begin. */
  readonly cwd: string
}

/** Where what is open stands now, as the kernel has it; undefined where it does not tell. */
export const placeOf = ({ fd }: FileHandle): Promise<string | undefined> =>
  readlink(`/proc/self/fd/${fd}`).catch(() => undefined)

export interface OpenedFile {
  readonly file: FileHandle
  readonly size: number
}

/** Whether what is there of a path that leads nowhere is outside: whether there is more behind it is not told. */
const leadsOut = async (path: string, roots: ReadonlyArray<string>): Promise<boolean> => {
  let place = dirname(path)
  let real: string | undefined
  while ((real = await realpath(place).catch(() => undefined)) === undefined && dirname(place) !== place) {
    place = dirname(place)
  }
  return !roots.some((root) => below(real ?? place, root))
}

/** Opens a regular file to be read. The caller closes it. */
export const openConfined = async (given: string, { roots, cwd }: Confinement): Promise<OpenedFile> => {
  const path = resolve(cwd, given)
  const real = await realpath(path).catch(async (error: unknown) => {
    throw (await leadsOut(path, roots)) ? new Outside() : error
  })
  if (!roots.some((root) => below(real, root))) throw new Outside()
  // Between the look at the path and its opening a link may have taken its place, or a pipe that nobody writes to.
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new Refused("is no regular file")
    // A directory on the way may have been exchanged for a link, and back again before the path is looked at once more.
    const place = await placeOf(file)
    if (place === undefined) {
      const now = await lstat(real)
      if (now.ino !== stat.ino || now.dev !== stat.dev || (await realpath(real)) !== real) throw exchanged()
    } else if (!roots.some((root) => below(place, root))) throw exchanged()
    return { file, size: stat.size }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** What stands in the way, to be put behind the path. */
export const inWords = (error: unknown, done: "read" | "written"): string => {
  if (error instanceof Refused) return error.message
  const { code } = error as NodeJS.ErrnoException
  switch (code) {
    case "ENOENT":
      return "is not there"
    case "EACCES":
    case "EPERM":
      return `may not be ${done}`
    case "ELOOP":
      return "is a link in a circle, or was exchanged while it was opened"
    default:
      return `cannot be ${done}: ${(error as Error).message}`
  }
}
