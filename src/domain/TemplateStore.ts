/**
 * The port behind which the templates are kept that clients put. Names are unique; putting one again replaces it. It
 * checks nothing: `supervisor/Templates` does, and is its only caller. Templates of the configuration file and built-in
 * ones are not in here.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "./Errors.ts"
import type { Template } from "./Template.ts"

export class TemplateStore extends Context.Service<
  TemplateStore,
  {
    /** Every template that was put and not removed, by name. */
    readonly templates: Effect.Effect<ReadonlyMap<string, Template>, StoreUnavailable>
    /** Durable once it returns. */
    readonly put: (name: string, template: Template) => Effect.Effect<void, StoreUnavailable>
    /** Removing what is not there changes nothing. */
    readonly remove: (name: string) => Effect.Effect<void, StoreUnavailable>
  }
>()("creche/domain/TemplateStore") {}

export const makeMemory = (): TemplateStore["Service"] => {
  const kept = new Map<string, Template>()
  return {
    templates: Effect.sync(() => new Map(kept)),
    put: (name, template) => Effect.sync(() => void kept.set(name, template)),
    remove: (name) => Effect.sync(() => void kept.delete(name)),
  }
}

export const layerMemory: Layer.Layer<TemplateStore> = Layer.sync(TemplateStore, makeMemory)
