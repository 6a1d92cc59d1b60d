/**
 * A token bucket: what may be done at once, and how fast after that, as pure functions of the time. Tokens are taken in
 * advance where there are none, so whoever takes is told how long to wait; nobody is refused.
 */

export interface TokenBucket {
  /** Below 0 while some were taken in advance. */
  readonly tokens: number
  /** Milliseconds. */
  readonly at: number
}

export interface TokenRate {
  /** How many may be taken at once after a rest. */
  readonly burst: number
  /** How many a second after that. */
  readonly perSecond: number
}

export const fullBucket = ({ burst }: TokenRate, now: number): TokenBucket => ({ tokens: burst, at: now })

/** Takes `count` tokens, in advance if need be: `delayMs` is the wait until they are there. A clock that goes back adds none. */
export const takeTokens = (
  bucket: TokenBucket,
  rate: TokenRate,
  now: number,
  count = 1,
): { readonly bucket: TokenBucket; readonly delayMs: number } => {
  const elapsed = Math.max(0, now - bucket.at)
  const tokens = Math.min(rate.burst, bucket.tokens + (elapsed * rate.perSecond) / 1000) - count
  return {
    bucket: { tokens, at: Math.max(now, bucket.at) },
    delayMs: tokens >= 0 ? 0 : Math.ceil((-tokens * 1000) / rate.perSecond),
  }
}
