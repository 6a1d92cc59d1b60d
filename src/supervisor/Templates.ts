/**
 * The templates of one runtime: built-in ones, over them those of its configuration file, over these those that clients
 * put. Refuses what would leave a template that cannot be resolved, and keeps its hands off what is not a client's.
 * Called by the Runtime service; what a template means is in `domain/Template`.
 */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { Forbidden, InvalidParams, LimitReached, type StoreUnavailable, TemplateNotFound } from "../domain/Errors.ts"
import type { SessionSpecInput } from "../domain/SessionSpec.ts"
import { type FindTemplate, type Template, templateProblems } from "../domain/Template.ts"
import type { TemplateStore } from "../domain/TemplateStore.ts"
import { expand, type Refusal } from "./SpecAdmission.ts"

/** Where a template comes from. */
export type TemplateSource = "built-in" | "file" | "client"

export interface NamedTemplate {
  readonly name: string
  readonly source: TemplateSource
  readonly template: Template
}

/** Templates that do not change while a runtime lives; the file's win. */
export interface FixedTemplates {
  readonly builtIn: Readonly<Record<string, Template>>
  readonly file: Readonly<Record<string, Template>>
}

/** So many templates clients may put. */
export const mostTemplates = 1_000

export interface Templates {
  /** By name. */
  readonly list: Effect.Effect<ReadonlyArray<NamedTemplate>, StoreUnavailable>
  readonly get: (name: string) => Effect.Effect<NamedTemplate, TemplateNotFound | StoreUnavailable>
  /** Durable once it returns. One of a built-in template's name hides that one until it is removed. */
  readonly put: (
    name: string,
    template: Template,
  ) => Effect.Effect<NamedTemplate, InvalidParams | Forbidden | LimitReached | StoreUnavailable>
  readonly remove: (
    name: string,
  ) => Effect.Effect<void, TemplateNotFound | InvalidParams | Forbidden | StoreUnavailable>
  /** The spec with its template, if it names one, worked in. Sessions that run keep the spec that they started with. */
  readonly expand: (input: SessionSpecInput) => Effect.Effect<SessionSpecInput, Refusal | StoreUnavailable>
}

const own = (record: Readonly<Record<string, Template>>, name: string): Template | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined

export const makeTemplates = (fixed: FixedTemplates, store: TemplateStore["Service"]): Templates => {
  // Each change is checked against all templates, so there is one at a time.
  const changes = Semaphore.makeUnsafe(1)

  const lookup = (kept: ReadonlyMap<string, Template>, name: string): NamedTemplate | undefined => {
    const file = own(fixed.file, name)
    if (file !== undefined) return { name, source: "file", template: file }
    const client = kept.get(name)
    if (client !== undefined) return { name, source: "client", template: client }
    const builtIn = own(fixed.builtIn, name)
    return builtIn === undefined ? undefined : { name, source: "built-in", template: builtIn }
  }
  const names = (kept: ReadonlyMap<string, Template>) =>
    [...new Set([...Object.keys(fixed.builtIn), ...Object.keys(fixed.file), ...kept.keys()])].toSorted()
  const finder =
    (kept: ReadonlyMap<string, Template>): FindTemplate =>
    (name) =>
      lookup(kept, name)?.template

  /** Templates that extend `name` and could not be resolved any more if `kept` were what clients have put. */
  const orphans = (kept: ReadonlyMap<string, Template>, name: string): ReadonlyArray<string> => {
    const find = finder(kept)
    return names(kept).filter((other) => {
      const template = find(other)
      return other !== name && template?.extends === name && templateProblems(other, template, find).length > 0
    })
  }
  const inUse = (name: string, by: ReadonlyArray<string>, consequence: string) => {
    const list = by.map((each) => JSON.stringify(each)).join(", ")
    const message = `template ${JSON.stringify(name)} is extended by ${list}, ${consequence}`
    return new InvalidParams({ issues: [{ path: "name", message }] })
  }
  const ofTheFile = (name: string) =>
    new Forbidden({ detail: `template ${JSON.stringify(name)} stands in the configuration file; change it there` })

  const get = (name: string): Effect.Effect<NamedTemplate, TemplateNotFound | StoreUnavailable> =>
    Effect.flatMap(store.templates, (kept) => {
      const found = lookup(kept, name)
      return found === undefined ? Effect.fail(new TemplateNotFound({ template: name })) : Effect.succeed(found)
    })

  const put: Templates["put"] = (name, template) =>
    Effect.gen(function* () {
      if (own(fixed.file, name) !== undefined) return yield* ofTheFile(name)
      const before = yield* store.templates
      if (!before.has(name) && before.size >= mostTemplates) {
        return yield* new LimitReached({ limit: "templates", value: mostTemplates })
      }
      const after = new Map(before).set(name, template)
      const problems = templateProblems(name, template, finder(after))
      if (problems.length > 0) {
        const issues = problems.map(({ path, message }) => ({ path: ["template", ...path].join("."), message }))
        return yield* new InvalidParams({ issues })
      }
      const children = orphans(after, name)
      if (children.length > 0) {
        return yield* inUse(name, children, "and inheritance goes one level deep: it must not extend another itself")
      }
      yield* store.put(name, template)
      return { name, source: "client", template } as const
    }).pipe((change) => changes.withPermit(change))

  const remove: Templates["remove"] = (name) =>
    Effect.gen(function* () {
      if (own(fixed.file, name) !== undefined) return yield* ofTheFile(name)
      const before = yield* store.templates
      if (!before.has(name)) {
        if (own(fixed.builtIn, name) === undefined) return yield* new TemplateNotFound({ template: name })
        const detail = `template ${JSON.stringify(name)} is built in and cannot be removed; template/put with this name hides it`
        return yield* new Forbidden({ detail })
      }
      const after = new Map(before)
      after.delete(name)
      const children = orphans(after, name)
      if (children.length > 0) return yield* inUse(name, children, "which would be left without it; remove these first")
      yield* store.remove(name)
    }).pipe((change) => changes.withPermit(change))

  return {
    list: Effect.map(store.templates, (kept) => names(kept).flatMap((name) => lookup(kept, name) ?? [])),
    get,
    put,
    remove,
    expand: (input) =>
      input.template === undefined
        ? Effect.succeed(input)
        : Effect.flatMap(store.templates, (kept) => expand(input, finder(kept))),
  }
}
