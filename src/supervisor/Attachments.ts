/**
 * Files that a client sends with a prompt: read when the turn is handed in, so that what is on record is what was meant,
 * whatever becomes of the file. Only regular files below the allowed roots, links followed, up to a size.
 */
import { realpath } from "node:fs/promises"
import * as Effect from "effect/Effect"
import { InvalidParams } from "../domain/Errors.ts"
import { fileResource } from "../domain/FileResource.ts"
import type { ContentBlock, Prompt } from "../domain/Prompt.ts"
import { inWords, openConfined, Outside, Refused } from "./ConfinedFile.ts"

export interface AttachmentLimits {
  /** Absolute directories. */
  readonly roots: ReadonlyArray<string>
  /** Where relative paths begin. */
  readonly cwd: string
  /** Of all files of one prompt together. */
  readonly maxBytes: number
}

const readFile = async (given: string, limits: AttachmentLimits, left: number): Promise<Uint8Array> => {
  const { file, size } = await openConfined(given, limits)
  try {
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
    await file.close()
  }
}

const said = (error: unknown, { roots }: AttachmentLimits): string =>
  error instanceof Outside
    ? `is not below ${roots.map((root) => JSON.stringify(root)).join(" or ")}; attachments.roots allows more`
    : inWords(error, "read")

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
            issues: [{ path: `prompt.${index}.path`, message: `${JSON.stringify(block.path)} ${said(error, limits)}` }],
          }),
      })
      left -= bytes.length
      blocks.push(fileResource(block.path, bytes))
    }
    return blocks
  })
