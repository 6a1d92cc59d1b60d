/** Methods of the real classes are replaced for as long as a run lasts: to put a known bug in, or to overhear. */

/** Another method in place of one; the new one is given the old one. */
export const replace = <P extends object, K extends keyof P>(
  prototype: P,
  key: K,
  make: (before: P[K]) => P[K],
): (() => void) => {
  const before = prototype[key]
  prototype[key] = make(before)
  return () => {
    prototype[key] = before
  }
}
