/**
 * JSON with numbers that JavaScript cannot hold (`12345678901234567890`, `1e400`): parsed so that to write them out again gives
 * every digit back. For what passes through: the params of a prompt, the result of an answer. Pure.
 */

interface Source {
  readonly source?: string
}

/** Of a later edition of the language than the types are of. */
const exact = JSON as unknown as {
  readonly parse: (text: string, reviver: (key: string, value: unknown, context: Source) => unknown) => unknown
  readonly rawJSON: (text: string) => unknown
}

/** Cheap, and true of every text with such a number: most texts are spared the slow way. */
export const mayBeInexact = (text: string): boolean => /\d{16}|\d[eE]/.test(text)

/** As `JSON.parse`, and throws as it does; a number that would lose something becomes an object that only writes itself. */
export const parseExactly = (text: string): unknown =>
  mayBeInexact(text)
    ? exact.parse(text, (_, value, { source }) =>
        typeof value === "number" && source !== undefined && String(value) !== source && !isSame(value, source)
          ? exact.rawJSON(source)
          : value,
      )
    : JSON.parse(text)

/** `1.50`, `10e-1`: written otherwise, and nothing lost. */
const isSame = (value: number, source: string): boolean =>
  Number.isFinite(value) && source.replace(/[^\d]/g, "").length <= 15
