// A thread of `searchOnCores`: runs the ranges that it is given, one after the other.
import { parentPort } from "node:worker_threads"
import type { Range, RangeResult } from "./Cores.ts"
import { mutations } from "./Mutations.ts"
import { emptySum, search } from "./Search.ts"

parentPort!.on("message", ({ from, seeds, size, mutation: name }: Range) => {
  const sum = emptySum()
  const mutation = mutations.find((each) => each.name === name)
  const found = search(from, seeds, {
    sum,
    ...(size === undefined ? undefined : { size }),
    ...(mutation === undefined ? undefined : { mutation }),
  })
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- of a window's; this is a thread's
  parentPort!.postMessage({ from, sum, found } satisfies RangeResult)
})
