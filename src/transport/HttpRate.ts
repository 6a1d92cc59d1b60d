/** How often one may ask: a bucket of requests for each caller, as pure functions of the time. Called by `HttpAccess`. */

export interface Bucket {
  readonly tokens: number
  /** Epoch milliseconds. */
  readonly at: number
}

export interface Rate {
  readonly perSecond: number
  /** How many may come at once after a rest. */
  readonly burst: number
}

export const full = ({ burst }: Rate, now: number): Bucket => ({ tokens: burst, at: now })

/** The bucket after one more request; undefined where there is no room for it. */
export const take = (bucket: Bucket, { perSecond, burst }: Rate, now: number): Bucket | undefined => {
  // A clock that was set back neither gives nor takes.
  const tokens = Math.min(burst, bucket.tokens + (Math.max(0, now - bucket.at) / 1000) * perSecond)
  return tokens < 1 ? undefined : { tokens: tokens - 1, at: now }
}
