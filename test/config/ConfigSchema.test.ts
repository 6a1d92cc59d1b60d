import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { stringify } from "yaml"
import { builtInTemplates } from "../../src/config/BuiltInTemplates.ts"
import { configJsonSchema } from "../../src/config/ConfigFile.ts"
import { checkConfiguration } from "../../src/config/Configuration.ts"
import { sessionSpecFields } from "../../src/domain/SessionSpec.ts"
import { checkedTimes } from "../support/Property.ts"

interface JsonSchema {
  readonly [keyword: string]: unknown
}

/** As much of JSON Schema as the schema of the file uses; a keyword it does not know is an error, not a yes. */
const accepts = (schema: unknown, value: unknown): boolean => {
  if (typeof schema === "boolean") return schema
  const { type, ...keywords } = schema as JsonSchema
  if (type !== undefined && !isOf(type as string, value)) return false
  const object = isOf("object", value) ? (value as Record<string, unknown>) : undefined
  return Object.entries(keywords).every(([keyword, wants]) => {
    const many = wants as ReadonlyArray<unknown>
    switch (keyword) {
      case "$schema":
      case "title":
      case "description":
        return true
      case "enum":
        return many.includes(value)
      case "anyOf":
        return many.some((one) => accepts(one, value))
      case "allOf":
        return many.every((one) => accepts(one, value))
      case "minimum":
        return typeof value !== "number" || value >= Number(wants)
      case "exclusiveMinimum":
        return typeof value !== "number" || value > Number(wants)
      case "maximum":
        return typeof value !== "number" || value <= Number(wants)
      case "minLength":
        return typeof value !== "string" || [...value].length >= Number(wants)
      case "pattern":
        return typeof value !== "string" || new RegExp(String(wants), "u").test(value)
      case "items":
        return !Array.isArray(value) || value.every((item) => accepts(wants, item))
      case "required":
        return object === undefined || many.every((name) => Object.hasOwn(object, name as string))
      case "propertyNames":
        return object === undefined || Object.keys(object).every((name) => accepts(wants, name))
      case "properties":
        return (
          object === undefined ||
          Object.entries(wants as JsonSchema).every(
            ([name, each]) => !Object.hasOwn(object, name) || accepts(each, object[name]),
          )
        )
      case "patternProperties":
        return (
          object === undefined ||
          Object.entries(wants as JsonSchema).every(([pattern, each]) =>
            Object.entries(object).every(([name, item]) => !new RegExp(pattern, "u").test(name) || accepts(each, item)),
          )
        )
      case "additionalProperties": {
        if (object === undefined) return true
        const named = Object.keys((keywords["properties"] as JsonSchema | undefined) ?? {})
        const patterns = Object.keys((keywords["patternProperties"] as JsonSchema | undefined) ?? {})
        return Object.entries(object).every(
          ([name, item]) =>
            named.includes(name) || patterns.some((p) => new RegExp(p, "u").test(name)) || accepts(wants, item),
        )
      }
      default:
        throw new Error(`the schema uses ${keyword}`)
    }
  })
}

const isOf = (type: string, value: unknown): boolean => {
  switch (type) {
    case "null":
      return value === null
    case "array":
      return Array.isArray(value)
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value)
    case "integer":
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}

const schema = configJsonSchema()

/** A value that fits a schema, mostly: now and then another, or a field that is not known. */
const fitting = (of: unknown): fc.Arbitrary<unknown> => {
  const { type, enum: choices, anyOf, properties, items, minimum = 0, additionalProperties } = of as JsonSchema
  const good = (): fc.Arbitrary<unknown> => {
    if (choices !== undefined) return fc.constantFrom(...(choices as ReadonlyArray<unknown>))
    if (anyOf !== undefined) return fc.oneof(...(anyOf as ReadonlyArray<unknown>).map(fitting))
    switch (type) {
      case "string":
        return fc.constantFrom("a", "b-1", "x.y", "python", "/tmp", "a b", "")
      case "integer":
      case "number":
        return fc.integer({ min: Math.max(0, Number(minimum) - 1), max: 3 })
      case "boolean":
        return fc.boolean()
      case "null":
        return fc.constant(null)
      case "array":
        return fc.array(fitting(items ?? {}), { maxLength: 2 })
      case "object": {
        if (properties === undefined) {
          const keys = fc.constantFrom("A", "b", "python", "no good", "x=y")
          return fc.dictionary(keys, fitting(additionalProperties ?? {}), { maxKeys: 2 })
        }
        const { required = [] } = of as { required?: ReadonlyArray<string> }
        const fields = Object.entries(properties as JsonSchema)
        const some = fc.subarray(fields, { maxLength: Math.min(4, fields.length) })
        return some.chain((chosen) => {
          const all = [...chosen, ...fields.filter(([name]) => required.includes(name))]
          return fc.record(Object.fromEntries(all.map(([name, each]) => [name, fitting(each)])))
        })
      }
      default:
        return fc.constantFrom(1, "a", null, [], {}, { a: [true] })
    }
  }
  return fc.oneof(
    { weight: 60, arbitrary: good() },
    { weight: 1, arbitrary: fc.constantFrom<unknown>("odd", 1.5, -1, true, null, [], {}, { comand: 1 }) },
  )
}

describe("the JSON schema of the file", () => {
  it("accepts what the check accepts", () => {
    let sound = 0
    let refused = 0
    checkedTimes(1500, fitting(schema), (value) => {
      const checked = checkConfiguration(stringify(value, { aliasDuplicateObjects: false }), "/etc/creche")
      if (checked._tag === "Wrong") return void refused++
      sound++
      expect(accepts(schema, value), JSON.stringify(value)).toBe(true)
    })
    expect(sound).toBeGreaterThan(50)
    expect(refused).toBeGreaterThan(50)
  })

  it("refuses unknown fields, wrong types and wrong names, as the check does", () => {
    const wrong: ReadonlyArray<unknown> = [
      {},
      { version: 2 },
      { version: 1, nonsense: 1 },
      { version: 1, templates: { "a b": { command: "cat" } } },
      { version: 1, templates: { a: { name: "x" } } },
      { version: 1, templates: { a: { persona: { prompt: "x" } } } },
      { version: 1, sessions: [{ command: "cat" }] },
      { version: 1, sessions: [{ name: "a", args: "x", command: "cat" }] },
      { version: 1, sessions: [{ name: "a", command: "cat", env: { "A=B": "x" } }] },
      { version: 1, sessions: [{ name: "a", command: "cat", protocol: { type: "text", endOfTurn: {} } }] },
      { version: 1, runtime: { restarts: { burst: 0, perSecond: 1 } } },
    ]
    for (const value of wrong) {
      expect(checkConfiguration(stringify(value), "/etc/creche")._tag).toBe("Wrong")
      expect(accepts(schema, value), JSON.stringify(value)).toBe(false)
    }
  })

  it("describes every field of a session", () => {
    const { properties } = schema as { properties: Record<string, JsonSchema> }
    const session = (properties["sessions"] as { items: { properties: object } }).items.properties
    expect(Object.keys(session).toSorted()).toEqual(Object.keys(sessionSpecFields).toSorted())
    for (const field of Object.values(session) as ReadonlyArray<JsonSchema>) expect(field["description"]).toBeTruthy()
  })

  it("takes the built-in templates as they are", () => {
    expect(accepts(schema, { version: 1, templates: builtInTemplates })).toBe(true)
    expect(checkConfiguration(stringify({ version: 1, templates: builtInTemplates }), "/etc")._tag).toBe("Sound")
  })
})
