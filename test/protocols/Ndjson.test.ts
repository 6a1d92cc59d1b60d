import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { jsonEquals } from "../../src/protocols/JsonEquals.ts"
import { makeNdjson } from "../../src/protocols/Ndjson.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { endedOf, joined, seed, stepping } from "./steps.ts"

const started = (end?: Record<string, unknown>, answerChars?: number) => {
  const protocol = stepping(makeNdjson(end, answerChars) as Protocol)
  protocol.start()
  protocol.take()
  return protocol
}
const asked = (end?: Record<string, unknown>, answerChars?: number) => {
  const protocol = started(end, answerChars)
  protocol.prompt("x")
  protocol.take()
  return protocol
}

describe("ndjson prompts", () => {
  const written = (prompt: Parameters<ReturnType<typeof started>["prompt"]>[0]) =>
    joined(started().prompt(prompt), "write")

  it("wraps a plain prompt", () => {
    expect(written('say "hi"\nnow')).toBe('{"type":"prompt","prompt":"say \\"hi\\"\\nnow"}\n')
    expect(written("{not json")).toBe('{"type":"prompt","prompt":"{not json"}\n')
    expect(written("42")).toBe('{"type":"prompt","prompt":"42"}\n')
  })

  it("passes a JSON object or array on as it is, on one line, every digit kept", () => {
    expect(written('{"a":12345678901234567890.10}')).toBe('{"a":12345678901234567890.10}\n')
    expect(written(' [1,\r\n {"a":"b\\n"}\n]\n')).toBe('[1,  {"a":"b\\n"} ]\n')
  })

  it("sends content blocks beside their text", () => {
    const content = [
      { type: "text" as const, text: "look" },
      { type: "file" as const, path: "/x" },
    ]
    expect(JSON.parse(written(content))).toEqual({ type: "prompt", prompt: "look\n/x", content })
  })

  it("writes exactly one line whatever the prompt", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), fc.string({ unit: "binary" })), (prompt) => {
        const line = written(prompt)
        expect(line.indexOf("\n")).toBe(line.length - 1)
        const value = JSON.parse(line)
        if (value.type === "prompt") expect(value.prompt).toBe(prompt)
        else expect(value).toEqual(JSON.parse(prompt))
      }),
      { seed },
    )
  })
})

describe("ndjson answers", () => {
  it("ends with the next object when told no end, and the answer is that line", () => {
    const protocol = asked()
    expect(protocol.frames('{"n": 1.50}', '{"n":2}')).toEqual([
      { type: "native", message: { n: 1.5 } },
      { type: "ended", status: "completed", text: '{"n": 1.50}', stopReason: "end_turn" },
      { type: "native", message: { n: 2 } },
    ])
  })

  it("ends with the object whose fields equal the end's, however deep", () => {
    const protocol = asked({ type: "done", meta: { tags: [1, { a: null }] } })
    expect(endedOf(protocol.frames('{"type":"done"}', '{"type":"done","meta":{"tags":[1]}}'))).toEqual([])
    expect(endedOf(protocol.frames('{"meta":{"tags":[1,{"a":null}]},"more":1,"type":"done"}'))).toHaveLength(1)
  })

  it("streams deltas and joins them when the end brings no text", () => {
    const protocol = asked({ end: true })
    const events = protocol.frames('{"delta":"a"}', '{"tool":1}', '{"delta":"b"}', '{"end":true,"delta":"c"}')
    expect(joined(events, "delta")).toBe("abc")
    expect(endedOf(events)).toMatchObject([{ status: "completed", text: "abc" }])
    expect(events.filter((event) => event.type === "native")).toHaveLength(4)
  })

  it("prefers the end's own text, and reads usage and stopReason", () => {
    const protocol = asked({ type: "result" })
    const line = '{"type":"result","text":"whole","stopReason":"max_tokens","usage":{"in":1,"out":2,"model":"m"}}'
    expect(endedOf(protocol.frames('{"delta":"w"}', line))).toEqual([
      { type: "ended", status: "completed", text: "whole", stopReason: "max_tokens", usage: { in: 1, out: 2 } },
    ])
  })

  it("joins the turn's lines when there is neither text nor delta", () => {
    const protocol = asked({ last: true })
    expect(endedOf(protocol.frames('{"a":1}', "noise", '{"last":true}'))[0]?.text).toBe('{"a":1}\n{"last":true}')
  })

  it("fails the turn when the end carries an error", () => {
    expect(endedOf(asked().frames('{"error":"no such thing"}'))).toMatchObject([
      { status: "failed", stopReason: null, error: { tag: "AgentError", message: "no such thing" } },
    ])
    expect(endedOf(asked().frames('{"error":{"message":"m","code":7}}'))).toMatchObject([
      { status: "failed", error: { tag: "AgentError", message: "m", error: { code: 7 } } },
    ])
    expect(endedOf(asked().frames('{"error":null}'))).toMatchObject([{ status: "completed" }])
  })

  it("ends as cancelled when the agent says so", () => {
    expect(endedOf(asked().frames('{"cancelled":true,"text":"half"}'))).toMatchObject([
      { status: "cancelled", stopReason: "cancelled", text: "half" },
    ])
  })

  it("takes lines that are no object for output, joined, in their place among the others", () => {
    const protocol = asked({ end: 1 })
    expect(protocol.frames("one", "[1]", "", '{"delta":"x"}', "{broken", '{"end":1}', "after")).toEqual([
      { type: "output", data: "one\n[1]\n\n" },
      { type: "native", message: { delta: "x" } },
      { type: "delta", text: "x" },
      { type: "output", data: "{broken\n" },
      { type: "native", message: { end: 1 } },
      { type: "ended", status: "completed", text: "x", stopReason: "end_turn" },
      { type: "output", data: "after\n" },
    ])
  })

  it("reads an object that is indented", () => {
    expect(endedOf(asked().frames(' \t{"text":"x"} '))).toMatchObject([{ text: "x" }])
    expect(endedOf(asked().frames('\t{"text":"x"}\r'))).toMatchObject([{ text: "x" }])
  })

  it("gives an object outside a turn as native and ends nothing", () => {
    expect(started().frames('{"delta":"x"}')).toEqual([{ type: "native", message: { delta: "x" } }])
  })

  it("keeps an answer up to its limit, and fails only the turn that needs more", () => {
    const needs = asked({ end: 1 }, 10)
    const events = needs.frames('{"delta":"12345678"}', '{"delta":"12345678"}', '{"delta":"1"}', '{"end":1}')
    expect(joined(events, "delta")).toBe("12345678123456781")
    expect(endedOf(events)).toMatchObject([{ status: "failed", text: "12345678", error: { tag: "AnswerTooLong" } }])
    needs.prompt("again")
    expect(endedOf(needs.frames('{"end":1,"text":"ok"}'))).toMatchObject([{ status: "completed", text: "ok" }])

    const streams = asked({ end: 1 }, 10)
    const other = '{"a":"0123456789"}'
    expect(endedOf(streams.frames(other, '{"delta":"ok"}', other, '{"end":1}'))).toMatchObject([
      { status: "completed", text: "ok" },
    ])
    const brings = asked({ end: 1 }, 10)
    expect(endedOf(brings.frames('{"a":"0123456789"}', '{"end":1,"text":"short"}'))).toMatchObject([
      { status: "completed" },
    ])
    const raw = asked({ end: 1 }, 10)
    expect(endedOf(raw.frames('{"a":"0123456789"}', '{"end":1}'))).toMatchObject([{ error: { tag: "AnswerTooLong" } }])
  })

  it("gives the same answer however the lines are batched", () => {
    const line = fc.oneof(
      fc.string().map((delta) => JSON.stringify({ delta })),
      fc.json().filter((json) => !json.includes("\n") && !/"end"/.test(json)),
      fc.constantFrom("", "noise", "{", '{"end":2}'),
    )
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat(20)), (before, sizes) => {
        const all = [...before, '{"end":1}', "rest", '{"end":1}']
        const whole = asked({ end: 1 })
        whole.frames(...all)
        const parts = asked({ end: 1 })
        let from = 0
        for (const size of [...sizes, all.length]) {
          parts.frames(...all.slice(from, from + size))
          from += size
        }
        const left = whole.take()
        const right = parts.take()
        expect(endedOf(right)).toEqual(endedOf(left))
        expect(endedOf(right)).toHaveLength(1)
        expect(joined(right, "output")).toBe(joined(left, "output"))
        expect(right.filter((event) => event.type !== "output")).toEqual(
          left.filter((event) => event.type !== "output"),
        )
      }),
      { seed },
    )
  })
})

describe("jsonEquals", () => {
  it("knows a value from its copy's neighbours", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (left, right) => {
        expect(jsonEquals(left, JSON.parse(JSON.stringify(left)))).toBe(true)
        expect(jsonEquals(left, right)).toBe(jsonEquals(right, left))
        expect(jsonEquals([left], { 0: left })).toBe(false)
        expect(jsonEquals({ a: left }, { a: left, b: right })).toBe(false)
      }),
      { seed },
    )
    expect(jsonEquals({}, null)).toBe(false)
    expect(jsonEquals({ a: undefined }, { b: undefined })).toBe(false)
  })
})
