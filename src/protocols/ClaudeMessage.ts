/**
 * Claude Code's stream-json as data: what a line is, and the messages that go the other way, each a line without its newline.
 * Knows the fields that the protocol reads and takes none of them for granted. Called by `Claude` and the files beside it.
 */

export type JsonObject = { readonly [field: string]: unknown }

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** `{}` for what is no object, so that a field of a field can be read. */
export const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : {})
export const objectsOf = (value: unknown): ReadonlyArray<JsonObject> =>
  Array.isArray(value) ? value.filter(isObject) : []
export const stringOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)
export const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined

/** undefined: a line that is no message. */
export const messageIn = (line: string): JsonObject | undefined => {
  const first = line.charCodeAt(0)
  if (first !== 0x7b && first !== 0x20 && first !== 0x09) return undefined
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

export const userMessage = (content: ReadonlyArray<JsonObject>, session: string): string =>
  JSON.stringify({ type: "user", message: { role: "user", content }, parent_tool_use_id: null, session_id: session })

export const controlRequest = (id: string, request: JsonObject): string =>
  JSON.stringify({ type: "control_request", request_id: id, request })

export const controlSuccess = (id: string, response: JsonObject): string =>
  JSON.stringify({ type: "control_response", response: { subtype: "success", request_id: id, response } })

export const controlFailure = (id: string, error: string): string =>
  JSON.stringify({ type: "control_response", response: { subtype: "error", request_id: id, error } })
