/**
 * Text files that creche reads and writes for an agent, below the directory that its session works in and nowhere else. A
 * file is written beside its place and then takes it: nobody sees half of one, and one that has another name elsewhere is
 * left as it is there. Whether the agent may is decided before.
 */
import { randomBytes } from "node:crypto"
import { constants } from "node:fs"
import { lstat, mkdir, open, realpath, rename, rm, type FileHandle } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import * as Effect from "effect/Effect"
import type { HostAnswer, HostCall } from "../protocols/HostCall.ts"
import { below, exchanged, inWords, openConfined, Outside, placeOf, Refused } from "./ConfinedFile.ts"

/** The most that is read or written at a time. */
export const maxFileBytes = 10 * 1024 * 1024

class TooLarge extends Error {}

const chunkBytes = 256 * 1024
const lineFeed = 10

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const decoded = (bytes: Uint8Array): string => {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new Refused("is no UTF-8 text")
  }
}

/** The lines from `line` (from 1) on, `limit` of them, with their ends: so many bytes of a file of any size are kept. */
const readText = async (
  { root, path, line, limit }: Extract<HostCall, { readonly type: "readTextFile" }>,
  maxBytes: number,
): Promise<string> => {
  const { file } = await openConfined(path, { roots: [await realpath(root)], cwd: root })
  try {
    const kept: Array<Uint8Array> = []
    let size = 0
    let skip = Math.max(1, line ?? 1) - 1
    let wanted = limit ?? Infinity
    const chunk = Buffer.allocUnsafe(chunkBytes)
    while (wanted > 0) {
      const { bytesRead } = await file.read(chunk, 0, chunkBytes, null)
      if (bytesRead === 0) break
      const bytes = chunk.subarray(0, bytesRead)
      let from = 0
      while (skip > 0 && from < bytes.length) {
        const end = bytes.indexOf(lineFeed, from)
        if (end < 0) from = bytes.length
        else {
          from = end + 1
          skip--
        }
      }
      let to = Number.isFinite(wanted) ? from : bytes.length
      while (wanted > 0 && to < bytes.length) {
        const end = bytes.indexOf(lineFeed, to)
        if (end < 0) to = bytes.length
        else {
          to = end + 1
          wanted--
        }
      }
      size += to - from
      if (size > maxBytes) throw new TooLarge(`is more than ${maxBytes} bytes; ask for fewer lines of it`)
      if (to > from) kept.push(Uint8Array.from(bytes.subarray(from, to)))
    }
    return decoded(Buffer.concat(kept, size))
  } finally {
    await file.close()
  }
}

const lstatOf = (path: string) =>
  lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })

const asDirectory = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/** What is open, as the beginning of paths: this very directory, wherever its own path leads by now. Without /proc its path. */
const inside = async (handle: FileHandle, path: string, root: string): Promise<string> => {
  const place = await placeOf(handle)
  if (place !== undefined && !below(place, root)) throw exchanged()
  return place === undefined ? path : `/proc/self/fd/${handle.fd}`
}

/** Opens a directory below the root. What is missing of it is made. */
const openDirectory = async (directory: string, root: string): Promise<FileHandle> => {
  const missing: Array<string> = []
  let there = directory
  while ((await lstatOf(there)) === undefined && dirname(there) !== there) {
    missing.unshift(basename(there))
    there = dirname(there)
  }
  let real = await realpath(there)
  if (!below(real, root)) throw new Outside()
  let handle = await open(real, asDirectory)
  for (const name of missing) {
    const outer = handle
    try {
      const place = join(await inside(outer, real, root), name)
      await mkdir(place).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error
      })
      // Somebody else may have been faster, with a link: that is not followed.
      handle = await open(place, asDirectory)
      real = join(real, name)
    } finally {
      await outer.close()
    }
  }
  return handle
}

const writeText = async (
  { root: given, path, content }: Extract<HostCall, { readonly type: "writeTextFile" }>,
  maxBytes: number,
): Promise<void> => {
  const bytes = Buffer.from(content)
  if (bytes.length > maxBytes) throw new TooLarge(`would be ${bytes.length} bytes; ${maxBytes} is the most`)
  const root = await realpath(given)
  const wanted = resolve(path)
  if (wanted === root || wanted === resolve(given)) throw new Refused("is the directory itself")
  // Above the root nothing is even looked for.
  if (!below(wanted, root) && !below(wanted, resolve(given))) throw new Outside()
  const link = await lstatOf(wanted)
  // A link stays one: what it leads to is written.
  const target = link?.isSymbolicLink() === true ? await realpath(wanted) : wanted
  const directory = await openDirectory(dirname(target), root)
  try {
    const base = await inside(directory, dirname(target), root)
    const place = join(base, basename(target))
    const before = await lstatOf(place)
    if (before !== undefined && !before.isFile()) throw new Refused("is no regular file")
    const beside = join(base, `.creche-${randomBytes(6).toString("hex")}`)
    try {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
      const file = await open(beside, flags, 0o666)
      try {
        await file.writeFile(bytes)
        if (before !== undefined) await file.chmod(before.mode & 0o777)
      } finally {
        await file.close()
      }
      await rename(beside, place)
    } catch (error) {
      await rm(beside, { force: true })
      throw error
    }
  } finally {
    await directory.close()
  }
}

const refusalOf = (error: unknown, { type, root }: HostCall): HostAnswer => {
  if (error instanceof Outside) {
    return { type: "refused", reason: "outside", message: `is not below ${JSON.stringify(root)}` }
  }
  if (error instanceof TooLarge) return { type: "refused", reason: "tooLarge", message: error.message }
  const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT"
  return {
    type: "refused",
    reason: isMissing ? "missing" : "failed",
    message: inWords(error, type === "readTextFile" ? "read" : "written"),
  }
}

/** Never fails: what cannot be done is an answer too. */
export const performCall = (call: HostCall, maxBytes: number = maxFileBytes): Effect.Effect<HostAnswer> =>
  Effect.promise(async (): Promise<HostAnswer> => {
    try {
      const text = call.type === "readTextFile" ? await readText(call, maxBytes) : ""
      if (call.type === "writeTextFile") await writeText(call, maxBytes)
      return { type: "done", text }
    } catch (error) {
      return refusalOf(error, call)
    }
  })
