import { describe, expect, it } from "vitest"
import { lines } from "../../src/protocols/Lines.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import { stepping } from "./steps.ts"

const started = () => {
  const protocol = stepping(lines as Protocol)
  protocol.start()
  protocol.take()
  return protocol
}

describe("lines", () => {
  it("is ready at once and writes a prompt as one line", () => {
    const protocol = stepping(lines as Protocol)
    expect(protocol.start()).toEqual([{ type: "ready" }])
    expect(protocol.prompt("hello")).toEqual([{ type: "write", data: "hello\n" }])
  })

  it("takes the next line as the answer and every later one as output, joined", () => {
    const protocol = started()
    protocol.prompt("x")
    expect(protocol.frames("answer", "later", "", "last")).toEqual([
      { type: "delta", text: "answer" },
      { type: "ended", status: "completed", text: "answer", stopReason: "end_turn" },
      { type: "output", data: "later\n\nlast\n" },
    ])
  })

  it("gives lines that no one asked for as one output event", () => {
    const protocol = started()
    expect(protocol.frames("a", "b")).toEqual([{ type: "output", data: "a\nb\n" }])
    expect(protocol.frames()).toEqual([])
  })

  it("takes an empty line as an empty answer", () => {
    const protocol = started()
    protocol.prompt("x")
    expect(protocol.frames("")).toEqual([{ type: "ended", status: "completed", text: "", stopReason: "end_turn" }])
  })

  it("refuses a prompt with a newline, writes nothing of it, and takes the next turn", () => {
    const protocol = started()
    const [ended, ...others] = protocol.prompt("a\nb")
    expect(others).toEqual([])
    expect(ended).toMatchObject({ type: "ended", status: "failed", text: "", error: { tag: "PromptHasNewline" } })
    expect(
      protocol.prompt([
        { type: "text", text: "a" },
        { type: "text", text: "b" },
      ]),
    ).toMatchObject([{ status: "failed" }])
    protocol.prompt("c")
    expect(protocol.frames("C")).toMatchObject([{ type: "delta" }, { type: "ended", text: "C" }])
  })

  it("leaves a turn unended when stdout ends: why is the exit's to say", () => {
    const protocol = started()
    protocol.prompt("x")
    expect(protocol.eof()).toEqual([])
  })
})
