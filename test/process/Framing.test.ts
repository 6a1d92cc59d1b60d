import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { makeFraming, type DroppedFrame, type FramingName } from "../../src/process/Framing.ts"

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

const open = (name: FramingName, maxBytes = 1024 * 1024) => {
  const dropped: Array<DroppedFrame> = []
  const framing = makeFraming(name, { maxBytes, onDropped: (frame) => dropped.push(frame) })
  return { push: (bytes: string | Buffer) => framing.push(Buffer.from(bytes as string)), end: framing.end, dropped }
}

/** Cuts bytes at random places and feeds the pieces. */
const cutting = fc.array(fc.nat(), { maxLength: 20 })
const pieces = (bytes: Buffer, cuts: ReadonlyArray<number>): ReadonlyArray<Buffer> => {
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  return edges.slice(1).map((end, i) => bytes.subarray(edges[i], end))
}

describe("lines", () => {
  it("come out alike however the reads cut them, any Unicode included", () => {
    const line = fc.string({ unit: "grapheme" }).map((text) => text.replace(/[\n\r]/g, ""))
    fc.assert(
      fc.property(fc.array(line), cutting, (lines, cuts) => {
        const { push, end } = open("lines")
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(""))
        expect([...pieces(bytes, cuts).flatMap((piece) => [...push(piece)]), ...end()]).toEqual(lines)
      }),
    )
  })

  it("lose one trailing carriage return and keep others", () => {
    const { push } = open("lines")
    expect(push("a\r\nb\rc\r\n\r\n\r\r\n")).toEqual(["a", "b\rc", "", "\r"])
  })

  it("a carriage return that ends one read and a newline that begins the next are one line end", () => {
    const { push } = open("lines")
    expect([...push("a\r"), ...push("\nb\n")]).toEqual(["a", "b"])
  })

  it("the half line at the end comes with end, once", () => {
    const { push, end } = open("lines")
    expect(push("whole\nhalf")).toEqual(["whole"])
    expect(end()).toEqual(["half"])
    expect(end()).toEqual([])
  })

  it("invalid UTF-8 becomes U+FFFD, NUL bytes stay, the next line is untouched", () => {
    const { push } = open("lines")
    expect(push(Buffer.from([0xff, 0x61, 0, 0x0a, 0xc3, 0x0a, 0x62, 0x0a]))).toEqual(["\uFFFDa\0", "\uFFFD", "b"])
  })

  it("a line of exactly the limit passes, one byte more is dropped once with its size, and the stream goes on", () => {
    for (const size of [1, 3, 7, 100]) {
      const { push, dropped } = open("lines", 10)
      const bytes = Buffer.from(`${"x".repeat(10)}\n${"y".repeat(11)}\nok\n`)
      const frames = pieces(
        bytes,
        Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => i * size),
      )
      expect(frames.flatMap((piece) => [...push(piece)])).toEqual(["x".repeat(10), "ok"])
      expect(dropped).toMatchObject([{ reason: "tooLong", bytes: 11 }])
    }
  })

  it("a line over the limit that the stream's end cuts short is reported at the end", () => {
    const { push, end, dropped } = open("lines", 10)
    push("z".repeat(50))
    expect(end()).toEqual([])
    expect(dropped).toMatchObject([{ bytes: 50 }])
  })

  it("for any lines and limit: what fits comes out, what does not is counted, in every cutting", () => {
    const line = fc.string({ maxLength: 30 }).map((text) => text.replace(/[\n\r]/g, " "))
    fc.assert(
      fc.property(fc.array(line), fc.integer({ min: 1, max: 20 }), cutting, (lines, limit, cuts) => {
        const { push, end, dropped } = open("lines", limit)
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(""))
        const fits = (text: string) => Buffer.byteLength(text) <= limit
        expect([...pieces(bytes, cuts).flatMap((piece) => [...push(piece)]), ...end()]).toEqual(lines.filter(fits))
        expect(dropped.map((frame) => frame.bytes)).toEqual(
          lines.filter((text) => !fits(text)).map((text) => Buffer.byteLength(text)),
        )
      }),
    )
  })

  it("a 200 MB line in 64 KB reads is skipped, and memory is bounded by the limit all the while", () => {
    const limit = 16 * 1024 * 1024
    const dropped: Array<DroppedFrame> = []
    const framing = makeFraming("lines", { maxBytes: limit, onDropped: (frame) => dropped.push(frame) })
    const chunk = Buffer.alloc(65_536, "a")
    collectGarbage()
    const before = process.memoryUsage().arrayBuffers
    for (let i = 1; i <= 3200; i++) {
      expect(framing.push(chunk)).toEqual([])
      if (i % 100 > 0) continue
      collectGarbage()
      // Growing by doubling leaves at most as much behind as it holds, until the collector comes.
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2.5 * limit)
    }
    expect(framing.push(Buffer.from("\nnext\n"))).toEqual(["next"])
    expect(dropped).toMatchObject([{ reason: "tooLong", bytes: 3200 * 65_536 }])
    const deadline = performance.now() + 10_000
    while (process.memoryUsage().arrayBuffers - before > 1024 * 1024 && performance.now() < deadline) collectGarbage()
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024)
  })

  it("a line costs time in proportion to its length, not squared", () => {
    const framing = makeFraming("lines", { maxBytes: 512 * 1024 * 1024, onDropped: () => {} })
    const chunk = Buffer.alloc(4096, "a")
    const end = Buffer.from("\n")
    // Processor time: the machine may be busy with others.
    const time = (chunks: number) => {
      const since = process.cpuUsage()
      for (let i = 0; i < chunks; i++) framing.push(chunk)
      expect(framing.push(end)[0]?.length).toBe(chunks * 4096)
      const { user, system } = process.cpuUsage(since)
      return user + system
    }
    const best = (chunks: number) => Math.min(...Array.from({ length: 7 }, () => time(chunks)))
    best(250)
    // Sixteen times as long: squared growth would cost 256 times as much.
    expect(best(4000) / best(250)).toBeLessThan(100)
  })

  it("a long line that arrives byte by byte is bounded by its own size", () => {
    const { push } = open("lines", 1024 * 1024)
    for (let i = 0; i < 300_000; i++) push("x")
    expect(push("\n")[0]?.length).toBe(300_000)
  })
})

describe("text", () => {
  it("a character cut in two by reads comes whole", () => {
    const { push, end } = open("text")
    const bytes = Buffer.from("aü漢🎉")
    const frames = Array.from(bytes, (_, i) => push(bytes.subarray(i, i + 1))).flat()
    expect([...frames, ...end()].join("")).toBe("aü漢🎉")
    expect(frames.every((frame) => !frame.includes("\uFFFD"))).toBe(true)
  })

  it("half a character at the end becomes U+FFFD", () => {
    const { push, end } = open("text")
    expect(push(Buffer.from([0x61, 0xe6, 0xbc]))).toEqual(["a"])
    expect(end()).toEqual(["\uFFFD"])
  })
})

describe("Content-Length", () => {
  const message = (body: string) => `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

  it("bodies come out alike however the reads cut them", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "grapheme" })), cutting, (bodies, cuts) => {
        const { push, dropped } = open("contentLength")
        const bytes = Buffer.from(bodies.map(message).join(""))
        expect(pieces(bytes, cuts).flatMap((piece) => [...push(piece)])).toEqual(bodies)
        expect(dropped).toEqual([])
      }),
    )
  })

  it("other headers, any case and bare newlines are understood", () => {
    const { push } = open("contentLength")
    expect(push("Content-Type: application/json\r\ncontent-length:2\r\n\r\n{}")).toEqual(["{}"])
    expect(push("CONTENT-LENGTH : 2\n\n[]")).toEqual(["[]"])
  })

  it.each([
    ["warning!\n", ["warning!"]],
    ["two\r\nlines\n\n", ["two", "lines"]],
    ["no newline", ["no newline"]],
    ["50 %\r100 %", ["50 %\r100 %"]],
    ["Nothing: here\r\n\r\n", ["Nothing: here"]],
    ["größer\n", ["größer"]],
    ["x".repeat(20_000) + "\n", ["x".repeat(8192), "x".repeat(8192), "x".repeat(20_000 - 2 * 8192)]],
  ])("output between messages is passed on, and costs none: %.30j", (stray, frames) => {
    fc.assert(
      fc.property(fc.array(fc.nat(30_000), { maxLength: 5 }), (cuts) => {
        const { push, dropped } = open("contentLength")
        const bytes = Buffer.from(message("{}") + stray + message("[]"))
        expect(pieces(bytes, cuts).flatMap((piece) => [...push(piece)])).toEqual(["{}", ...frames, "[]"])
        expect(dropped).toEqual([])
      }),
      { numRuns: 30 },
    )
  })

  it("after half a message the next whole one but one comes through", () => {
    const { push } = open("contentLength")
    const half = message('{"half":true}').slice(0, -5)
    const frames = push(half + message('{"eaten":1}') + message('{"whole":1}'))
    expect(frames.at(-1)).toBe('{"whole":1}')
    expect(frames[0]).toBe('{"half":Conte')
  })

  it.each([
    "Content-Length: x\r\n\r\n",
    "Content-Length: -1\r\n\r\n",
    "Content-Length: 1e3\r\n\r\n",
    "Content-Type: json\r\nA: b\n\n",
  ])("%j is reported, and the next message comes through", (header) => {
    const { push, dropped } = open("contentLength")
    expect(push(header + message("ok"))).toEqual(["ok"])
    expect(dropped).toMatchObject([{ reason: "malformed" }])
  })

  it("a body over the limit is skipped and reported once, and the stream goes on", () => {
    const { push, dropped } = open("contentLength", 10)
    const bytes = Buffer.from(message("x".repeat(100)) + message("ok"))
    expect(pieces(bytes, [5, 30, 50, 90]).flatMap((piece) => [...push(piece)])).toEqual(["ok"])
    expect(dropped).toMatchObject([{ reason: "tooLong", bytes: 100 }])
  })

  it("a message over the limit is reported when its header is read, not when its end comes", () => {
    const { push, dropped } = open("contentLength", 10)
    expect(push(`Content-Length: 999999999999\r\n\r\nabc`)).toEqual([])
    expect(dropped).toMatchObject([{ reason: "tooLong", bytes: 999_999_999_999 }])
  })

  it("an end between messages leaves what stood there", () => {
    const { push, end, dropped } = open("contentLength")
    push(message("{}") + "goodbye")
    expect(end()).toEqual(["goodbye"])
    expect(dropped).toEqual([])
  })

  it("an end inside a message is reported", () => {
    const { push, end, dropped } = open("contentLength")
    push("Content-Length: 5\r\n\r\nab")
    expect(end()).toEqual([])
    expect(dropped).toMatchObject([{ reason: "malformed" }])
  })
})
