/** Whether two JSON values are the same, whatever the order of their fields. Called by `Ndjson` for `end`. */
export const jsonEquals = (left: unknown, right: unknown): boolean => {
  if (left === right) return true
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return false
  if (Array.isArray(left) !== Array.isArray(right)) return false
  const fields = Object.keys(left)
  if (fields.length !== Object.keys(right).length) return false
  return fields.every(
    (field) =>
      Object.hasOwn(right, field) &&
      jsonEquals((left as Record<string, unknown>)[field], (right as Record<string, unknown>)[field]),
  )
}
