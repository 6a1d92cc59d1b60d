/**
 * The messages of a JSON-RPC child on the wire: how a text is framed for its stdin, and what a frame of its stdout holds. A
 * batch counts as its messages. Pure.
 */

/** A message that is nested deeper is none: to write it down again would take more stack than there is. */
export const deepestMessage = 512

export const isNoDeeperThan = (value: unknown, levels: number): boolean => {
  if (typeof value !== "object" || value === null) return true
  if (levels === 0) return false
  if (Array.isArray(value)) return value.every((each) => isNoDeeperThan(each, levels - 1))
  for (const key in value) {
    if (!isNoDeeperThan((value as Readonly<Record<string, unknown>>)[key], levels - 1)) return false
  }
  return true
}

/** A text for stdin. */
export const framed = (framing: "lines" | "contentLength", text: string): string =>
  framing === "lines" ? text + "\n" : `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`

export type FrameContent =
  | { readonly type: "messages"; readonly values: ReadonlyArray<unknown>; readonly isBatch: boolean }
  | { readonly type: "text" }
  | { readonly type: "tooDeep" }

export const contentOf = (frame: string): FrameContent => {
  let value: unknown
  try {
    // Some begin their stdout with a byte order mark.
    value = JSON.parse(frame.charCodeAt(0) === 0xfeff ? frame.slice(1) : frame)
  } catch {
    return { type: "text" }
  }
  // Nothing that is so short can be nested so deep.
  if (frame.length > 2 * deepestMessage && !isNoDeeperThan(value, deepestMessage)) return { type: "tooDeep" }
  if (typeof value !== "object" || value === null) return { type: "text" }
  return Array.isArray(value)
    ? { type: "messages", values: value as ReadonlyArray<unknown>, isBatch: true }
    : { type: "messages", values: [value], isBatch: false }
}
