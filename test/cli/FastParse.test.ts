import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { parse } from "../../src/cli/CommandTree.ts"
import { type CommandSpec, commands, type FlagSpec, sharedFlags } from "../../src/cli/Commands.ts"
import { fastParse } from "../../src/cli/FastParse.ts"

const full = (argv: ReadonlyArray<string>) => parse(argv, { version: "0", colours: false })

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

describe("the fast parser", () => {
  it.each([
    [["ps"]],
    [["--json", "ps"]],
    [["ps", "--json", "-q"]],
    [["ps", "--status", "busy", "--status=ready"]],
    [["--data=/x", "tree", "--socket", "/y"]],
    [["ask", "demo", "hello", "there", "--stream"]],
    [["ask", "demo", "-"]],
    [["ask", "demo", "--", "--not-a-flag", "-x"]],
    [["logs", "-f", "demo", "--after", "12"]],
    [["start", "--", "cat"]],
    [["start", "web", "--env", "A=1", "--env", "B", "--", "node", "--json", "--", "x"]],
    [["stop", "a", "b", "--kill"]],
    [["cancel", "a"]],
    [["cancel", "a", "t"]],
    [["completions", "zsh"]],
    [["serve", "--memory"]],
    [["logs", "--all", "-f", "demo"]],
    [["history", "demo", "--limit", "3"]],
    [["search", "two", "words", "--session=demo"]],
    [["export", "demo", "--format", "markdown", "--output", "x.md", "--force"]],
    [["extend", "demo", "never"]],
    [["fork", "demo"]],
    [["fork", "demo", "twin", "--json"]],
  ])("reads %j as effect/cli does", async (argv) => {
    const fast = fastParse(argv)
    expect(fast).toBeDefined()
    const parsed = await full(argv)
    expect(plain(parsed)).toEqual(plain({ _tag: "Command", invocation: fast }))
  })

  it.each([
    [[]],
    [["--help"]],
    [["ps", "--help"]],
    [["bogus"]],
    [["constructor"]],
    [["ps", "extra"]],
    [["ps", "--bogus"]],
    [["ps", "--status", "sleepy"]],
    [["ask", "demo"]],
    [["logs", "demo", "--after", "x"]],
    [["logs", "demo", "--after", "-1"]],
    [["ps", "--data"]],
    [["start", "web", "cat"]],
    [["stop"]],
    [["search"]],
    [["extend", "demo"]],
    [["extend", "demo", "-5"]],
    [["export", "demo", "--format", "pdf"]],
    [["completions", "tcsh"]],
  ])("leaves %j to effect/cli", (argv) => {
    expect(fastParse(argv)).toBeUndefined()
  })

  it("never disagrees with effect/cli about a line that it accepts", async () => {
    const flagNames = Object.entries(commands).flatMap(([, spec]) => Object.keys((spec as CommandSpec).flags))
    const word = fc.oneof(
      fc.constantFrom(...Object.keys(commands)),
      fc.constantFrom(
        "a",
        "b=c",
        "-",
        "--",
        "",
        "-1",
        "-f",
        "-q",
        "-fq",
        "7",
        "busy",
        "zsh",
        "guard",
        "--no-json",
        "--js",
      ),
      fc.constantFrom(...flagNames, ...Object.keys(sharedFlags)).map((name) => `--${name}`),
      fc
        .tuple(
          fc.constantFrom(...flagNames, ...Object.keys(sharedFlags)),
          fc.constantFrom("", "x", "7", "a=b", "busy", "-x"),
        )
        .map(([name, value]) => `--${name}=${value}`),
    )
    let accepted = 0
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(commands)),
        fc.array(word, { maxLength: 5 }),
        fc.nat({ max: 1 }),
        async (name, words, first) => {
          const argv = first === 0 ? [name, ...words] : [...words.slice(0, 1), name, ...words.slice(1)]
          const fast = fastParse(argv)
          if (fast === undefined) return
          accepted++
          expect(plain(await full(argv)), JSON.stringify(argv)).toEqual(plain({ _tag: "Command", invocation: fast }))
        },
      ),
      { numRuns: 1500 },
    )
    expect(accepted).toBeGreaterThan(100)
  })
})

describe("the command table", () => {
  it("gives no command a flag that all commands share", () => {
    for (const [name, spec] of Object.entries(commands) as Array<[string, CommandSpec]>)
      for (const flag of Object.keys(spec.flags)) expect(Object.keys(sharedFlags), name).not.toContain(flag)
  })

  it("says something of every command, argument and flag", () => {
    const flags = (specs: Readonly<Record<string, FlagSpec>>) => Object.values(specs).map((flag) => flag.summary)
    for (const spec of Object.values(commands) as Array<CommandSpec>) {
      const texts = [spec.summary, ...spec.arguments.map((argument) => argument.summary), ...flags(spec.flags)]
      for (const text of texts) expect(text.trim()).not.toBe("")
    }
  })

  it("tells a command line without -- what is missing", async () => {
    const parsed = await full(["start", "web", "cat"])
    expect(parsed).toMatchObject({ _tag: "Mistake", text: expect.stringContaining("put -- before") as string })
  })
})
