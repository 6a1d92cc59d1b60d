/** What every implementation of the SupervisorStore port must do. Call it with the layer that makes a fresh store. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, it } from "vitest"
import type { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import { type SupervisorRecord, SupervisorStore } from "../../src/domain/SupervisorStore.ts"

export const recordOf = (path: string, fields: Partial<SupervisorRecord> = {}): SupervisorRecord => ({
  path,
  strategy: "one_for_one",
  intensity: null,
  createdAt: 1,
  givenUp: null,
  ...fields,
})

export const suite = (name: string, layer: Layer.Layer<SupervisorStore>): void => {
  const within = (body: (store: SupervisorStore["Service"]) => Effect.Effect<void, StoreUnavailable>) => () =>
    Effect.runPromise(Effect.flatMap(SupervisorStore, body).pipe(Effect.provide(layer), Effect.orDie))

  describe(`supervisor store ${name}`, () => {
    it(
      "has what was put, newest of a path, in order of the first time, without what was removed",
      within((store) =>
        Effect.gen(function* () {
          expect(yield* store.supervisors).toEqual([])
          const failed = recordOf("root/b", {
            strategy: "rest_for_one",
            intensity: { maxRestarts: 0, withinMs: 1_000 },
            givenUp: {
              reason: "more than 0 restarts",
              by: "root/b",
              intensity: { maxRestarts: 0, withinMs: 1_000 },
              running: ["ses_1" as SessionId],
              asleep: [],
            },
          })
          yield* store.put(recordOf("root/b"))
          yield* store.put(recordOf("root/a"))
          yield* store.put(recordOf("root/a/c"))
          yield* store.put(failed)
          expect(yield* store.supervisors).toEqual([failed, recordOf("root/a"), recordOf("root/a/c")])
          yield* store.remove(["root/a/c", "root/a", "root/never"])
          yield* store.remove([])
          expect(yield* store.supervisors).toEqual([failed])
          yield* store.put(recordOf("root/a", { createdAt: 2 }))
          expect(yield* store.supervisors).toEqual([failed, recordOf("root/a", { createdAt: 2 })])
        }),
      ),
    )
  })
}
