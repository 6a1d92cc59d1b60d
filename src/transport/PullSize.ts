/**
 * How many entries a subscription pulls at a time, so that what waits for one slow reader is about so much text, however long
 * its entries are. Pure; used by `Subscriptions`.
 */

/** A pull of one entry may be more. */
const batchChars = 262_144
const mostEntries = 256
const firstEntries = 8
const growth = 4

/** `chars`: what the entries of the last pull, made with `limit`, came to. */
export const nextLimit = (limit: number, entries: number, chars: number): number => {
  if (entries === 0) return limit
  const fitting = Math.floor(batchChars / Math.max(1, chars / entries))
  return Math.max(1, Math.min(mostEntries, limit * growth, fitting))
}

export const firstLimit = firstEntries
