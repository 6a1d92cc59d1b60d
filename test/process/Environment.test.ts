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

  it("TMPDIR is the session's own whatever is inherited, unless it is added or removed by name", () => {
    const own = { ...markers, TMPDIR: "/own" }
    const inherited = { TMPDIR: "/tmp" }
    const tmpdir = (added: Record<string, string | null>, inherit: "all" | Array<string>) =>
      childEnvironment(inherit, added, inherited, own)["TMPDIR"]
    for (const inherit of ["all" as const, ["TMPDIR"], []]) {
      expect(tmpdir({}, inherit)).toBe("/own")
      expect(tmpdir({ TMPDIR: "/added" }, inherit)).toBe("/added")
      expect(tmpdir({ TMPDIR: "" }, inherit)).toBe("")
      expect(Object.hasOwn(childEnvironment(inherit, { TMPDIR: null }, inherited, own), "TMPDIR")).toBe(false)
    }
    expect(childEnvironment(["TMPDIR"], {}, inherited, markers)["TMPDIR"]).toBe("/tmp")
    expect(childEnvironment([], {}, inherited, markers)["TMPDIR"]).toBeUndefined()
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
