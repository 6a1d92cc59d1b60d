/**
 * Files that a client sends with a prompt: read when the turn is handed in, so that what is on record is what was meant,
 * whatever becomes of the file. Only regular files below the allowed roots, links followed, up to a size.
 */
import { constants } from "node:fs"
import { lstat, open, realpath, type FileHandle } from "node:fs/promises"
import { resolve, sep } from "node:path"
import * as Effect from "effect/Effect"
import { InvalidParams } from "../domain/Errors.ts"
import { fileResource } from "../domain/FileResource.ts"
import type { ContentBlock, Prompt } from "../domain/Prompt.ts"

export interface AttachmentLimits {
  /** Absolute directories. */
  readonly roots: ReadonlyArray<string>
  /** Where relative paths begin. */
  readonly cwd: string
  /** Of all files of one prompt together. */
  readonly maxBytes: number
}

class Refused extends Error {}

const below = (path: string, root: string): boolean =>
  path === root || path.startsWith(root.endsWith(sep) ? root : root + sep)

const readFile = async (given: string, limits: AttachmentLimits, left: number): Promise<Uint8Array> => {
  const { roots } = limits
  const real = await realpath(resolve(limits.cwd, given))
  if (!roots.some((root) => below(real, root))) {
    throw new Refused(
      `is not below ${roots.map((root) => JSON.stringify(root)).join(" or ")}; attachments.roots allows more`,
    )
  }
  let file: FileHandle | undefined
  try {
    // Between the look at the path and its opening a link may have taken its place, or a pipe that nobody writes to.
    file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stat = await file.stat()
    const { size } = stat
    if (!stat.isFile()) throw new Refused("is no regular file")
    // A directory on the way may have been exchanged for a link: what was opened is what still stands at the real path.
    const now = await lstat(real)
    if (now.ino !== stat.ino || now.dev !== stat.dev || (await realpath(real)) !== real) {
      throw new Refused("was exchanged while it was read; send it again")
    }
    if (size > left)
      throw new Refused(`is too large: attachments.maxBytes is ${limits.maxBytes} for all files of a prompt`)
    const bytes = Buffer.allocUnsafe(size)
    let length = 0
    while (length < size) {
      const { bytesRead } = await file.read(bytes, length, size - length, length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    return bytes.subarray(0, length)
  } finally {
    await file?.close()
  }
}

const said = (error: unknown): string => {
  if (error instanceof Refused) return error.message
  const { code } = error as NodeJS.ErrnoException
  switch (code) {
    case "ENOENT":
      return "is not there"
    case "EACCES":
    case "EPERM":
      return "may not be read"
    case "ELOOP":
      return "is a link in a circle, or was exchanged while it was read"
    default:
      return `cannot be read: ${(error as Error).message}`
  }
}

export const hasFiles = (prompt: Prompt): boolean =>
  typeof prompt !== "string" && prompt.some(({ type }) => type === "file")

/** The prompt with its files as resources. Fails naming the block. */
export const readAttachments = (prompt: Prompt, given: AttachmentLimits): Effect.Effect<Prompt, InvalidParams> =>
  Effect.gen(function* () {
    if (typeof prompt === "string") return prompt
    const roots = yield* Effect.promise(() => Promise.all(given.roots.map((root) => realpath(root).catch(() => root))))
    const limits = { ...given, roots }
    let left = limits.maxBytes
    const blocks: Array<ContentBlock> = []
    for (const [index, block] of prompt.entries()) {
      if (block.type !== "file") {
        blocks.push(block)
        continue
      }
      const bytes = yield* Effect.tryPromise({
        try: () => readFile(block.path, limits, left),
        catch: (error) =>
          new InvalidParams({
            issues: [{ path: `prompt.${index}.path`, message: `${JSON.stringify(block.path)} ${said(error)}` }],
          }),
      })
      left -= bytes.length
      blocks.push(fileResource(block.path, bytes))
    }
    return blocks
  })
