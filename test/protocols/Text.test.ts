import { describe, expect, it } from "vitest"
import type { EndOfTurn } from "../../src/domain/ProtocolSpec.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { makeText } from "../../src/protocols/Text.ts"
import { endedOf, joined, stepping } from "./steps.ts"

const started = (endOfTurn?: EndOfTurn, answerChars?: number) => stepping(makeText(endOfTurn, answerChars) as Protocol)

const opened = (endOfTurn: EndOfTurn, banner: ReadonlyArray<string> = [], answerChars?: number) => {
  const protocol = started(endOfTurn, answerChars)
  protocol.start()
  protocol.frames(...banner)
  if ("quietMs" in endOfTurn) protocol.advance(endOfTurn.quietMs)
  expect(protocol.take()).toContainEqual({ type: "ready" })
  return protocol
}

const sentinel = { sentinel: { send: "print('§{id}')", expect: "§{id}" } }

const openedSentinel = (answerChars?: number) => {
  const protocol = started(sentinel, answerChars)
  const token = /§(\w+)/.exec(joined(protocol.start(), "write"))?.[1]
  protocol.frames(`§${token}\n`)
  expect(protocol.take()).toContainEqual({ type: "ready" })
  return protocol
}

describe("text that ends with a prompt", () => {
  const endOfTurn = { prompt: "^> $" }

  it("is ready at the first prompt, and what came before it is output", () => {
    const protocol = started(endOfTurn)
    expect(protocol.start()).toEqual([])
    const events = [...protocol.frames("Welcome\nto "), ...protocol.frames("node\n"), ...protocol.frames("> ")]
    expect(joined(events, "output")).toBe("Welcome\nto node\n")
    expect(events.at(-1)).toEqual({ type: "ready" })
  })

  it("ends the answer before the prompt, less its last line break", () => {
    const protocol = opened(endOfTurn, ["> "])
    expect(protocol.prompt("40+2")).toEqual([{ type: "write", data: "40+2\n" }])
    expect(protocol.frames("42\n> ")).toEqual([
      { type: "delta", text: "42" },
      { type: "ended", status: "completed", text: "42", stopReason: "end_turn" },
    ])
    protocol.prompt("''")
    expect(endedOf(protocol.frames("> "))).toMatchObject([{ text: "" }])
  })

  it("is not taken in by a prompt in the middle, nor by the last turn's", () => {
    const protocol = opened(endOfTurn, ["> "])
    protocol.prompt("x")
    expect(endedOf(protocol.frames("> a\nb > c\n"))).toEqual([])
    expect(endedOf(protocol.frames("> "))).toMatchObject([{ text: "> a\nb > c" }])
  })

  it("waits for silence behind a prompt when the question has several lines", () => {
    const protocol = opened(endOfTurn, ["> "])
    protocol.prompt("1+1\n2+2")
    protocol.frames("2\n> ")
    protocol.advance(20)
    protocol.frames("4\n> ")
    protocol.advance(40)
    expect(endedOf(protocol.take())).toEqual([])
    protocol.advance(20)
    const events = protocol.take()
    expect(endedOf(events)).toMatchObject([{ text: "2\n> 4" }])
  })

  it("holds a prompt of several lines back whole", () => {
    const protocol = opened({ prompt: "\\n\\[\\w+\\]\\n\\$ $" }, ["\n[home]\n$ "])
    protocol.prompt("x")
    const events = ["one\ntwo\n", "\n[ho", "me]\n", "$ "].flatMap((chunk) => protocol.frames(chunk))
    expect(joined(events, "delta")).toBe("one\ntwo")
    expect(endedOf(events)).toMatchObject([{ text: "one\ntwo" }])
  })

  it("streams a long line before its end, all but what may be a prompt", () => {
    const protocol = opened(endOfTurn, ["> "])
    protocol.prompt("x")
    expect(joined(protocol.frames("a".repeat(5000)), "delta").length).toBeGreaterThan(3000)
    expect(endedOf(protocol.frames("\n> "))[0]?.text).toBe("a".repeat(5000))
  })

  it("never cuts a character in half", () => {
    const protocol = opened(endOfTurn, ["> "])
    protocol.prompt("x")
    const events = ["a", "😀".repeat(1000), "b", "😀".repeat(1000), "\n> "].flatMap((chunk) => protocol.frames(chunk))
    const deltas = events.flatMap((event) => (event.type === "delta" ? [event.text] : []))
    expect(deltas.length).toBeGreaterThan(2)
    expect(deltas.filter((text) => !text.isWellFormed())).toEqual([])
  })

  it("finds a prompt that began in what was given on already", () => {
    const protocol = opened({ prompt: "^BEGIN\\n[^]*END $" }, ["BEGIN\nEND "])
    protocol.prompt("x")
    const events = ["a\n", "BEGIN\n", "b\n", "c\n", "d\n", "END "].flatMap((chunk) => protocol.frames(chunk))
    expect(endedOf(events)).toHaveLength(1)
  })

  it("takes no match of nothing for a prompt", () => {
    const protocol = opened({ prompt: ">?" }, [">"])
    protocol.prompt("x")
    expect(endedOf(protocol.frames("abc"))).toEqual([])
    expect(endedOf(protocol.frames(">"))).toMatchObject([{ text: "abc" }])
  })

  it("gives what is printed between turns as output", () => {
    const protocol = opened(endOfTurn, ["> "])
    expect(protocol.frames("tick\n> ")).toEqual([{ type: "output", data: "tick\n> " }])
  })
})

describe("text that ends with a sentinel", () => {
  it("is ready when a sentinel of its own comes back", () => {
    const protocol = started(sentinel)
    const written = joined(protocol.start(), "write")
    expect(written).toMatch(/^print\('§[A-Za-z0-9]+'\)\n$/)
    const token = /§(\w+)/.exec(written)?.[1]
    const events = [...protocol.frames("banner\n§"), ...protocol.frames(`${token}\nlate`)]
    expect(events).toEqual([
      { type: "output", data: "banner" },
      { type: "output", data: "\n" },
      { type: "ready" },
      { type: "output", data: "late" },
    ])
  })

  it("sends the prompt, then the sentinel with the turn's token, and cuts its line", () => {
    const protocol = openedSentinel()
    expect(protocol.prompt("6*7", "abc")).toEqual([{ type: "write", data: "6*7\nprint('§abc')\n" }])
    const events = protocol.frames("42\n§abc\nafter")
    expect(events).toEqual([
      { type: "delta", text: "42" },
      { type: "ended", status: "completed", text: "42", stopReason: "end_turn" },
      { type: "output", data: "after" },
    ])
  })

  it("keeps what stands before the sentinel on its line", () => {
    const protocol = openedSentinel()
    protocol.prompt("print('a', end='')", "abc")
    expect(endedOf(protocol.frames("a§abc\r\n"))).toMatchObject([{ text: "a" }])
  })

  it("ends at the sentinel's line break, not before", () => {
    const protocol = openedSentinel()
    protocol.prompt("x", "abc")
    expect(endedOf(protocol.frames("42\n§abc"))).toEqual([])
    expect(endedOf(protocol.frames("'; "))).toEqual([])
    expect(protocol.frames("\n")).toEqual([{ type: "ended", status: "completed", text: "42", stopReason: "end_turn" }])
  })

  it("does not take its own echo for the end, and cuts it", () => {
    const protocol = openedSentinel()
    protocol.prompt("x", "abc")
    expect(endedOf(protocol.frames("print('§abc')\r", "\n42\n"))).toEqual([])
    expect(endedOf(protocol.frames("§abc\n"))).toMatchObject([{ text: "42" }])
  })

  it("tells an echo from an answer that goes on like neither", () => {
    const protocol = started({ sentinel: { send: "§{id};", expect: "§{id}" } })
    const written = joined(protocol.start(), "write")
    protocol.frames(written + written.replace(";", ""))
    expect(protocol.take()).toContainEqual({ type: "ready" })
    protocol.prompt("x", "abc")
    expect(endedOf(protocol.frames("§abc;\na\n§abc"))).toEqual([])
    expect(endedOf([...protocol.frames(" x"), ...protocol.frames(";"), ...protocol.frames("\n")])).toMatchObject([
      { text: "a" },
    ])
  })

  it("ends with its echo where that is the answer asked for, as with cat", () => {
    const protocol = started({ sentinel: { send: "§{id}", expect: "§{id}" } })
    protocol.frames(joined(protocol.start(), "write"))
    expect(protocol.take()).toContainEqual({ type: "ready" })
    protocol.prompt("hello\nworld", "abc")
    expect(endedOf(protocol.frames("hello\nworld\n§abc\n"))).toMatchObject([{ text: "hello\nworld" }])
  })

  it("ends where stdout ends right behind the sentinel", () => {
    const protocol = openedSentinel()
    protocol.prompt("x", "abc")
    protocol.frames("42\n§abc")
    expect(endedOf(protocol.eof())).toMatchObject([{ status: "completed", text: "42" }])
  })

  it("gives no half sentinel away when stdout ends in it", () => {
    const protocol = openedSentinel()
    protocol.prompt("x", "abc")
    expect(joined([...protocol.frames("42\n§ab"), ...protocol.eof()], "delta")).toBe("42\n")
    expect(endedOf(protocol.take())).toEqual([])
  })
})

describe("text that ends with a delimiter", () => {
  const endOfTurn = { delimiter: "." }

  it("is ready at once and ends at the line that is the delimiter", () => {
    const protocol = started(endOfTurn)
    expect(protocol.start()).toEqual([{ type: "ready" }])
    protocol.prompt("x")
    expect(endedOf(protocol.frames("a.\n..\n.b\n ."))).toEqual([])
    const events = protocol.frames("\n.", "\nrest")
    expect(endedOf(events)).toMatchObject([{ text: "a.\n..\n.b\n ." }])
    expect(joined(events, "output")).toBe("rest")
  })

  it("ends an empty answer, and takes CRLF for a line break", () => {
    const protocol = opened(endOfTurn)
    protocol.prompt("x")
    expect(endedOf(protocol.frames(".\r\n"))).toMatchObject([{ text: "" }])
    protocol.prompt("y")
    expect(endedOf(protocol.frames("a\r\n.\r", "\n"))).toMatchObject([{ text: "a" }])
  })

  it("ends where stdout ends with it", () => {
    const protocol = opened(endOfTurn)
    protocol.prompt("x")
    protocol.frames("a\n.")
    expect(endedOf(protocol.eof())).toMatchObject([{ text: "a" }])
  })

  it("gives what it held back when stdout ends without it, and leaves the turn to the exit", () => {
    const protocol = opened({ delimiter: "END" })
    protocol.prompt("x")
    const events = [...protocol.frames("a\nEN"), ...protocol.eof()]
    expect(joined(events, "delta")).toBe("a\nEN")
    expect(endedOf(events)).toEqual([])
  })
})

describe("text that ends with silence", () => {
  it("is ready after the silence, with the banner as output", () => {
    const protocol = started({ quietMs: 100 })
    protocol.start()
    protocol.advance(60)
    protocol.frames("banner\n")
    protocol.advance(60)
    expect(protocol.take()).not.toContainEqual({ type: "ready" })
    protocol.advance(60)
    expect(protocol.take()).toEqual([{ type: "output", data: "\n" }, { type: "ready" }])
  })

  it("ends when no output came for that long since the prompt or the last output", () => {
    const protocol = opened({ quietMs: 100 })
    protocol.prompt("x")
    protocol.advance(90)
    protocol.frames("a\n")
    protocol.advance(90)
    protocol.frames("b\n")
    protocol.advance(90)
    expect(endedOf(protocol.take())).toEqual([])
    protocol.advance(10)
    expect(endedOf(protocol.take())).toMatchObject([{ text: "a\nb" }])
    protocol.prompt("y")
    protocol.advance(100)
    expect(endedOf(protocol.take())).toMatchObject([{ text: "" }])
  })

  it("is what text does when told nothing, for half a second", () => {
    const protocol = started()
    expect(protocol.start()).toEqual([{ type: "deadline", at: 1_500 }])
  })

  it("does not wait for hours when the clock is set back", () => {
    const protocol = makeText({ quietMs: 100 })
    const { state } = protocol.start({ freshId: "f", cwd: "/", from: null, now: 10_000_000, costUsd: null })
    expect(protocol.timer(state, 1_000).events).toEqual([{ type: "deadline", at: 1_100 }])
  })
})

describe("a long answer", () => {
  it("is streamed whole, kept up to the limit, and fails its own turn alone", () => {
    const protocol = openedSentinel(10)
    protocol.prompt("x", "abc")
    const events = [...protocol.frames("0123456"), ...protocol.frames("789abcdef\n"), ...protocol.frames("§abc\n")]
    expect(joined(events, "delta")).toBe("0123456789abcdef")
    expect(endedOf(events)).toMatchObject([{ status: "failed", text: "0123456789", error: { tag: "AnswerTooLong" } }])
    protocol.prompt("y", "def")
    expect(endedOf(protocol.frames("ok\n§def\n"))).toMatchObject([{ status: "completed", text: "ok" }])
  })

  const modes: ReadonlyArray<readonly [string, EndOfTurn, string]> = [
    ["prompt", { prompt: "^> $" }, "\n> "],
    ["sentinel", { sentinel: { send: "§{id}", expect: "§{id}" } }, "\n§tok1\n"],
    ["delimiter", { delimiter: "." }, "\n.\n"],
  ]
  for (const [name, endOfTurn, end] of modes) {
    it(`costs no more a byte than a short one (${name})`, () => {
      const time = (chunk: string, chunks: number) => {
        const protocol = started(endOfTurn)
        const written = joined(protocol.start(), "write")
        protocol.frames(written === "" ? "> " : written)
        protocol.prompt("x")
        protocol.take()
        const from = process.hrtime.bigint()
        for (let i = 0; i < chunks; i++) {
          protocol.frames(chunk)
          protocol.take()
        }
        const ended = endedOf(protocol.frames(end))
        const took = Number(process.hrtime.bigint() - from)
        expect(ended[0]?.text.length).toBe(chunk.length * chunks)
        return took
      }
      for (const chunk of ["x".repeat(64), "word ".repeat(12) + "end\n"]) {
        time(chunk, 500)
        const best = (chunks: number) => Math.min(...[1, 2, 3].map(() => time(chunk, chunks) / chunks))
        // Were it quadratic, 20 times the length would cost 20 times as much a byte, in every attempt.
        const ratios: Array<number> = []
        do ratios.push(best(20_000) / best(1_000))
        while (Math.min(...ratios) >= 6 && ratios.length < 8)
        expect(Math.min(...ratios)).toBeLessThan(6)
      }
    })
  }
})
