import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { InvalidParams } from "../../src/domain/Errors.ts"
import { strictDecoder } from "../../src/domain/StrictDecoder.ts"
import { contract, methods } from "../../src/transport/Contract.ts"
import { decoders, isPlainTurn } from "../../src/transport/Params.ts"

const issuesOf = (method: keyof typeof decoders, params: unknown) => {
  const decoded = (decoders[method] as (params: unknown) => unknown)(params)
  return decoded instanceof InvalidParams ? decoded.issues : []
}
/** The only problem with these params of session/start. */
const problem = (params: object) => {
  const issues = issuesOf("session/start", { command: "cat", ...params })
  expect(issues).toHaveLength(1)
  return `${issues[0]?.path}: ${issues[0]?.message}`
}

describe("a plain turn", () => {
  it.each(["session/ask", "session/tell"] as const)("of %s is one that the contract takes as it is", (method) => {
    const { decode } = strictDecoder<unknown>(contract[method].params)
    const some = fc.oneof(fc.string(), fc.constantFrom("", null, undefined, 1, [], {}, ["a"]))
    const given = fc.dictionary(fc.constantFrom("session", "prompt", "stream", "timeoutMs", "__proto__"), some)
    let plain = 0
    fc.assert(
      fc.property(fc.oneof(given, fc.record({ session: some, prompt: some }), fc.anything()), (params) => {
        if (!isPlainTurn(params)) return
        plain++
        expect(decode(params)).toEqual({ _tag: "Valid", value: params })
      }),
      { numRuns: 2_000 },
    )
    expect(plain).toBeGreaterThan(20)
  })

  it("is none with anything besides, and none without", () => {
    expect(isPlainTurn({ session: "a", prompt: "" })).toBe(true)
    for (const other of [
      { timeoutMs: 1 },
      { timeoutMs: undefined },
      { session: "" },
      { prompt: ["x"] },
      { strem: true },
    ])
      expect(isPlainTurn({ session: "a", prompt: "b", ...other })).toBe(false)
  })
})

describe("params", () => {
  it("take every field of a spec at its default", () => {
    expect(
      issuesOf("session/start", { name: "a", command: "cat", env: { A: "1", B: null }, ifExists: "return" }),
    ).toEqual([])
    expect(
      issuesOf("session/start", { command: "cat", protocol: { type: "text", endOfTurn: { quietMs: 5 } } }),
    ).toEqual([])
    expect(issuesOf("session/start", { command: "cat", shutdown: "brutal_kill", inheritEnv: "all" })).toEqual([])
  })

  it("name the field and the remedy", () => {
    expect(problem({ name: "a/b" })).toMatch(/^name: .*no slash/)
    expect(problem({ command: "" })).toMatch(/^command: must not be empty/)
    expect(problem({ comand: "x" })).toBe('comand: is not a known field; did you mean "command"?')
    expect(problem({ args: "x" })).toBe("args: must be an array")
    expect(problem({ args: ["a", 1] })).toBe("args.1: must be a string")
    expect(problem({ turnTimeoutMs: -1 })).toBe("turnTimeoutMs: must be a value greater than or equal to 1")
    expect(problem({ limits: { lineBytes: 1.5 } })).toBe("limits.lineBytes: must be an integer")
    expect(problem({ backoff: { factr: 2 } })).toBe('backoff.factr: is not a known field; did you mean "factor"?')
    expect(problem({ containment: "x" })).toBe(
      'containment: must be one of "auto", "group", "guard", "namespace", "cgroup"',
    )
    expect(problem({ env: { A: 3 } })).toBe("env.A: must be a string or null")
    expect(problem({ env: { "A=B": "x" } })).toMatch(/^env\.A=B: a variable's name/)
    expect(problem({ restart: "always" })).toBe('restart: must be one of "permanent", "transient", "temporary"')
  })

  it.each([
    ["session/search", {}, "query: is required"],
    ["session/search", { query: "" }, "query: must not be empty"],
    ["session/search", { query: "a", limit: 0 }, "limit: must be a value between 1 and 1000"],
    ["session/search", { query: "a", limit: 1001 }, "limit: must be a value between 1 and 1000"],
    ["session/search", { query: "a", sesion: "b" }, 'sesion: is not a known field; did you mean "session"?'],
    ["session/extend", { session: "a" }, "expiresInMs: is required"],
    ["session/extend", { session: "a", expiresInMs: 0 }, "expiresInMs: must be a value between 1 and 3153600000000"],
    ["session/extend", { session: "a", expiresInMs: 2 ** 53 - 1 }, /^expiresInMs: must be a value between/],
    ["session/extend", { session: "a", expiresInMs: 1.5 }, "expiresInMs: must be an integer"],
    ["session/extend", { session: "a", expiresInMs: "never" }, "expiresInMs: must be a number or null"],
    ["session/fork", { session: "a", name: "b/c" }, /^name: .*no slash/],
    ["session/fork", { name: "b" }, "session: is required"],
    ["session/history", { session: "a", limit: 0 }, "limit: must be a value between 1 and 1000"],
    ["session/history", { session: "a", before: -1 }, "before: must be a value greater than or equal to 0"],
    ["session/history", { session: "a", after: 1 }, /^after: is not a known field/],
    ["session/transcript", { session: "a", all: "yes" }, "all: must be true or false"],
    ["session/transcript", { session: "a", limit: 10_001 }, "limit: must be a value between 1 and 10000"],
  ] as const)("of %s, %j, are refused at their field", (method, params, expected) => {
    const issues = issuesOf(method, params)
    expect(issues).toHaveLength(1)
    const said = `${issues[0]?.path}: ${issues[0]?.message}`
    if (typeof expected === "string") expect(said).toBe(expected)
    else expect(said).toMatch(expected)
  })

  it("of the methods for a session's past take their bounds", () => {
    for (const expiresInMs of [1, null, 2 ** 40])
      expect(issuesOf("session/extend", { session: "a", expiresInMs })).toEqual([])
    for (const limit of [1, 1000]) {
      expect(issuesOf("session/history", { session: "a", limit, before: 0 })).toEqual([])
      expect(issuesOf("session/search", { query: "a", session: "b", limit })).toEqual([])
    }
    expect(issuesOf("session/transcript", { session: "a", all: true })).toEqual([])
    expect(issuesOf("session/fork", { session: "a" })).toEqual([])
  })

  it("say what a union takes", () => {
    expect(problem({ protocol: "nope" })).toMatch(/^protocol: must be one of "text", "lines".*or an object/)
    expect(problem({ protocol: { type: "nope" } })).toMatch(/^protocol: must be one of "text"/)
    expect(problem({ protocol: { type: "lines", endOfTurn: {} } })).toMatch(
      /^protocol\.endOfTurn: is not a known field/,
    )
    expect(problem({ shutdown: "x" })).toMatch(/^shutdown: must be "brutal_kill" or an object/)
    expect(problem({ shutdown: { graceMs: -1 } })).toMatch(/^shutdown\.graceMs: must be/)
    for (const endOfTurn of [{}, 3, { promt: "x" }, { prompt: "x", quietMs: 3 }]) {
      expect(problem({ protocol: { type: "text", endOfTurn } })).toMatch(
        /^protocol\.endOfTurn: must be exactly one of \{"prompt": REGEX\}/,
      )
    }
    expect(problem({ protocol: { type: "text", endOfTurn: { prompt: "(" } } })).toMatch(
      /^protocol\.endOfTurn\.prompt: must be a regular expression/,
    )
  })

  it("report every problem at once", () => {
    const issues = issuesOf("session/start", { name: 1, command: 2, args: 3, foo: 4, shutdown: { signal: "X" } })
    expect(issues.map((issue) => issue.path).toSorted()).toEqual(["args", "command", "foo", "name", "shutdown.signal"])
  })

  it("never repeat a value, which may be a secret", () => {
    const secret = "hunter2"
    const issues = issuesOf("session/start", {
      command: 1,
      name: `${secret}/`,
      env: { A: [secret] },
      metadata: undefined,
      protocol: secret,
      shutdown: { signal: secret },
    })
    expect(issues.length).toBeGreaterThan(3)
    expect(JSON.stringify(issues)).not.toContain(secret)
  })

  it("may be absent where nothing is required, and must be given by name", () => {
    expect(issuesOf("runtime/info", undefined)).toEqual([])
    expect(issuesOf("session/list", undefined)).toEqual([])
    expect(issuesOf("session/get", undefined)).toEqual([{ path: "session", message: "is required" }])
    for (const method of methods) expect(issuesOf(method, ["a"])[0]?.message).toContain("by name")
  })

  it("refuse unknown fields everywhere, also where there are no fields", () => {
    for (const method of methods)
      expect(issuesOf(method, { nonsense: 1 }).map((each) => each.path)).toContain("nonsense")
    expect(issuesOf("runtime/tree", JSON.parse('{"__proto__": 1}'))).toHaveLength(1)
  })

  it("refuse nesting that could not be written out again, without overflowing the stack", () => {
    const metadata = JSON.parse("[".repeat(100_000) + "]".repeat(100_000))
    expect(issuesOf("session/start", { command: "cat", metadata })[0]?.message).toContain("levels")
  })

  it("name the kinds of a content block", () => {
    expect(issuesOf("session/ask", { session: "a", prompt: [{ type: "x" }] })[0]).toMatchObject({
      path: "prompt.0",
      message: expect.stringContaining("content block"),
    })
    expect(issuesOf("session/ask", { session: "a", prompt: 3 })[0]?.message).toContain("must be a string or an array")
  })
})
