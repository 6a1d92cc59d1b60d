import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import type { RuntimeError } from "../../src/domain/Errors.ts"
import type { Template } from "../../src/domain/Template.ts"
import { makeMemory } from "../../src/domain/TemplateStore.ts"
import { makeTemplates, mostTemplates } from "../../src/supervisor/Templates.ts"

const builtIn: Readonly<Record<string, Template>> = { cat: { command: "cat" }, py: { command: "python3" } }
const file: Readonly<Record<string, Template>> = { py: { command: "pypy" }, child: { extends: "cat" } }
const fresh = () => makeTemplates({ builtIn, file }, makeMemory())
const run = <A>(effect: Effect.Effect<A, RuntimeError>): Promise<A> => Effect.runPromise(effect)
const failure = <A>(effect: Effect.Effect<A, RuntimeError>): Promise<RuntimeError> =>
  Effect.runPromise(Effect.flip(effect))

describe("the templates of a runtime", () => {
  it("are built-in ones, those of the file, and those that clients put; by name", async () => {
    const templates = fresh()
    await run(templates.put("mine", { extends: "py" }))
    expect((await run(templates.list)).map(({ name, source }) => `${name} ${source}`)).toEqual([
      "cat built-in",
      "child file",
      "mine client",
      "py file",
    ])
    expect((await run(templates.get("py"))).template).toEqual({ command: "pypy" })
    expect(await run(templates.expand({ template: "mine", name: "x" }))).toEqual({
      command: "pypy",
      name: "x",
      template: "mine",
    })
    expect(await run(templates.expand({ command: "ls" }))).toEqual({ command: "ls" })
  })

  it("of a client hide a built-in one until they are removed", async () => {
    const templates = fresh()
    await run(templates.put("cat", { command: "tac" }))
    expect(await run(templates.expand({ template: "child" }))).toEqual({ command: "tac", template: "child" })
    await run(templates.remove("cat"))
    expect(await run(templates.get("cat"))).toMatchObject({ source: "built-in", template: { command: "cat" } })
  })

  it("that are built in cannot be removed, and the error says what can be done instead", async () => {
    const error = await failure(fresh().remove("cat"))
    expect(error._tag).toBe("Forbidden")
    expect(error.message).toMatch(/"cat" is built in.*template\/put/)
  })

  it("of the file are changed in the file", async () => {
    const templates = fresh()
    for (const change of [templates.put("py", { command: "x" }), templates.remove("py")]) {
      expect(await failure(change)).toMatchObject({ _tag: "Forbidden", detail: expect.stringContaining("file") })
    }
  })

  it("that nobody put cannot be got, removed or started from", async () => {
    const templates = fresh()
    for (const use of [templates.get("no"), templates.remove("no"), templates.expand({ template: "no" })]) {
      expect(await failure(use as Effect.Effect<unknown, RuntimeError>)).toMatchObject({
        _tag: "TemplateNotFound",
        template: "no",
      })
    }
  })

  it("are refused where they could not be resolved, with the path", async () => {
    const templates = fresh()
    const issues = async (name: string, template: Template) => {
      const error = await failure(templates.put(name, template))
      return error._tag === "InvalidParams" ? error.issues : error
    }
    expect(await issues("a", { extends: "no" })).toMatchObject([{ path: "template.extends" }])
    expect(await issues("a", { extends: "a" })).toMatchObject([{ path: "template.extends" }])
    expect(await issues("a", { extends: "child" })).toMatchObject([
      { path: "template.extends", message: expect.stringMatching(/one level/) },
    ])
    expect(await issues("a", { cwd: "here" })).toMatchObject([{ path: "template.cwd" }])
    // child extends it already
    expect(await issues("cat", { extends: "py" })).toMatchObject([
      { path: "name", message: expect.stringMatching(/extended by "child"/) },
    ])
    expect((await run(templates.list)).every(({ source }) => source !== "client")).toBe(true)
  })

  it("that others extend are not removed from under them", async () => {
    const templates = fresh()
    await run(templates.put("base", { command: "cat" }))
    await run(templates.put("user", { extends: "base" }))
    expect(await failure(templates.remove("base"))).toMatchObject({
      issues: [{ path: "name", message: expect.stringMatching(/"user"/) }],
    })
    await run(templates.remove("user"))
    await run(templates.remove("base"))
  })

  it("put at the same time leave no chain of two", async () => {
    const templates = fresh()
    await run(templates.put("a", { command: "cat" }))
    await run(templates.put("b", { command: "cat" }))
    const exits = await Promise.all([
      Effect.runPromiseExit(templates.put("a", { extends: "b" })),
      Effect.runPromiseExit(templates.put("b", { extends: "a" })),
    ])
    expect(exits.filter(({ _tag }) => _tag === "Success")).toHaveLength(1)
  })

  it("are limited in number, and replacing one is always possible", async () => {
    const templates = fresh()
    for (let n = 0; n < mostTemplates; n++) await run(templates.put(`t${n}`, {}))
    expect(await failure(templates.put("more", {}))).toMatchObject({ _tag: "LimitReached", value: mostTemplates })
    await run(templates.put("t0", { command: "cat" }))
  })
})
