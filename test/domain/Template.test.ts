import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { InvalidParams, TemplateNotFound, Unsupported } from "../../src/domain/Errors.ts"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { resolveTemplate, type Template } from "../../src/domain/Template.ts"
import { checked } from "../support/Property.ts"

const finder = (templates: Readonly<Record<string, Template>>) => (name: string) =>
  Object.hasOwn(templates, name) ? templates[name] : undefined
const resolved = (templates: Readonly<Record<string, Template>>, name: string, overrides: SessionSpecInput = {}) => {
  const spec = resolveTemplate(finder(templates), name, overrides)
  if (spec instanceof Error) throw spec
  return spec
}
const refused = (templates: Readonly<Record<string, Template>>, name: string, overrides: SessionSpecInput = {}) => {
  const error = resolveTemplate(finder(templates), name, overrides)
  if (!(error instanceof Error)) throw new Error(`was accepted: ${JSON.stringify(error)}`)
  return error
}

const names = fc.constantFrom("A", "B", "C", "__proto__", "constructor")
const own = <V>(entries: ReadonlyArray<readonly [string, V]>) => Object.fromEntries(entries)
const record = <V>(value: fc.Arbitrary<V>) => fc.array(fc.tuple(names, value), { maxLength: 4 }).map(own)
const text = fc.string({ maxLength: 3 })
const fields = fc.record(
  {
    command: text,
    args: fc.array(text, { maxLength: 3 }),
    env: record(fc.option(text)),
    tags: record(text),
    inheritEnv: fc.oneof(fc.constant("all" as const), fc.array(text, { maxLength: 2 })),
    restart: fc.constantFrom("permanent", "transient", "temporary"),
    mailbox: fc.record({ capacity: fc.integer({ min: 1, max: 9 }) }, { requiredKeys: [] }),
    metadata: fc.oneof(fc.constant(null), fc.record({ a: fc.integer() })),
    idleTimeoutMs: fc.option(fc.integer({ min: 1, max: 9 })),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Template>

/** What of the three says something about a field, the last one first. */
const layers = (field: string, ...specs: ReadonlyArray<object>) =>
  specs.filter((spec) => Object.hasOwn(spec, field)).map((spec) => (spec as Record<string, unknown>)[field])

describe("a template", () => {
  it("is overridden field by field, and key by key in env and tags alone", () => {
    checked(fields, fields, fields, (parent, child, overrides) => {
      const spec = resolved({ parent, child: { ...child, extends: "parent" } }, "child", {
        ...overrides,
        template: "child",
      }) as Record<string, unknown>
      for (const field of new Set([parent, child, overrides].flatMap((each) => Object.keys(each)))) {
        const said = layers(field, parent, child, overrides)
        if (field === "env" || field === "tags") {
          const merged = new Map(said.flatMap((each) => Object.entries(each as object)))
          expect(new Map(Object.entries(spec[field] as object))).toEqual(merged)
        } else expect(spec[field]).toEqual(said.at(-1))
      }
      const known = new Set([parent, child, overrides].flatMap((each) => Object.keys(each)))
      expect(Object.keys(spec).toSorted()).toEqual([...known].toSorted())
    })
  })

  it("is left as it was, as are its parent and the overrides", () => {
    checked(fields, fields, fields, (parent, child, overrides) => {
      const before = structuredClone([parent, child, overrides])
      resolved({ parent, child: { ...child, extends: "parent" } }, "child", overrides)
      expect([parent, child, overrides]).toEqual(before)
    })
  })

  it("changes nothing when the overrides are what it resolved to", () => {
    checked(fields, (template) => {
      const once = resolved({ template }, "template")
      expect(resolved({ template }, "template", once)).toEqual(once)
    })
  })

  it("leaves no trace of its own fields in the spec", () => {
    const template: Template = { extends: "base", description: "x", command: "cat" }
    expect(resolved({ base: { description: "y", tags: { a: "1" } }, template }, "template", { name: "n" })).toEqual({
      command: "cat",
      tags: { a: "1" },
      name: "n",
    })
  })

  it("removes a variable of its parent with null", () => {
    const templates = { base: { env: { A: "1", B: "2" } }, child: { extends: "base", env: { A: null } } }
    expect(resolved(templates, "child", { env: { B: "3" } }).env).toEqual({ A: null, B: "3" })
  })
})

describe("inheritance", () => {
  const chain: Readonly<Record<string, Template>> = {
    base: { command: "cat" },
    middle: { extends: "base" },
    top: { extends: "middle" },
    self: { extends: "self" },
    lost: { extends: "nobody" },
    toString: { command: "cat" },
  }

  it("goes one level deep", () => {
    expect(resolved(chain, "middle")).toEqual({ command: "cat" })
    const error = refused(chain, "top")
    expect(error).toBeInstanceOf(InvalidParams)
    expect((error as InvalidParams).issues).toEqual([
      { path: "template", message: expect.stringMatching(/"top".*extends: "middle" extends "base" itself.*one level/) },
    ])
  })

  it("of itself is refused, and of nobody", () => {
    expect(refused(chain, "self").message).toMatch(/cannot extend itself/)
    expect(refused(chain, "lost").message).toMatch(/no template is called "nobody"/)
  })

  it("of a name that every object has finds nothing", () => {
    for (const name of ["constructor", "__proto__", "hasOwnProperty"]) {
      expect(refused(chain, name)).toEqual(new TemplateNotFound({ template: name }))
    }
    expect(resolved(chain, "toString")).toEqual({ command: "cat" })
  })
})

describe("a persona", () => {
  const persona = { systemPrompt: "You are terse.", agentArgs: ["--max-turns=3"] }

  it("of an agent is a system prompt and arguments, after the protocol's own", () => {
    for (const type of ["claude", "codex", "acp"] as const) {
      const templates: Readonly<Record<string, Template>> = {
        base: { command: "agent", protocol: { type, model: "m", systemPrompt: "Be kind.", extraArgs: ["--x"] } },
        terse: { extends: "base", persona },
      }
      expect(resolved(templates, "terse").protocol).toEqual({
        type,
        model: "m",
        systemPrompt: "Be kind.\n\nYou are terse.",
        extraArgs: ["--x", "--max-turns=3"],
      })
    }
    expect(resolved({ p: { protocol: "claude", persona } }, "p").protocol).toMatchObject({ type: "claude" })
  })

  it("survives an override of the protocol's options", () => {
    const overrides: SessionSpecInput = { protocol: { type: "claude", model: "other" } }
    expect(resolved({ p: { protocol: "claude", persona } }, "p", overrides).protocol).toEqual({
      type: "claude",
      model: "other",
      systemPrompt: "You are terse.",
      extraArgs: ["--max-turns=3"],
    })
  })

  it("is refused by name where the protocol cannot carry it", () => {
    for (const protocol of ["text", "lines", "ndjson", "jsonrpc", "mcp"] as const) {
      expect(refused({ p: { protocol, persona } }, "p")).toMatchObject({
        _tag: "Unsupported",
        what: "persona.systemPrompt",
      })
    }
    expect(refused({ p: { persona: { agentArgs: ["-x"] } } }, "p")).toEqual(
      new Unsupported({
        what: "persona.agentArgs",
        detail: 'the protocol "lines" talks to no agent; put them into args',
      }),
    )
  })

  it("of arguments alone goes to any agent, and an empty one to anything", () => {
    for (const protocol of ["claude", "codex", "acp"] as const) {
      expect(resolved({ p: { protocol, persona: { agentArgs: ["-x"] } } }, "p").protocol).toEqual({
        type: protocol,
        extraArgs: ["-x"],
      })
    }
    expect(resolved({ p: { protocol: "lines", persona: {} } }, "p")).toEqual({ protocol: "lines" })
    expect(resolved({ p: { protocol: "claude", persona: {} } }, "p")).toEqual({ protocol: "claude" })
  })
})
