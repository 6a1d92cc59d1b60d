import { spawnSync } from "node:child_process"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { builtInTemplates } from "../../src/config/BuiltInTemplates.ts"
import type { ProtocolSpec } from "../../src/domain/ProtocolSpec.ts"
import { resolveSpec } from "../../src/domain/SessionSpec.ts"
import { resolveTemplate } from "../../src/domain/Template.ts"
import { openRuntime, type EmbeddedRuntime } from "../../src/index.ts"
import { protocolFor } from "../../src/protocols/ProtocolFor.ts"

const find = (name: string) => (Object.hasOwn(builtInTemplates, name) ? builtInTemplates[name] : undefined)
const names = Object.keys(builtInTemplates)
const agents = ["claude", "codex", "gemini", "opencode", "goose"]

/** Two prompts and what is answered to them; the second needs what the first left behind. */
const conversations: Readonly<Record<string, ReadonlyArray<readonly [prompt: string, answer: RegExp]>>> = {
  python: [
    ["x = 6 * 7; print(x)", /^42$/],
    ["print('héllo', x + 1)", /^héllo 43$/],
  ],
  node: [
    ["var x = 6 * 7; x", /^42$/],
    ["x + 1", /^43$/],
  ],
  bash: [
    ["x=42; echo $x", /^42$/],
    ["echo $((x + 1)); echo zwei", /^43\nzwei$/],
  ],
  demo: [
    ["hello", /You said "hello". This is turn 1/],
    ["again", /turn 2/],
  ],
}

describe("the built-in templates", () => {
  it("are those that the docs name", () => {
    expect(names).toEqual([...agents, ...Object.keys(conversations)])
  })

  it.each(names)("%s resolves to a spec with a command", (name) => {
    const spec = resolveTemplate(find, name, { name: "x" })
    if (spec instanceof Error) throw spec
    expect(spec.command).toBeTruthy()
    const { command = "", ...rest } = spec
    expect(resolveSpec({ ...rest, name: "x", command })).toMatchObject({ name: "x", command })
    expect(builtInTemplates[name]?.description).toBeTruthy()
  })
})

describe("started for real", () => {
  let runtime: EmbeddedRuntime
  beforeAll(async () => {
    runtime = await openRuntime()
  })
  afterAll(async () => {
    expect((await runtime.close()).survivors).toEqual([])
  })

  for (const [template, turns] of Object.entries(conversations)) {
    it(`${template} answers, and keeps what it was told`, async (context) => {
      const { command = "" } = builtInTemplates[template]!
      if (spawnSync(command, ["--version"]).error !== undefined) return context.skip(`${command} is not installed`)
      const session = await runtime.start({ template, name: template, env: { PYTHONDONTWRITEBYTECODE: "1" } })
      expect(session.status).toBe("ready")
      for (const [prompt, answer] of turns) {
        const turn = await runtime.ask(template, prompt, { timeoutMs: 30_000 })
        expect(turn.status).toBe("completed")
        expect(turn.text.trim()).toMatch(answer)
      }
      await runtime.remove(template)
    })
  }

  it.each(agents)("%s is refused by name where its program is not installed", async (template) => {
    const { protocol, command } = builtInTemplates[template]!
    const isSpoken = protocolFor(protocol as ProtocolSpec) !== undefined
    await expect(runtime.start({ template, env: { PATH: "/nonexistent" } })).rejects.toMatchObject(
      isSpoken ? { _tag: "SpawnFailed", field: "command", command } : { _tag: "Unsupported", what: "protocol" },
    )
    expect((await runtime.list()).sessions).toEqual([])
  })

  it("a template of one's own overrides and extends, and its sessions keep their spec when it is gone", async () => {
    await runtime.templates.put("shell", { extends: "bash", env: { A: "1", B: "2" }, tags: { kind: "shell" } })
    const session = await runtime.start({ template: "shell", name: "own", env: { B: "3" }, tags: { by: "test" } })
    expect(session.spec).toMatchObject({ env: { A: "1", B: "3" }, tags: { kind: "shell", by: "test" } })
    await runtime.templates.remove("shell")
    await runtime.restart("own")
    expect((await runtime.ask("own", "echo $A$B")).text.trim()).toBe("13")
    await expect(runtime.start({ template: "shell" })).rejects.toMatchObject({
      _tag: "TemplateNotFound",
      template: "shell",
    })
    await runtime.remove("own")
  })

  it("a template that no compiler has read is refused as any client's is", async () => {
    await expect(runtime.templates.put("a", { comand: "x" } as object)).rejects.toMatchObject({
      _tag: "InvalidParams",
      issues: [{ path: "template.comand", message: expect.stringContaining('did you mean "command"') }],
    })
    await expect(runtime.templates.put("a/b", {})).rejects.toMatchObject({ issues: [{ path: "name" }] })
  })
})
