import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { jsonEquals } from "../../src/protocols/JsonEquals.ts"
import { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { strictDecoder } from "../../src/domain/StrictDecoder.ts"
import { makeNdjson, type NdjsonOptions } from "../../src/protocols/Ndjson.ts"
import type { Protocol, ProtocolEvent, Resumption } from "../../src/protocols/Protocol.ts"
import { endedOf, joined, seed, stepping } from "./steps.ts"

const started = (end?: Record<string, unknown>, answerChars?: number) => {
  const protocol = stepping(makeNdjson(end === undefined ? {} : { end }, answerChars) as Protocol)
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

describe("ndjson conversations", () => {
  const conversation = { field: "session_id", resume: ["--resume", "{id}"], fork: ["-r{id}", "--from={id}", "--fork"] }
  const told = (from: Resumption | null = null, options: NdjsonOptions = { end: { end: 1 }, conversation }) => {
    const protocol = stepping(makeNdjson(options) as Protocol)
    protocol.start(from)
    protocol.take()
    return protocol
  }
  const ids = (events: ReadonlyArray<ProtocolEvent>) =>
    events.flatMap((event) => (event.type === "conversation" ? [event.id] : []))

  it("tell the program's own id once, before and in a turn, and again only when it changed", () => {
    const protocol = told()
    expect(protocol.frames('{"session_id":"a"}', '{"session_id":"a"}')).toEqual([
      { type: "native", message: { session_id: "a" } },
      { type: "conversation", id: "a" },
      { type: "native", message: { session_id: "a" } },
    ])
    protocol.prompt("x")
    expect(ids(protocol.frames('{"session_id":"a","delta":"x"}', '{"session_id":"b","delta":"y"}'))).toEqual(["b"])
    const last = protocol.frames('{"end":1,"session_id":"c"}', '{"session_id":"c"}')
    expect(ids(last)).toEqual(["c"])
    // Known before the turn ends: who sees the end can resume.
    expect(last.findIndex((event) => event.type === "conversation")).toBeLessThan(
      last.findIndex((event) => event.type === "ended"),
    )
    expect(endedOf(last)).toMatchObject([{ status: "completed", text: "xy" }])
    protocol.prompt("again")
    expect(ids(protocol.frames('{"session_id":"c","end":1}'))).toEqual([])
    expect(ids(protocol.frames('{"session_id":"a"}'))).toEqual(["a"])
  })

  it("are as before what an earlier process left when this one goes on with it, or forks it", () => {
    for (const fork of [false, true]) {
      const protocol = told({ conversation: "a", fork })
      expect(ids(protocol.frames('{"session_id":"a"}'))).toEqual([])
      protocol.prompt("x")
      expect(ids(protocol.frames('{"session_id":"b"}', '{"end":1,"session_id":"b"}'))).toEqual(["b"])
    }
  })

  it("have no id in another field, of another type, none at all, one too long or one that no argument can hold", () => {
    const protocol = told()
    for (const value of [1, null, "", ["a"], { id: "a" }, true, "a\0b", "a".repeat(8193)]) {
      expect(ids(protocol.frames(JSON.stringify({ session_id: value, id: "a" })))).toEqual([])
    }
    expect(ids(protocol.frames('["session_id"]', "session_id", '{"o":{"session_id":"a"}}'))).toEqual([])
    const inherited = told(null, { conversation: { field: "constructor" } })
    expect(ids(inherited.frames("{}", '{"__proto__":{"constructor":"x"}}'))).toEqual([])
    expect(ids(inherited.frames('{"constructor":"x"}'))).toEqual(["x"])
    expect(ids(told(null, { end: { end: 1 } }).frames('{"session_id":"a"}'))).toEqual([])
  })

  it("are gone on with by the arguments told, {id} replaced to the letter", () => {
    const { args, canFork } = makeNdjson({ conversation })
    expect(canFork).toBe(true)
    expect(args?.({ from: { conversation: "$& $1 {id}", fork: false }, freshId: "" })).toEqual([
      "--resume",
      "$& $1 {id}",
    ])
    expect(args?.({ from: { conversation: "a", fork: true }, freshId: "" })).toEqual(["-ra", "--from=a", "--fork"])
    const twice = makeNdjson({ conversation: { field: "x", resume: ["{id}:{id}"] } })
    expect(twice.args?.({ from: { conversation: "a", fork: false }, freshId: "" })).toEqual(["a:a"])
    expect(twice.canFork).toBe(false)
  })

  it("start as ever where no arguments are told", () => {
    expect(makeNdjson({})).toMatchObject({ canFork: false })
    expect(makeNdjson({}).args).toBeUndefined()
    expect(makeNdjson({ conversation: { field: "x" } }).args).toBeUndefined()
    const forks = makeNdjson({ conversation: { field: "x", fork: ["{id}"] } })
    expect(forks.canFork).toBe(true)
    expect(forks.args?.({ from: { conversation: "a", fork: false }, freshId: "" })).toEqual([])
    expect(forks.args?.({ from: { conversation: "a", fork: true }, freshId: "" })).toEqual(["a"])
  })

  it("are the same however the lines are batched", () => {
    const id = fc.constantFrom("a", "b", "c")
    const line = fc.oneof(
      id.map((session_id) => JSON.stringify({ session_id })),
      id.map((session_id) => JSON.stringify({ session_id, delta: "d" })),
      id.map((session_id) => JSON.stringify({ session_id, end: 1 })),
      fc.constantFrom("noise", '{"session_id":3}', '{"end":1}'),
    )
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat(5)), fc.option(id), (lines, sizes, before) => {
        const from = before === null ? null : { conversation: before, fork: false }
        const whole = told(from)
        whole.prompt("x")
        whole.frames(...lines)
        const parts = told(from)
        parts.prompt("x")
        let at = 0
        for (const size of [...sizes, lines.length]) {
          parts.frames(...lines.slice(at, at + size))
          at += size
        }
        const reported = ids(whole.take())
        expect(ids(parts.take())).toEqual(reported)
        expect(reported.every((id, index) => id !== (index === 0 ? before : reported[index - 1]))).toBe(true)
        const named = lines.map((line) => /"session_id":"(.)"/.exec(line)?.[1]).filter((name) => name !== undefined)
        expect(reported.at(-1) ?? before).toBe(named.at(-1) ?? before)
      }),
      { seed },
    )
  })
})

describe("what ndjson is told of conversations", () => {
  const { decode } = strictDecoder<SessionSpecInput>(SessionSpecInput)
  const problems = (conversation: unknown) => {
    const decoded = decode({ protocol: { type: "ndjson", conversation } })
    return decoded._tag === "Valid" ? [] : decoded.problems.map(({ path, message }) => `${path.join(".")} ${message}`)
  }
  const at = "protocol.conversation"

  it("is taken whole, or with the field alone", () => {
    expect(problems({ field: "id" })).toEqual([])
    expect(problems({ field: "id", resume: ["--resume={id}"], fork: ["{id}", "--fork"] })).toEqual([])
  })

  it("is refused by its path, with the remedy", () => {
    expect(problems({})).toEqual([`${at}.field is required`])
    expect(problems({ field: "" })).toEqual([`${at}.field must not be empty`])
    expect(problems({ field: 3 })).toEqual([`${at}.field must be a string`])
    expect(problems({ field: "x", resume: [] })).toEqual([expect.stringContaining(`${at}.resume must not be empty`)])
    expect(problems({ field: "x", fork: ["--fork"] })).toEqual([expect.stringContaining(`${at}.fork must hold {id}`)])
    expect(problems({ field: "x", resume: ["{id}\0"] })).toEqual([`${at}.resume.0 must not contain a NUL byte`])
    expect(problems({ field: "x", resume: "{id}" })).toEqual([`${at}.resume must be an array`])
    expect(problems({ field: "x", resumes: ["{id}"] })).toEqual([
      `${at}.resumes is not a known field; did you mean "resume"?`,
    ])
    expect(problems("id")).toEqual([`${at} must be an object`])
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
