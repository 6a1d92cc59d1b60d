/**
 * JSON as one line for every reader. U+2028 and U+2029 may stand in it as they are, and some readers take them for the end of
 * a line: Node's own `readline`, which many agents and clients use. Pure.
 */

/** The same JSON with both escaped. */
export const oneLine = (json: string): string =>
  json.includes("\u2028") || json.includes("\u2029")
    ? json.replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029")
    : json

export const jsonLine = (value: unknown): string => oneLine(JSON.stringify(value))
