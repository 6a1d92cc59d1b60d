/**
 * What a log may say of a bug: its class, and where it happened. Not its message: that may repeat what a client or a child
 * said, and nothing of that belongs into a log.
 */
import type * as Cause from "effect/Cause"

const mostFrames = 12

export const placeOf = (defect: unknown): string => {
  if (!(defect instanceof Error)) return `a thrown ${defect === null ? "null" : typeof defect}`
  const { name, stack = "" } = defect
  const said = String(defect)
  // A stack that does not begin as it should may have the message anywhere.
  const frames = stack.startsWith(said) ? stack.slice(said.length).split("\n") : []
  return [name, ...frames.filter((line) => line.startsWith("    at ")).slice(0, mostFrames)].join("\n")
}

/** The same of everything in it. What failed as it may fail is told by its tag. */
export const placesOf = (cause: Cause.Cause<unknown>): string =>
  cause.reasons
    .map((reason) => {
      switch (reason._tag) {
        case "Die":
          return placeOf(reason.defect)
        case "Fail":
          return tagOf(reason.error)
        case "Interrupt":
          return "interrupted"
      }
    })
    .join("\n")

const tagOf = (error: unknown): string => {
  const tag = typeof error === "object" && error !== null ? (error as { readonly _tag?: unknown })._tag : undefined
  return typeof tag === "string" ? tag : placeOf(error)
}
