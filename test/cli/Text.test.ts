import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  age,
  bytes,
  clip,
  drawTree,
  duration,
  paintStatus,
  table,
  tableInPages,
  visible,
  visibleLine,
} from "../../src/cli/Text.ts"

describe("text for people", () => {
  it("aligns columns, and leaves no blanks at the ends of lines", () => {
    const columns = [
      { title: "NAME", value: (row: [string, string]) => row[0] },
      { title: "N", align: "right" as const, value: (row: [string, string]) => row[1] },
      { title: "LAST", value: () => "" },
    ]
    expect(
      table(columns, [
        ["a", "1"],
        ["longer", "20"],
      ]),
    ).toBe("NAME     N  LAST\na        1\nlonger  20\n")
  })

  it("aligns rows that come page by page, with one line of titles, and no column ever narrower", () => {
    const page = tableInPages([
      { title: "N", value: (row: readonly [string, string]) => row[0] },
      { title: "X", value: (row: readonly [string, string]) => row[1] },
    ])
    expect(page([["a", "1"]])).toBe("N  X\na  1\n")
    expect(page([["long", "2"]])).toBe("long  2\n")
    expect(page([["b", "3"]])).toBe("b     3\n")
    expect(page([])).toBe("")
  })

  it("says durations as coarsely as they are long", () => {
    expect([0, 12.4, 999, 1000, 59_900, 60_000, 3_600_000, 90_000_000].map(duration)).toEqual([
      "0 ms",
      "12 ms",
      "999 ms",
      "1.0 s",
      "59.9 s",
      "1.0 min",
      "1.0 h",
      "25.0 h",
    ])
  })

  it("lets nothing through that would move a cursor, whatever a child prints", () => {
    fc.assert(
      fc.property(
        // Made of code points by hand: fast-check's own "binary" unit takes seconds to build.
        fc
          .array(fc.oneof(fc.integer({ min: 0, max: 0x9f }), fc.integer({ min: 0, max: 0x10ffff })))
          .map((points) => String.fromCodePoint(...points)),
        (text) => {
          // oxlint-disable-next-line no-control-regex
          expect(visible(text)).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/)
          // oxlint-disable-next-line no-control-regex
          expect(visibleLine(text)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
        },
      ),
    )
    expect(visible("a\tb\nc")).toBe("a\tb\nc")
  })

  it("clips by characters and marks it", () => {
    expect(clip("äöü€😀", 5)).toBe("äöü€😀")
    expect(clip("äöü€😀!", 5)).toBe("äöü€…")
  })

  it("draws branches", () => {
    const leaf = (label: string) => ({ label, children: [] })
    const tree = { label: "root", children: [{ label: "a", children: [leaf("b"), leaf("c")] }, leaf("d")] }
    expect(drawTree(tree)).toBe("root\n├─ a\n│  ├─ b\n│  └─ c\n└─ d\n")
  })

  it("says ages and sizes coarsely", () => {
    const at = "2026-01-01T00:00:00.000Z"
    const after = (seconds: number) => age(at, Date.parse(at) + seconds * 1000)
    expect([after(-5), after(59), after(60), after(3600), after(86_400 * 3)]).toEqual(["0s", "59s", "1m", "1h", "3d"])
    expect([bytes(12), bytes(2048), bytes(5 * 1024 * 1024)]).toEqual(["12 B", "2.0 KiB", "5.0 MiB"])
  })

  it("colours only when told to", () => {
    expect(paintStatus(false, "failed", "failed")).toBe("failed")
    expect(paintStatus(true, "failed", "failed")).not.toBe("failed")
  })
})
