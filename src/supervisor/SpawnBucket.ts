/**
 * A token bucket over all restarts of a runtime: 500 crashes at the same moment become a brisk queue of spawns and not
 * 500 spawns. Starts that clients ask for do not pass through here.
 */

export interface SpawnBucket {
  readonly tokens: number
  readonly at: number
}

export interface SpawnBucketSpec {
  /** Restarts that may happen at once. */
  readonly burst: number
  /** Restarts a second after that. */
  readonly perSecond: number
}

export const defaultSpawnBucket: SpawnBucketSpec = { burst: 50, perSecond: 100 }

export const fullBucket = (spec: SpawnBucketSpec, now: number): SpawnBucket => ({ tokens: spec.burst, at: now })

/** Takes a token, in advance if need be: `delayMs` is the wait until it is there. A clock that goes back adds none. */
export const takeToken = (
  bucket: SpawnBucket,
  spec: SpawnBucketSpec,
  now: number,
): { readonly bucket: SpawnBucket; readonly delayMs: number } => {
  const elapsed = Math.max(0, now - bucket.at)
  const tokens = Math.min(spec.burst, bucket.tokens + (elapsed * spec.perSecond) / 1000) - 1
  return {
    bucket: { tokens, at: Math.max(now, bucket.at) },
    delayMs: tokens >= 0 ? 0 : Math.ceil((-tokens * 1000) / spec.perSecond),
  }
}
