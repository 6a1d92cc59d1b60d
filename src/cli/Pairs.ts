/** `K=V` words of a command line, as an object. */
import { wrongUsage } from "./Failure.ts"

/** `alone`: what `K` without `=` means; without it, that is wrong usage. */
export const pairs = <A = never>(
  flag: string,
  words: ReadonlyArray<string>,
  alone?: A,
): Record<string, string | A> | undefined => {
  if (words.length === 0) return undefined
  const entries = words.map((word): [string, string | A] => {
    const at = word.indexOf("=")
    if (at > 0) return [word.slice(0, at), word.slice(at + 1)]
    // The value may be a secret: it is never repeated.
    if (at === 0) throw wrongUsage(`--${flag} wants K=V; a name is missing before the "="`)
    if (alone === undefined) throw wrongUsage(`--${flag} wants K=V; ${JSON.stringify(word)} has no "="`)
    return [word, alone]
  })
  return Object.fromEntries(entries)
}
