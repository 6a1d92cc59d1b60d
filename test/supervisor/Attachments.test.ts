import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { ContentBlock } from "../../src/domain/Prompt.ts"
import { readAttachments } from "../../src/supervisor/Attachments.ts"

let directory: string
let root: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-attach-"))
  root = join(directory, "root")
  mkdirSync(join(root, "inner"), { recursive: true })
  mkdirSync(join(directory, "root-too"))
  writeFileSync(join(root, "note.md"), "# hé\n")
  writeFileSync(join(root, "inner", "pic.PNG"), Buffer.from([0x89, 0x50, 0, 0xff]))
  writeFileSync(join(root, "raw"), Buffer.from([0xff, 0xfe]))
  writeFileSync(join(root, "plain"), "text")
  writeFileSync(join(root, "liar.json"), Buffer.from([0xff, 0x00]))
  writeFileSync(join(root, "empty"), "")
  writeFileSync(join(directory, "secret"), "secret")
  writeFileSync(join(directory, "root-too", "secret"), "secret")
  symlinkSync("../secret", join(root, "escape"))
  symlinkSync("..", join(root, "up"))
  symlinkSync("note.md", join(root, "alias"))
  symlinkSync("circle", join(root, "circle"))
  execFileSync("mkfifo", [join(root, "fifo")])
  writeFileSync(join(root, "huge"), "")
  truncateSync(join(root, "huge"), 2 ** 40)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const limits = () => ({ roots: [root], cwd: root, maxBytes: 1000 })
const read = (...paths: ReadonlyArray<string>) =>
  Effect.runPromise(
    readAttachments(
      paths.map((path) => ({ type: "file", path })),
      limits(),
    ),
  ) as Promise<ReadonlyArray<ContentBlock>>
const refusal = (...paths: ReadonlyArray<string>) =>
  read(...paths).then(
    () => "read",
    (error: { readonly issues: ReadonlyArray<{ readonly path: string; readonly message: string }> }) =>
      error.issues.map(({ path, message }) => `${path}: ${message}`).join(),
  )

describe("files with a prompt", () => {
  it("become resources: text as text, everything else as base64", async () => {
    expect(await read("note.md", join(root, "inner/pic.PNG"), "raw", "plain", "liar.json", "empty", "alias")).toEqual([
      { type: "resource", name: "note.md", mimeType: "text/markdown", data: "# hé\n" },
      { type: "resource", name: "pic.PNG", mimeType: "image/png", data: "iVAA/w==" },
      { type: "resource", name: "raw", mimeType: "application/octet-stream", data: "//4=" },
      { type: "resource", name: "plain", mimeType: "text/plain", data: "text" },
      { type: "resource", name: "liar.json", mimeType: "application/octet-stream", data: "/wA=" },
      { type: "resource", name: "empty", mimeType: "text/plain", data: "" },
      { type: "resource", name: "alias", mimeType: "text/plain", data: "# hé\n" },
    ])
  })

  it("are refused outside of the roots, however the path gets there", async () => {
    for (const path of [
      "../secret",
      join(directory, "secret"),
      "escape",
      "up/secret",
      "inner/../../secret",
      "../root-too/secret",
      "/etc/passwd",
      // Whether something is there is told of nothing outside either.
      "/nowhere",
      "../nowhere",
      "../secret/below",
      "up/nowhere",
      "up/nowhere/deep",
      "../root-too/nowhere",
    ]) {
      expect(await refusal(path), path).toContain(`is not below ${JSON.stringify(root)}; attachments.roots allows more`)
    }
  })

  it("are refused where they are no regular files, and nobody waits for a pipe", async () => {
    expect(await refusal("fifo")).toContain('prompt.0.path: "fifo" is no regular file')
    expect(await refusal("inner")).toContain("is no regular file")
    expect(await refusal("circle")).toContain("circle")
    expect(await refusal("nowhere")).toContain("is not there")
    expect(await refusal("note.md", "nul\0")).toContain("prompt.1.path")
  })

  it("are refused over the size of all together, before they are read", async () => {
    expect(await refusal("huge")).toContain("is too large: attachments.maxBytes is 1000 for all files of a prompt")
    writeFileSync(join(root, "half"), "x".repeat(600))
    expect(await refusal("half")).toBe("read")
    expect(await refusal("half", "half")).toContain('prompt.1.path: "half" is too large')
  })

  it("leave the other blocks as they are", async () => {
    const blocks = [
      { type: "text", text: "look" },
      { type: "resource", name: "r", mimeType: "text/plain", data: "d" },
    ] as const
    expect(await Effect.runPromise(readAttachments([...blocks], limits()))).toEqual(blocks)
    expect(await Effect.runPromise(readAttachments("plain", limits()))).toBe("plain")
  })
})
