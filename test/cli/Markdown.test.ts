import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { fenced, inlineCode } from "../../src/cli/Markdown.ts"
import { visible, visibleLine } from "../../src/cli/Text.ts"
import { checkedTimes } from "../support/Property.ts"
import { blocksOf } from "./Fences.ts"

/** The first code span of a line, by CommonMark's rules. */
const spanOf = (line: string): { code: string; rest: string } => {
  const ticks = /^`+/.exec(line)![0].length
  for (const run of line.slice(ticks).matchAll(/`+/g)) {
    if (run[0].length !== ticks) continue
    const inside = line.slice(ticks, ticks + run.index)
    const stripped = /^ .* $/s.test(inside) && inside.trim() !== "" ? inside.slice(1, -1) : inside
    return { code: stripped, rest: line.slice(ticks + run.index + ticks) }
  }
  return { code: "no end", rest: line }
}

/** Much of what makes trouble, and then anything. */
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "`",
        "``",
        "```",
        "````",
        "`````",
        "~~~",
        "\n",
        "\r",
        "\r\n",
        "\n```\n",
        "   ```",
        "\t",
        " ",
        "# ",
      ),
      fc.string({ maxLength: 5 }),
      fc.integer({ min: 0, max: 0x10ffff }).map((point) => String.fromCodePoint(point)),
    ),
    { maxLength: 20 },
  )
  .map((parts) => parts.join(""))

const lineOf = (text: string) => (text === "" || text.endsWith("\n") ? text : `${text}\n`)

describe("fenced code", () => {
  it("is the text itself again, whatever is in it, and nothing of it gets out", () => {
    checkedTimes(2000, fc.array(hostile, { minLength: 1, maxLength: 4 }), (texts) => {
      const document = texts.map((text) => `before\n\n${fenced(text, "json")}\nafter\n`).join("\n")
      const { blocks, outside, open } = blocksOf(document)
      expect(open).toBe(false)
      expect(blocks).toEqual(texts.map((text) => lineOf(visible(text.replaceAll("\r\n", "\n")))))
      expect(outside.filter((line) => line !== "")).toEqual(texts.flatMap(() => ["before", "after"]))
    })
  })

  it("has three backticks where that is enough", () => {
    expect(fenced("a `b` ``c``", "sh")).toBe("```sh\na `b` ``c``\n```\n")
    expect(fenced("```js\nx\n```\n")).toBe("````\n```js\nx\n```\n````\n")
    expect(fenced("")).toBe("```\n```\n")
  })
})

describe("code in a line", () => {
  it("is the text itself again, whatever is in it", () => {
    checkedTimes(2000, hostile, (text) => {
      const line = `${inlineCode(text)} after`
      const shown = visibleLine(text)
      expect(spanOf(line)).toEqual({ code: shown.trim() === "" ? '""' : shown, rest: " after" })
      expect(line).not.toContain("\n")
    })
  })
})
