import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { transcriptMarkdown } from "../../src/cli/TranscriptMarkdown.ts"
import { visible } from "../../src/cli/Text.ts"
import { type WireEntry, type WireSession, wireSession } from "../../src/transport/Wire.ts"
import { checked } from "../support/Property.ts"
import { makeStub } from "../transport/StubRuntime.ts"
import { blocksOf } from "./Fences.ts"

const session = (): WireSession =>
  wireSession(
    makeStub().session({ name: "chat", command: "agent", args: ["--flag", "`x`"], task: "t-1", tags: { team: "a" } }),
  )

type Body = { readonly type: WireEntry["type"]; readonly turn?: string; readonly [field: string]: unknown }

const entries = (bodies: ReadonlyArray<Body>): ReadonlyArray<WireEntry> =>
  bodies.map(
    (body, at) =>
      ({
        session: "s",
        seq: at + 1,
        at: `2026-01-31T12:00:${String(at % 60).padStart(2, "0")}.000Z`,
        incarnation: 1,
        ...body,
      }) as unknown as WireEntry,
  )

const documentOf = (bodies: ReadonlyArray<Body>): string => {
  const markdown = transcriptMarkdown(session())
  return markdown.begin() + entries(bodies).map(markdown.entry).join("") + markdown.end()
}

const queued = (turn: string, prompt: unknown): Body => ({ type: "turn/queued", turn, prompt })
const started = (turn: string, attempt = 1): Body => ({ type: "turn/started", turn, attempt })
const delta = (turn: string, text: string): Body => ({ type: "turn/delta", turn, text })
const ended = (turn: string, text: string, more: object = {}): Body => ({
  type: "turn/ended",
  turn,
  status: "completed",
  text,
  stopReason: null,
  durationMs: 1234,
  ...more,
})

describe("a transcript as Markdown", () => {
  it("is a title, the session's facts, and each turn with prompt, answer, status and duration", () => {
    const document = documentOf([
      { type: "status", status: "starting" },
      { type: "status", status: "ready" },
      queued("t1", "what is\n2 + 2?"),
      started("t1"),
      delta("t1", "fo"),
      delta("t1", "ur"),
      ended("t1", "four", { stopReason: "end_turn" }),
    ])
    expect(document).toBe(`# Session \`chat\`

- Id: \`${session().id}\`
- Status: ready
- Command: \`\` agent --flag \`x\` \`\`
- Protocol: lines
- Task: \`t-1\`
- Tags: \`team=a\`
- Created: 2025-06-15T15:06:40Z
- Last active: 2025-06-15T15:06:40Z
- Turns: 0 completed, 0 ended otherwise, 0 open
- Restarts: 0
- Entries: 0

- 2026-01-31T12:00:00Z status: \`starting\`
- 2026-01-31T12:00:01Z status: \`ready\`

## Turn 1 · 2026-01-31T12:00:03Z

\`t1\`

**Prompt**

\`\`\`
what is
2 + 2?
\`\`\`

**Answer**

\`\`\`
four
\`\`\`

**Ended** as completed after 1.2 s, \`end_turn\`

`)
  })

  it("shows tools with what went in and what came out, and errors with their tag", () => {
    const document = documentOf([
      queued("t1", "x"),
      started("t1"),
      { type: "turn/tool", turn: "t1", toolId: "1", name: "Bash", status: "running", input: { command: "ls ```" } },
      { type: "turn/tool", turn: "t1", toolId: "1", name: "Bash", status: "completed", output: "a\nb" },
      ended("t1", "", { status: "failed", error: { tag: "SessionNotRunning", message: "it `died`" } }),
    ])
    expect(document).toContain('**Tool** `Bash`: `running`\n\nInput\n\n````json\n{\n  "command": "ls ```"\n}\n````\n')
    expect(document).toContain("**Tool** `Bash`: `completed`\n\nOutput\n\n```\na\nb\n```\n")
    expect(document).toContain(
      "**Error** `SessionNotRunning`\n\n```\nit `died`\n```\n\n**Ended** as failed after 1.2 s",
    )
    expect(document).not.toContain("**Answer**")
  })

  it("tells turns apart that wait while another runs, in the order in which they ran", () => {
    const document = documentOf([
      queued("t1", "first"),
      started("t1"),
      queued("t2", "second"),
      queued("t3", "third"),
      ended("t1", "one"),
      ended("t3", "", { status: "cancelled" }),
      started("t2"),
      ended("t2", "two"),
    ])
    expect(blocksOf(document).blocks).toEqual(["first\n", "one\n", "third\n", "second\n", "two\n"])
    expect(document.match(/^## Turn \d/gm)).toEqual(["## Turn 1", "## Turn 2", "## Turn 3"])
  })

  it("shows what came of a turn that has not ended, and turns that still wait", () => {
    const document = documentOf([
      queued("t1", "a"),
      started("t1"),
      delta("t1", "so "),
      delta("t1", "far"),
      queued("t2", "b"),
    ])
    expect(document).toMatch(/\*\*Not ended\*\*\n\n```\nso far\n```\n/)
    expect(document).toMatch(/```\nb\n```\n\n\*\*Queued\*\*\n/)
  })

  it("names files and resources of a prompt, and leaves their data out", () => {
    const prompt = [
      { type: "text", text: "look at" },
      { type: "file", path: "/a/b.txt" },
      { type: "resource", name: "photo", mimeType: "image/png", data: "AAAA" },
    ]
    expect(blocksOf(documentOf([queued("t1", prompt)])).blocks).toEqual([
      "look at\n[file /a/b.txt]\n[image/png photo]\n",
    ])
  })

  it("forgets what a first attempt had said, and says that it was asked again", () => {
    const document = documentOf([
      queued("t1", "a"),
      started("t1"),
      delta("t1", "lost"),
      started("t1", 2),
      delta("t1", "kept"),
    ])
    expect(document).toContain("Asked again: attempt 2.")
    expect(blocksOf(document).blocks).toEqual(["a\n", "kept\n"])
  })

  it("begins in the middle where the beginning is no longer kept", () => {
    const markdown = transcriptMarkdown(session())
    const text =
      markdown.missed({ after: 0, through: 7 }) +
      entries([delta("t1", "end"), ended("t1", "the end")])
        .map(markdown.entry)
        .join("")
    expect(text).toContain("_Entries 1 to 7 are no longer kept._")
    expect(text).toContain("The prompt is no longer kept.")
    expect(text).toContain("the end")
  })

  it("counts what it leaves out", () => {
    const document = documentOf([
      { type: "output", stream: "stderr", data: "noise" },
      { type: "output", stream: "stderr", data: "noise" },
      { type: "native", message: {} },
    ])
    expect(document).toContain("Left out here: 2 entries of `output`, 1 entry of `native`; the format ndjson has them.")
    expect(document).not.toContain("noise")
  })

  it("says what happened to the process in a list that ends before what follows", () => {
    const document = documentOf([
      queued("t1", "a"),
      started("t1"),
      { type: "process/exited", exit: { kind: "signaled", signal: "SIGKILL", at: "2026-01-31T12:00:00.000Z" } },
      { type: "restart/scheduled", delayMs: 100, attempt: 1 },
      ended("t1", "b"),
    ])
    expect(document).toContain(
      "process/exited: `signal SIGKILL`\n- 2026-01-31T12:00:03Z restart/scheduled: `attempt 1 in 100 ms`\n\n**Answer**",
    )
  })

  it("holds every prompt and every answer as it was, whatever is in them", () => {
    const text = fc
      .array(
        fc.oneof(
          fc.constantFrom("```", "````\n", "\n", "~~~\n", "# ", "- ", "<b>", "|", "\r\n", "\u001b[31m"),
          fc.string(),
        ),
      )
      .map((parts) => parts.join(""))
      .filter((all) => all !== "")
    checked(fc.array(fc.tuple(text, text), { maxLength: 5 }), (turns) => {
      const document = documentOf(
        turns.flatMap(([prompt, answer], at) => [queued(`t${at}`, prompt), started(`t${at}`), ended(`t${at}`, answer)]),
      )
      const shown = (each: string) => {
        const all = visible(each.replaceAll("\r\n", "\n"))
        return all.endsWith("\n") ? all : `${all}\n`
      }
      expect(blocksOf(document)).toMatchObject({ blocks: turns.flat().map(shown), open: false })
    })
  })
})
