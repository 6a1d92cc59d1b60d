import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { MessageDecoder } from "../../src/transport/MessageDecoder.ts"

type Heard = { readonly message: string } | "too large" | { readonly malformed: string }

const decode = (chunks: ReadonlyArray<Buffer | string>, limit?: number): ReadonlyArray<Heard> => {
  const heard: Array<Heard> = []
  const decoder = new MessageDecoder(
    {
      onMessage: (message) => heard.push({ message }),
      onTooLarge: () => heard.push("too large"),
      onMalformed: (malformed) => heard.push({ malformed }),
    },
    limit,
  )
  for (const chunk of chunks) decoder.push(Buffer.from(chunk))
  decoder.end()
  return heard
}

const messages = ['{"a":"é€😀"}', "[1,2]", '{"b":"\\n"}', '"x"']
const heardOf = (texts: ReadonlyArray<string>) => texts.map((message) => ({ message }))
const framed = (text: string) => `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
const inLines = Buffer.from(messages.map((text) => `${text}\n`).join(""))
const withLengths = Buffer.from(messages.map(framed).join(""))

describe("decoding messages", () => {
  it("gives the same messages wherever the bytes are cut in two, in both framings", () => {
    for (const bytes of [inLines, withLengths]) {
      for (let at = 0; at <= bytes.length; at++) {
        expect(decode([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(heardOf(messages))
      }
    }
  })

  it("gives the same messages byte by byte, in both framings", () => {
    for (const bytes of [inLines, withLengths]) {
      expect(decode([...bytes].map((byte) => Buffer.from([byte])))).toEqual(heardOf(messages))
    }
  })

  it("gives any messages back from any chunks", () => {
    const json = fc.json().map((text) => text.replaceAll("\n", " "))
    const cuts = fc.array(fc.nat(), { maxLength: 12 })
    fc.assert(
      fc.property(fc.array(json, { minLength: 1, maxLength: 8 }), cuts, fc.boolean(), (texts, at, lines) => {
        const bytes = Buffer.from(texts.map((text) => (lines ? `${text}\n` : framed(text))).join(""))
        const places = [0, ...at.map((place) => place % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b)
        const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end))
        expect(decode(chunks)).toEqual(heardOf(texts))
      }),
      { numRuns: 300, verbose: true },
    )
  })

  it("takes CRLF, skips blank lines and a byte order mark, and needs no newline at the end", () => {
    expect(decode(["\ufeff{}\r\n\r\n \n\t\n[]\n1"])).toEqual(heardOf(["{}\r", "[]", "1"]))
  })

  it("reads no message from nothing and from blanks alone", () => {
    expect(decode([])).toEqual([])
    expect(decode([" \n", "\r\n\t "])).toEqual([])
  })

  it("detects Content-Length after blank lines, in any case, and with other headers", () => {
    const text = "content-type: application/json\r\nCONTENT-LENGTH:  2 \r\n\r\n{}Content-Length: 2\n\n[]"
    for (const chunks of [[`\r\n${text}`], [...text]]) expect(decode(chunks)).toEqual(heardOf(["{}", "[]"]))
  })

  it("takes a line that only begins like a header as a line", () => {
    expect(decode(["Conte", "xt\n{}\n"])).toEqual(heardOf(["Context", "{}"]))
    expect(decode(["c"])).toEqual(heardOf(["c"]))
  })

  it("reports a line over the limit once, skips its rest and goes on", () => {
    for (const size of [1, 7, 64, 10_000]) {
      const bytes = Buffer.from(`{"a":1}\n${"x".repeat(5000)}\n{"b":2}\n${"y".repeat(101)}\n${"z".repeat(100)}\n`)
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
        bytes.subarray(n * size, (n + 1) * size),
      )
      expect(decode(chunks, 100)).toEqual([
        { message: '{"a":1}' },
        "too large",
        { message: '{"b":2}' },
        "too large",
        { message: "z".repeat(100) },
      ])
    }
  })

  it("counts bytes, not characters, against the limit", () => {
    expect(decode([`${"é".repeat(50)}\n${"é".repeat(51)}\n`], 100)).toEqual([{ message: "é".repeat(50) }, "too large"])
  })

  it("skips a body over the limit by its length and goes on", () => {
    const bytes = Buffer.from(framed("x".repeat(5000)) + framed("{}"))
    for (const size of [1, 64, 10_000]) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
        bytes.subarray(n * size, (n + 1) * size),
      )
      expect(decode(chunks, 100)).toEqual(["too large", { message: "{}" }])
    }
  })

  it("refuses bytes that are not UTF-8, and takes a replacement character that was sent as one", () => {
    const bad = Buffer.from([0x22, 0xff, 0x22, 0x0a])
    expect(decode([Buffer.concat([Buffer.from('"\ufffd"\n'), bad, Buffer.from("{}\n")])])).toEqual([
      { message: '"\ufffd"' },
      { malformed: "the message is not valid UTF-8" },
      { message: "{}" },
    ])
    expect(decode([Buffer.concat([Buffer.from("Content-Length: 3\r\n\r\n"), bad.subarray(0, 3)])])).toEqual([
      { malformed: "the message is not valid UTF-8" },
    ])
  })

  it("finds the way back after a header without a length, garbage, and bodies of a wrong length", () => {
    const good = framed('{"ok":1}')
    for (const bad of [
      "Content-Type: x\r\n\r\n",
      "Content-Length: -5\r\n\r\n",
      "Content-Length: abc\r\n\r\n",
      "Content-Length: 99999999999999999999\r\n\r\n",
      "Content-Length: 2\r\n\r\n{}trailing garbage",
      `Content-Length: 2\r\n\r\n{}${"g".repeat(20_000)}`,
    ]) {
      const heard = decode([bad, good])
      expect(heard.at(-1)).toEqual({ message: '{"ok":1}' })
      expect(heard.filter((each) => typeof each === "object" && "malformed" in each)).toHaveLength(1)
    }
  })

  it("says so when the input ends inside a message", () => {
    expect(decode(["Content-Length: 10\r\n\r\n{}"])).toMatchObject([{ malformed: expect.any(String) }])
    expect(decode(["Content-Length: 10"])).toMatchObject([{ malformed: expect.any(String) }])
  })
})
