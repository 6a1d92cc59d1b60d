import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as fc from "fast-check"
import { afterAll, describe, expect, it } from "vitest"
import {
  checkConfiguration,
  type Configuration,
  ConfigurationUnreadable,
  ConfigurationWrong,
  readConfiguration,
} from "../../src/config/Configuration.ts"
import { checkedTimes } from "../support/Property.ts"

const problemsIn = (text: string) => {
  const checked = checkConfiguration(text, "/etc/creche")
  return checked._tag === "Wrong" ? checked.problems.map((p) => `${p.line}:${p.column} ${p.path}: ${p.message}`) : []
}
const configurationOf = (text: string): Configuration => {
  const checked = checkConfiguration(text, "/etc/creche")
  if (checked._tag === "Wrong") throw new Error(JSON.stringify(checked.problems))
  return checked.configuration
}

/** Each file with its only problem. */
const wrong: ReadonlyArray<readonly [what: string, text: string, problem: RegExp]> = [
  ["that is empty", "", /^1:1 : the file is empty; the least it may hold is `version: 1`$/],
  ["of comments alone", "# nothing\n\n", /^1:1 : the file is empty/],
  ["that is a list", "- version: 1\n", /^1:1 : the file must be a mapping/],
  ["that is a word", "creche\n", /^1:1 : the file must be a mapping/],
  [
    "without a version",
    "templates: {}\n",
    /^1:1 version: is required; this creche reads version 1: write `version: 1`$/,
  ],
  ["of another version", "version: 2\n", /^1:10 version: is not known; .*write `version: 1`$/],
  ["of another version, after a byte order mark", "\uFEFFversion: 2\n", /^1:10 version: is not known/],
  ["whose version is a text", 'version: "1"\n', /^1:10 version: is not known/],
  [
    "with an unknown field",
    "version: 1\nsesions: []\n",
    /^2:1 sesions: is not a known field; did you mean "sessions"\?$/,
  ],
  [
    "with an unknown field in a template",
    "version: 1\ntemplates:\n  a:\n    comand: cat\n",
    /^4:5 templates\.a\.comand: is not a known field; did you mean "command"\?$/,
  ],
  [
    "with a name in a template, which only a session has",
    "version: 1\ntemplates:\n  a: {name: x}\n",
    /^3:7 templates\.a\.name: is not a known field/,
  ],
  [
    "with an unknown field in a session's backoff",
    "version: 1\nsessions:\n  - name: a\n    command: cat\n    backoff: {factr: 2}\n",
    /^5:15 sessions\.0\.backoff\.factr: is not a known field; did you mean "factor"\?$/,
  ],
  [
    "with a template whose name has a space",
    "version: 1\ntemplates:\n  my agent: {command: cat}\n",
    /^3:3 templates\.my agent: a template's name must be/,
  ],
  [
    "whose limit is a word",
    "version: 1\nruntime: {restarts: {burst: many, perSecond: 1}}\n",
    /^2:29 runtime\.restarts\.burst: must be a number$/,
  ],
  [
    "that lets no session live",
    "version: 1\nruntime: {maxLiveSessions: 0}\n",
    /^2:28 runtime\.maxLiveSessions: must be/,
  ],
  [
    "with another way of being full",
    "version: 1\nruntime: {whenFull: queue}\n",
    /^2:21 runtime\.whenFull: must be one of "wait", "refuse"$/,
  ],
  [
    "with a store that there is not",
    "version: 1\nruntime: {store: postgres}\n",
    /^2:18 runtime\.store: must be one of "sqlite", "memory"$/,
  ],
  [
    "with an age in days",
    "version: 1\nruntime: {retention: {maxAgeMs: 30d}}\n",
    /^2:33 runtime\.retention\.maxAgeMs: must be a number$/,
  ],
  [
    "with a limit that stands in the wrong place",
    "version: 1\nmaxLiveSessions: 3\n",
    /^2:1 maxLiveSessions: is not a known field/,
  ],
  [
    "with a key twice",
    "version: 1\ntemplates: {}\ntemplates: {}\n",
    /^3:1 templates: stands here for the second time; keep one/,
  ],
  [
    "with a key twice, deep inside",
    "version: 1\nsessions:\n  - name: a\n    command: cat\n    env: {A: x, A: y}\n",
    /^5:17 sessions\.0\.env\.A: stands here for the second time/,
  ],
  [
    "indented by a tab",
    "version: 1\ntemplates:\n\ta: {command: cat}\n",
    /^3:1 : a tab cannot indent in YAML; use spaces$/,
  ],
  [
    "with an anchor",
    "version: 1\ntemplates:\n  a: &a {command: cat}\n",
    /^3:9 templates\.a: anchors and aliases .* are not read here; write it out/,
  ],
  [
    "with a tag",
    "version: 1\ntemplates:\n  a: {command: !env HOME}\n",
    /^3:16 templates\.a\.command: tags \(!\) are not read here/,
  ],
  ["of two documents", "version: 1\n---\nversion: 1\n", /^2:1 .*: a second document begins here/],
  ["with a quote left open", 'version: 1\nruntime:\n  socket: "x\n', /^\d:\d+ .*: is not YAML: missing closing "quote/],
  [
    "with two fields on a line",
    "version: 1\nruntime: socket: x\n",
    /^2:10 runtime\.socket: a value holds no second `name: value`/,
  ],
  [
    "with a number for a variable",
    "version: 1\nsessions:\n  - name: a\n    command: cat\n    env:\n      PORT: 8080\n",
    /^6:13 sessions\.0\.env\.PORT: must be a string or null; put it in quotes$/,
  ],
  [
    "with a number for an argument",
    "version: 1\nsessions:\n  - name: a\n    command: cat\n    args:\n      - -u\n      - 3\n",
    /^7:9 sessions\.0\.args\.1: must be a string; put it in quotes$/,
  ],
  [
    "with nothing after a name",
    "version: 1\ntemplates:\n  a:\n    command:\n",
    /^4:13? ?.*templates\.a\.command: must be a string; nothing stands here$/,
  ],
  [
    "with templates that are none",
    "version: 1\ntemplates:\nsessions: []\n",
    /^2:\d+ templates: must be an object; nothing stands here$/,
  ],
  [
    "with a session without a name",
    "version: 1\nsessions:\n  - command: cat\n",
    /^3:5 sessions\.0\.name: is required$/,
  ],
  [
    "with a session without a command",
    "version: 1\nsessions:\n  - name: a\n",
    /^3:5 sessions\.0\.command: is required: the program/,
  ],
  [
    "with two sessions of a name",
    "version: 1\nsessions:\n  - {name: a, command: cat}\n  - {name: a, command: cat}\n",
    /^4:12 sessions\.1\.name: an earlier session has the same name; choose another$/,
  ],
  [
    "with two sessions of a task",
    "version: 1\nsessions:\n  - {name: a, task: t, command: cat}\n  - {name: b, task: t, command: cat}\n",
    /^4:21 sessions\.1\.task: an earlier session has the same task/,
  ],
  [
    "with a session of an unknown template",
    "version: 1\nsessions:\n  - name: a\n    template: pyton\n",
    /^4:15 sessions\.0\.template: no template is called "pyton"/,
  ],
  [
    "with a session that this build cannot run: its template's protocol is not spoken",
    "version: 1\nsessions:\n  - name: a\n    template: pty\ntemplates:\n  pty: {command: vi, protocol: pty}\n",
    /^3:5 sessions\.0\.protocol: this build does not speak "pty"/,
  ],
  [
    "with a session under no supervisor",
    "version: 1\nsessions:\n  - {name: a, command: cat, supervisor: root/x}\n",
    /^3:41 sessions\.0\.supervisor: no supervisor/,
  ],
  [
    "with a supervisor of half a limit",
    "version: 1\nsupervisors:\n  - {path: root/a, maxRestarts: 3}\n",
    /^3:\d+ supervisors\.0\.withinMs: is missing: maxRestarts needs it, or leave out both/,
  ],
  [
    "with a supervisor below none",
    "version: 1\nsupervisors:\n  - {path: root/a/b}\n  - {path: root/a}\n",
    /^3:12 supervisors\.0\.path: no supervisor before it has the path "root\/a"; put that one first/,
  ],
  [
    "with two supervisors of one path",
    "version: 1\nsupervisors:\n  - {path: root/a}\n  - {path: root/a, strategy: one_for_all}\n",
    /^4:12 supervisors\.1\.path: an earlier supervisor has the same path/,
  ],
  [
    "with a supervisor at no path",
    "version: 1\nsupervisors:\n  - {path: tenants}\n",
    /^3:12 supervisors\.0\.path: must be root\/NAME/,
  ],
  [
    "with a chain of two templates",
    "version: 1\ntemplates:\n  a: {extends: b}\n  b: {extends: python}\n",
    /^3:16 templates\.a\.extends: "b" extends "python" itself, and inheritance goes one level deep: extend "python"/,
  ],
  [
    "with a template that extends itself",
    "version: 1\ntemplates:\n  a: {extends: a}\n",
    /^3:16 templates\.a\.extends: a template cannot extend itself/,
  ],
  [
    "with a template that extends nobody",
    "version: 1\ntemplates:\n  a: {extends: b}\n",
    /^3:16 templates\.a\.extends: no template is called "b"/,
  ],
  [
    "with a persona for a program that is no agent",
    "version: 1\ntemplates:\n  a:\n    extends: python\n    persona:\n      systemPrompt: be brief\n",
    /^6:21 templates\.a\.persona\.systemPrompt: the protocol "text" talks to no agent/,
  ],
  [
    "with an empty system prompt",
    'version: 1\ntemplates:\n  a:\n    extends: claude\n    persona: {systemPrompt: ""}\n',
    /^5:29 templates\.a\.persona\.systemPrompt: must not be empty/,
  ],
  [
    "with half an end of turn",
    "version: 1\ntemplates:\n  a:\n    protocol:\n      type: text\n      endOfTurn: {prompt: '('}\n",
    /^6:27 templates\.a\.protocol\.endOfTurn\.prompt: must be a regular expression/,
  ],
  ["with a list for a name", "version: 1\n? [a]\n: 1\n", /^2:3 : a name must be plain text/],
  [
    "nested without end",
    `version: 1\ntemplates: ${"[".repeat(200)}${"]".repeat(200)}\n`,
    /^2:\d+ templates\.0\.0: is nested more than 128/,
  ],
  [
    "with infinity",
    "version: 1\nsessions: [{name: a, command: cat, metadata: .inf}]\n",
    /^2:46 sessions\.0\.metadata: must be a JSON value/,
  ],
]

describe("a file is refused with line, column, field and remedy", () => {
  it.each(wrong)("%s", (_, text, problem) => {
    const problems = problemsIn(text)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(problem)
  })

  it("and all that is wrong with it at once, in the order of the file", () => {
    const text = [
      "version: 3",
      "runtime: {sokket: x}",
      "templates:",
      "  a: &a {extends: 3}",
      "  a: {restart: always}",
      "sessions:",
      "  - {name: a/b, command: 1}",
      "extra: true",
    ].join("\n")
    expect(problemsIn(text).map((problem) => problem.split(":").slice(0, 2).join(":").replace(/ .*/, ""))).toEqual([
      "1:10",
      "2:11",
      "4:9",
      "5:3",
      "5:16",
      "7:12",
      "7:26",
      "8:1",
    ])
  })

  it("and never repeats a value, which may be a secret", () => {
    const secret = "hunter2"
    const text = `version: 1\nsessions:\n  - name: ${secret}/\n    command: [${secret}]\n    env: {A: [${secret}]}\n    protocol: ${secret}\n    shutdown: {signal: ${secret}}\n`
    const problems = problemsIn(text)
    expect(problems.length).toBeGreaterThanOrEqual(5)
    expect(problems.join()).not.toContain(secret)
  })

  it("of a billion laughs at once", () => {
    const lines = ["version: 1", "a0: &a0 [x, x]"]
    for (let n = 1; n < 40; n++) lines.push(`a${n}: &a${n} [*a${n - 1}, *a${n - 1}]`)
    const problems = problemsIn(lines.join("\n"))
    expect(problems[0]).toMatch(/^2:\d+ a0: anchors and aliases/)
  })

  it("also where it is nested so deep that no stack would hold it", () => {
    for (const text of [`version: ${"[".repeat(100_000)}`, `version: ${"{a: ".repeat(20_000)}`]) {
      expect(problemsIn(text).length).toBeGreaterThan(0)
    }
  })
})

describe("a damaged file", () => {
  const page = readFileSync(new URL("../../docs/templates.md", import.meta.url), "utf8")
  const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!)
  const scraps = [
    "\t",
    "  ",
    "\n",
    ":",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!x ",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "#",
    "? ",
    "|",
    ">",
    "<<: ",
    "---\n",
    "%",
    "\u0000",
    "\ud800",
    "null",
    "~",
    "1",
    "__proto__: x\n",
  ]
  const damage = fc.tuple(fc.nat(), fc.nat({ max: 6 }), fc.constantFrom(...scraps))

  it("is read or refused, never more; and every problem lies in it and says something", () => {
    checkedTimes(
      3000,
      fc.constantFrom(...examples),
      fc.array(damage, { minLength: 1, maxLength: 4 }),
      (example, all) => {
        const text = all.reduce((whole, [at, cut, scrap]) => {
          const from = at % (whole.length + 1)
          return whole.slice(0, from) + scrap + whole.slice(from + cut)
        }, example)
        const checked = checkConfiguration(text, "/etc/creche")
        if (checked._tag === "Sound") return
        const lines = text.split(/\n/)
        expect(checked.problems.length).toBeGreaterThan(0)
        for (const { line, column, message } of checked.problems) {
          expect(line).toBeLessThanOrEqual(lines.length)
          expect(column).toBeLessThanOrEqual(lines[line - 1]!.length + 1)
          expect(message).not.toBe("")
        }
      },
    )
  })
})

describe("a file that is right", () => {
  it("may hold a version alone", () => {
    expect(configurationOf("version: 1\n")).toEqual({ runtime: {}, templates: {}, supervisors: [], sessions: [] })
  })

  it("may have supervisors, and sessions below them", () => {
    const { supervisors, sessions } = configurationOf(
      [
        "version: 1",
        "supervisors:",
        "  - {path: root/a, strategy: rest_for_one, maxRestarts: 3, withinMs: 1000}",
        "  - {path: root/a/b}",
        "sessions:",
        "  - {name: s, command: cat, supervisor: root/a/b}",
      ].join("\n"),
    )
    expect(supervisors.map(({ path }) => path)).toEqual(["root/a", "root/a/b"])
    expect(sessions).toMatchObject([{ supervisor: "root/a/b" }])
  })

  it("takes relative paths from where it lies", () => {
    const { runtime, templates, sessions } = configurationOf(
      [
        "version: 1",
        "runtime: {dataDirectory: data, socket: /run/x.sock}",
        "templates:",
        "  here: {cwd: repo, command: ./bin/agent}",
        "  there: {cwd: /srv, command: cat}",
        "sessions:",
        "  - {name: a, template: here}",
      ].join("\n"),
    )
    expect(runtime).toEqual({ dataDirectory: "/etc/creche/data", socket: "/run/x.sock" })
    expect(templates).toEqual({
      here: { cwd: "/etc/creche/repo", command: "/etc/creche/bin/agent" },
      there: { cwd: "/srv", command: "cat" },
    })
    expect(sessions).toEqual([{ name: "a", template: "here" }])
  })

  it("may hide a built-in template, also one that its own templates extend", () => {
    const { templates } = configurationOf(
      "version: 1\ntemplates:\n  python: {command: pypy3}\n  mine: {extends: python}\n",
    )
    expect(Object.keys(templates)).toEqual(["python", "mine"])
  })

  it("may hold personas that lack their agent, for others to extend", () => {
    configurationOf(
      "version: 1\ntemplates:\n  terse:\n    persona: {systemPrompt: Be terse.}\n  agent: {extends: terse, protocol: claude}\n",
    )
  })

  it("may begin with a byte order mark and end its lines as Windows does", () => {
    expect(configurationOf("\uFEFFversion: 1\r\ntemplates:\r\n  a: {command: cat}\r\n").templates).toEqual({
      a: { command: "cat" },
    })
  })
})

describe("reading a file", () => {
  const directory = mkdtempSync(join(tmpdir(), "creche-config-"))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  const file = (name: string, text: string | Uint8Array) => {
    writeFileSync(join(directory, name), text)
    return name
  }

  it("names the file as it was named", () => {
    const wrong = readConfiguration(file("wrong.yaml", "version: 2\n"), directory)
    expect(wrong).toBeInstanceOf(ConfigurationWrong)
    expect((wrong as ConfigurationWrong).message).toMatch(/^wrong\.yaml:1:10: version: is not known/)
  })

  it.each([
    ["is missing", () => "none.yaml", /ENOENT/],
    ["is a directory", () => ".", /EISDIR/],
    ["is not UTF-8", () => file("latin1.yaml", Buffer.from("version: 1 # \xe9", "latin1")), /UTF-8/],
    ["is far too large", () => file("large.yaml", "#".repeat(1024 * 1024 + 1)), /1048577 bytes/],
  ])("that %s fails with why", (_, make, detail) => {
    const unreadable = readConfiguration(make(), directory)
    expect(unreadable).toBeInstanceOf(ConfigurationUnreadable)
    expect((unreadable as ConfigurationUnreadable).detail).toMatch(detail)
  })
})

describe("the examples of docs/templates.md", () => {
  const page = readFileSync(new URL("../../docs/templates.md", import.meta.url), "utf8")
  const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!)

  it.each(examples)("are right: %#", (example) => {
    expect(problemsIn(example)).toEqual([])
  })

  it("are there, and the problem that the page shows is the one that is found", () => {
    expect(examples).toHaveLength(3)
    const shown = /creche\.yaml:(\d+:\d+) ?:? ?(templates\.shell\.comand: .*)/.exec(page)!
    const wrong = "version: 1\ntemplates:\n  shell:\n    comand: cat\n"
    expect(problemsIn(wrong)).toEqual([`${shown[1]} ${shown[2]}`])
  })
})
