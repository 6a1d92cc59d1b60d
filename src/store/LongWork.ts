/** Work that would hold up everything else, taken in steps, with room for others in between. */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { nextTick, type SqliteClient } from "./SqliteClient.ts"

/** Takes one step of long work after the other, each on its own. */
export const inSteps = (client: SqliteClient, steps: Generator<void>): Effect.Effect<void, StoreUnavailable> =>
  Effect.suspend(() => {
    let done = false
    return Effect.whileLoop({
      while: () => !done,
      body: () =>
        Effect.andThen(
          nextTick,
          client.exclusively(() => steps.next().done === true),
        ),
      step: (ended) => {
        done = ended
      },
    })
  })
