/** Makes directories that only the user may enter; those that are there stay as they are. */
import { existsSync, mkdirSync } from "node:fs"
import { dirname } from "node:path"

/** Not `recursive: true`: where a file system makes no directories and says ENOENT, as /proc, Node tries for ever. */
export const makeDirectory = (directory: string): void => {
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (existsSync(directory)) return
    const parent = dirname(directory)
    if (code !== "ENOENT" || existsSync(parent)) throw error
    makeDirectory(parent)
    mkdirSync(directory, { mode: 0o700 })
  }
}
