/** Where the spawn server's socket and fifos live: a fresh directory that only this user may enter. */
import { chmodSync, mkdirSync, mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** sun_path is 104 bytes on macOS and the BSDs, 108 on Linux, with its NUL. */
const longestSocketPath = 103

/** In `directory`, or in the temporary one when a socket's path would get too long. */
export const makeSocketDirectory = (directory: string): string => {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const wanted = join(directory, "spawn-XXXXXX", "s")
  const made = mkdtempSync(
    Buffer.byteLength(wanted) <= longestSocketPath ? join(directory, "spawn-") : join(tmpdir(), "creche-"),
  )
  chmodSync(made, 0o700)
  return made
}
