/**
 * A long search on all processors: threads are given one range of seeds after the other. What is found is the first seed that
 * breaks a rule, as one thread would have found it.
 */
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import type { Mutation } from "./Mutations.ts"
import type { Size } from "./PlanMaker.ts"
import { add, emptySum, type Found, type Sum } from "./Search.ts"

export interface Range {
  readonly from: number
  readonly seeds: number
  readonly size: Size | undefined
  /** By name: a function cannot be sent. */
  readonly mutation: string | undefined
}

export interface RangeResult {
  readonly from: number
  readonly sum: Sum
  readonly found: Found | undefined
}

/** What a run leaves is garbage: with room for many runs little of it is looked at (MB). */
const youngGenerationMb = 64

export interface CoresOptions {
  readonly size?: Size
  readonly mutation?: Mutation
  /** Default: as many as there are. */
  readonly cores?: number
  /** Seeds that a thread is given at once. Default 500. */
  readonly rangeSeeds?: number
}

export const searchOnCores = async (
  from: number,
  seeds: number,
  { size, mutation, cores = availableParallelism(), rangeSeeds = 500 }: CoresOptions = {},
): Promise<{ readonly sum: Sum; readonly found: Found | undefined }> => {
  const sum = emptySum()
  const end = from + seeds
  let next = from
  let found: Found | undefined
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL("./SearchWorker.ts", import.meta.url), {
        resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMb },
      })
      const give = () => {
        // Ranges before one in which something was found go on: it may not be the first.
        if (next >= end || found !== undefined) return void worker.terminate()
        const range: Range = { from: next, seeds: Math.min(rangeSeeds, end - next), size, mutation: mutation?.name }
        next += range.seeds
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- of a window's; this is a thread's
        worker.postMessage(range)
      }
      worker.on("message", (result: RangeResult) => {
        add(sum, result.sum)
        if (result.found !== undefined && (found === undefined || result.found.seed < found.seed)) found = result.found
        give()
      })
      worker.on("error", reject)
      worker.on("exit", () => resolve())
      give()
    })
  await Promise.all(Array.from({ length: Math.max(1, Math.min(cores, Math.ceil(seeds / rangeSeeds))) }, work))
  return { sum, found }
}
