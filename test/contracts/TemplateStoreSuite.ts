/** What every implementation of the TemplateStore port must do. Call it with the layer that makes a fresh store. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, it } from "vitest"
import type { StoreUnavailable } from "../../src/domain/Errors.ts"
import type { Template } from "../../src/domain/Template.ts"
import { TemplateStore } from "../../src/domain/TemplateStore.ts"

export const suite = (name: string, layer: Layer.Layer<TemplateStore>): void => {
  const within = (body: (store: TemplateStore["Service"]) => Effect.Effect<void, StoreUnavailable>) => () =>
    Effect.runPromise(Effect.flatMap(TemplateStore, body).pipe(Effect.provide(layer), Effect.orDie))
  const kept = (store: TemplateStore["Service"]) =>
    Effect.map(store.templates, (templates) => Object.fromEntries([...templates].toSorted()))

  describe(`template store ${name}`, () => {
    it(
      "has what was put, newest of a name, without what was removed",
      within((store) =>
        Effect.gen(function* () {
          expect(yield* kept(store)).toEqual({})
          yield* store.put("b", { command: "bash" })
          yield* store.put("a", { extends: "b", env: { A: null, B: "1" }, idleTimeoutMs: null })
          yield* store.put("b", { command: "sh", args: ["-c", "x"] })
          yield* store.put("c", {})
          yield* store.remove("c")
          yield* store.remove("c")
          yield* store.remove("never")
          expect(yield* kept(store)).toEqual({
            a: { extends: "b", env: { A: null, B: "1" }, idleTimeoutMs: null },
            b: { command: "sh", args: ["-c", "x"] },
          })
          yield* store.put("c", { command: "again" })
          expect((yield* store.templates).get("c")).toEqual({ command: "again" })
        }),
      ),
    )

    it(
      "does not change what it handed out",
      within((store) =>
        Effect.gen(function* () {
          yield* store.put("a", { command: "1" })
          const before = yield* store.templates
          yield* store.put("a", { command: "2" })
          yield* store.put("b", { command: "2" })
          expect([...before]).toEqual([["a", { command: "1" }]])
          yield* store.remove("a")
          expect([...before.keys()]).toEqual(["a"])
          expect([...(yield* store.templates).keys()]).toEqual(["b"])
        }),
      ),
    )

    it(
      "keeps any text, any name, and a thousand of them",
      within((store) =>
        Effect.gen(function* () {
          const odd: Template = {
            command: "\u2028'\"; DROP TABLE templates; --",
            metadata: { "\0": "\uD800", n: [1e300] },
          }
          for (const each of ["constructor", "A", "a", "A.b-c_d", "x".repeat(128)]) yield* store.put(each, odd)
          for (let i = 0; i < 1_000; i++) yield* store.put(`t${i}`, { command: String(i) })
          const templates = yield* store.templates
          expect(templates.size).toBe(1_005)
          expect(templates.get("constructor")).toEqual(odd)
          expect([templates.get("A"), templates.get("a"), templates.get("toString")]).toEqual([odd, odd, undefined])
          expect(templates.get("t999")).toEqual({ command: "999" })
        }),
      ),
    )
  })
}
