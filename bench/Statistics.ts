/** Medians and quartiles. Pure; called by `Rounds`. */

export interface Summary {
  readonly q1: number
  readonly median: number
  readonly q3: number
  readonly samples: ReadonlyArray<number>
}

/** Interpolated between the neighbours; `at` is in [0, 1]. NaN for no samples. */
export const quantile = (samples: ReadonlyArray<number>, at: number): number => {
  const sorted = samples.toSorted((a, b) => a - b)
  const place = (sorted.length - 1) * at
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}

export const median = (samples: ReadonlyArray<number>): number => quantile(samples, 0.5)

export const summarise = (samples: ReadonlyArray<number>): Summary => ({
  q1: quantile(samples, 0.25),
  median: median(samples),
  q3: quantile(samples, 0.75),
  samples,
})
