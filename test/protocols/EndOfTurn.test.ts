import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { EndOfTurn } from "../../src/domain/ProtocolSpec.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { makeText } from "../../src/protocols/Text.ts"
import { cut, endedOf, joined, seed, stepping } from "./steps.ts"

/** Text made of the mark's own pieces, line breaks and other characters: all but the mark itself. */
const near = (pieces: ReadonlyArray<string>, forbidden: RegExp) =>
  fc
    .array(fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...pieces) }, fc.string({ maxLength: 4 })), {
      maxLength: 12,
    })
    .map((parts) => parts.join(""))
    .filter((text) => !forbidden.test(text))

const withoutBreak = (text: string) => text.replace(/\r?\n$/, "")

interface Case {
  readonly title: string
  readonly endOfTurn: EndOfTurn
  readonly answer: fc.Arbitrary<string>
  /** What the child prints for an answer, up to its end of turn. */
  readonly stream: (answer: string, token: string) => string
  readonly text: (answer: string) => string
  /** Printed behind the end in the same breath. */
  readonly after: string
}

const prefixes = (text: string) => Array.from({ length: text.length - 1 }, (_, i) => text.slice(0, i + 1))

const cases: ReadonlyArray<Case> = [
  {
    title: "a sentinel on a line of its own",
    endOfTurn: { sentinel: { send: "print('§{id}')", expect: "§{id}" } },
    answer: near([...prefixes("print('§tok1')"), ...prefixes("§tok1"), "\n", "\r\n", "\r"], /§tok1/),
    stream: (answer, token) => `${answer}\n§${token}\n`,
    text: (answer) => withoutBreak(answer + "\n"),
    after: "more\n§tok1",
  },
  {
    title: "a sentinel behind a line without a line break",
    endOfTurn: { sentinel: { send: "echo §{id}", expect: "§{id}" } },
    answer: near([...prefixes("echo §tok1"), ...prefixes("§tok1"), "\n", "\r\n"], /§tok1|echo $/),
    stream: (answer, token) => `${answer}§${token}\r\n`,
    text: withoutBreak,
    after: "\n",
  },
  {
    title: "a sentinel whose echo comes first",
    endOfTurn: { sentinel: { send: "echo §{id};", expect: "§{id}" } },
    answer: near([...prefixes("echo §tok1;"), ...prefixes("§tok1"), "\n", "\r\n"], /§tok1/),
    stream: (answer, token) => `echo §${token};\r\n${answer}\n§${token}\n`,
    text: (answer) => withoutBreak(answer + "\n"),
    after: "",
  },
  {
    title: "a sentinel that begins like itself",
    endOfTurn: { sentinel: { send: "{id}{id}--{id}", expect: "{id}{id}--" } },
    answer: near([...prefixes("tok1tok1--tok1"), "tok1tok1-", "\n"], /tok1tok1--/),
    stream: (answer, token) => `${answer}\n${token}${token}--\n`,
    text: (answer) => withoutBreak(answer + "\n"),
    after: "x",
  },
  {
    title: "a delimiter",
    endOfTurn: { delimiter: "END" },
    answer: near(["E", "EN", "END", "\n", "\r\n", "\nEN", "END ", "\r"], /(^|\n)END\r?(\n|$)/),
    stream: (answer) => `${answer}\nEND\n`,
    text: (answer) => withoutBreak(answer + "\n"),
    after: "END\nmore",
  },
  {
    title: "a delimiter with CRLF",
    endOfTurn: { delimiter: "END" },
    answer: near(["E", "EN", "END", "END\r", "\n", "\r\n", "\r\nEN", "END ", "\r"], /(^|\n)END\r?(\n|$)/),
    stream: (answer) => `${answer}\r\nEND\r\n`,
    text: (answer) => withoutBreak(answer + "\r\n"),
    after: "\r\nEND",
  },
  {
    title: "a prompt",
    endOfTurn: { prompt: "^>>> $" },
    answer: near([...prefixes(">>> "), "\n", "\r\n", "\n>", "\n>>>", " >>> "], /(^|[\n\r\u2028\u2029])>>> /),
    stream: (answer) => `${answer}\n>>> `,
    text: (answer) => withoutBreak(answer + "\n"),
    after: "",
  },
]

const openings: { readonly [kind: string]: (written: string) => string } = {
  sentinel: (written) =>
    written
      .replace("print('", "")
      .replace("')", "")
      .replace(/^echo /, "")
      .replace(";", "")
      .replace(/--.*/, "--"),
  delimiter: () => "",
  prompt: () => "hello\n>>> ",
}

const open = (endOfTurn: EndOfTurn) => {
  const protocol = stepping(makeText(endOfTurn) as Protocol)
  const written = joined(protocol.start(), "write")
  protocol.frames(openings[Object.keys(endOfTurn)[0] ?? ""]?.(written) ?? "")
  expect(protocol.take()).toContainEqual({ type: "ready" })
  return protocol
}

for (const { title, endOfTurn, answer, stream, text, after } of cases) {
  describe(`the end of a turn by ${title}`, () => {
    it("gives the same answer however the stream is cut, and never a part of the mark", () => {
      fc.assert(
        fc.property(fc.array(answer, { minLength: 1, maxLength: 3 }), fc.array(fc.nat()), (answers, cuts) => {
          const protocol = open(endOfTurn)
          for (const said of answers) {
            protocol.prompt("x", "tok1")
            for (const piece of cut(stream(said, "tok1"), cuts)) protocol.frames(piece)
            const events = protocol.take()
            expect(endedOf(events)).toMatchObject([{ status: "completed", text: text(said) }])
            expect(joined(events, "delta")).toBe(text(said))
            expect(joined(events, "output")).toBe("")
          }
        }),
        { seed, numRuns: 400 },
      )
    })

    it("gives the same answer one character at a time, and what follows as output", () => {
      fc.assert(
        fc.property(answer, (said) => {
          const protocol = open(endOfTurn)
          protocol.prompt("x", "tok1")
          for (const character of stream(said, "tok1") + after) protocol.frames(character)
          const events = protocol.take()
          expect(endedOf(events)).toMatchObject([{ text: text(said) }])
          expect(joined(events, "delta")).toBe(text(said))
          expect(joined(events, "output")).toBe(after)
        }),
        { seed, numRuns: 200 },
      )
    })
  })
}
