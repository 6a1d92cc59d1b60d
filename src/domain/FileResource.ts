/** A file's content as a content block: text as text, anything else as base64. Pure; whoever reads the file says what is in it. */
import { basename, extname } from "node:path"

/** Whether a resource's `data` is its text; of any other type it is base64. */
export const isTextual = (mimeType: string): boolean =>
  mimeType.startsWith("text/") ||
  /^application\/(json|xml|javascript|yaml|toml|x-sh)$|\+(json|xml)$/.test(mimeType.split(";", 1)[0]!.trim())

const mimeTypes: Readonly<Record<string, string>> = {
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".gif": "image/gif",
  ".webp": "image/webp",
  ".svg": "image/svg+xml",
  ".pdf": "application/pdf",
  ".json": "application/json",
  ".xml": "application/xml",
  ".html": "text/html",
  ".css": "text/css",
  ".csv": "text/csv",
  ".md": "text/markdown",
  ".wav": "audio/wav",
  ".mp3": "audio/mpeg",
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    return bytes.includes(0) ? undefined : utf8.decode(bytes)
  } catch {
    return undefined
  }
}

export interface FileResource {
  readonly type: "resource"
  readonly name: string
  readonly mimeType: string
  readonly data: string
}

export const fileResource = (path: string, bytes: Uint8Array): FileResource => {
  const known = mimeTypes[extname(path).toLowerCase()]
  const text = known === undefined || isTextual(known) ? textOf(bytes) : undefined
  const mimeType = known ?? (text === undefined ? "application/octet-stream" : "text/plain")
  // What calls itself text and is none goes as bytes, under a name that says so.
  const honest = isTextual(mimeType) && text === undefined ? "application/octet-stream" : mimeType
  return {
    type: "resource",
    name: basename(path),
    mimeType: honest,
    data: text ?? Buffer.from(bytes).toString("base64"),
  }
}
