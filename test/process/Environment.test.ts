import { describe, expect, it } from "vitest"
import { childEnvironment } from "../../src/process/Environment.ts"

const markers = { CRECHE_RUNTIME: "r1", CRECHE_SESSION: "s1" }
const parent = { PATH: "/bin", HOME: "/root", SECRET: "x", EMPTY: "", GONE: undefined }

describe("the environment of a child", () => {
  it("passes on the listed names alone", () => {
    expect({ ...childEnvironment(["PATH", "EMPTY", "MISSING", "GONE"], {}, parent, markers) }).toEqual({
      PATH: "/bin",
      EMPTY: "",
      ...markers,
    })
  })

  it('passes on everything with "all"', () => {
    expect({ ...childEnvironment("all", {}, parent, markers) }).toEqual({
      PATH: "/bin",
      HOME: "/root",
      SECRET: "x",
      EMPTY: "",
      ...markers,
    })
  })

  it("adds and overrides variables, and null removes one", () => {
    const added = { PATH: "/opt", NEW: "1", SECRET: null, NEVER: null }
    expect({ ...childEnvironment("all", added, parent, markers) }).toEqual({
      PATH: "/opt",
      HOME: "/root",
      EMPTY: "",
      NEW: "1",
      ...markers,
    })
  })

  it("the markers cannot be overridden, removed or inherited", () => {
    const added = { CRECHE_RUNTIME: "forged", CRECHE_SESSION: null }
    expect(childEnvironment("all", added, { CRECHE_SESSION: "outer" }, markers)).toMatchObject(markers)
  })

  it("names of Object.prototype are plain names", () => {
    const env = childEnvironment(["constructor", "__proto__"], { ["__proto__"]: "a", toString: "b" }, {}, markers)
    expect(env["constructor"]).toBeUndefined()
    expect(Object.keys(env)).toContain("toString")
  })
})
