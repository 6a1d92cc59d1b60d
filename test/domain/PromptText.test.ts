import { expect, it } from "vitest"
import type { Prompt } from "../../src/domain/Prompt.ts"
import { promptText, searchedText, shownText } from "../../src/domain/PromptText.ts"

const blocks: Prompt = [
  { type: "text", text: "look at" },
  { type: "file", path: "/tmp/a" },
  { type: "resource", name: "r", mimeType: "text/plain; charset=utf-8", data: "d" },
  { type: "resource", name: "p", mimeType: "image/png", data: "AAAA" },
]

it("a string is its own text, and no blocks have none", () => {
  for (const textOf of [promptText, searchedText, shownText]) {
    expect(textOf("hi")).toBe("hi")
    expect(textOf([])).toBe("")
  }
})

it("for programs that know only text an attachment is its data, and a file its path", () => {
  expect(promptText(blocks)).toBe("look at\n/tmp/a\nd\nAAAA")
})

it("is found by what attachments are called, and by what they say where they are text", () => {
  expect(searchedText(blocks)).toBe("look at\n/tmp/a\nr\nd\np")
})

it("people are shown what was attached, not what is in it", () => {
  expect(shownText(blocks)).toBe("look at\n[file /tmp/a]\n[text/plain; charset=utf-8 r]\n[image/png p]")
})
