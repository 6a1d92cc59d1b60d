/** JSON of a child as it may come: every field is looked at before it is believed. Pure. */

export type JsonObject = { readonly [field: string]: unknown }

const none: JsonObject = {}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The object; of anything else one without fields, so that a field of a field can be read. */
export const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : none)

export const objectsOf = (value: unknown): ReadonlyArray<JsonObject> =>
  Array.isArray(value) ? value.filter(isObject) : []

export const stringOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

export const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined

/** The object that a line is; undefined for every other line. */
export const parseObject = (line: string): JsonObject | undefined => {
  const first = line.charCodeAt(0)
  if (first !== 0x7b && first !== 0x20 && first !== 0x09) return undefined
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
