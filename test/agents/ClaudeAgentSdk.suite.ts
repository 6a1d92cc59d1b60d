/**
 * Claude Code through `@anthropic-ai/claude-agent-sdk`, in a program that is killed in the middle of a turn: what its own spawn leaves,
 * and that creche/spawn, handed to it as its hook, leaves nothing. With the real CLI, against a mock of the API.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { eventually, pidsWithEnvironment } from "../acceptance/Processes.ts"
import { freshToken, killIfThere, noTree } from "../process/SpawnerBench.ts"
import { directoryOf, isInstalled } from "./install.ts"
import { claudeAgentSdk } from "./Tools.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>
const why =
  missing[claudeAgentSdk.name] ??
  (isInstalled(claudeAgentSdk) ? undefined : "it is not installed; npm run test:agents does")

const installed = directoryOf(claudeAgentSdk)
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))
/** How long what is left is watched before it counts as left (ms): the CLI may need a while to notice that it is alone. */
const leftAfterMs = 5_000

const skipped = why === undefined ? "" : ` (skipped: ${why})`
describe.runIf(wanted === null || wanted.includes(claudeAgentSdk.name))(`the Claude Agent SDK${skipped}`, () => {
  let root: string
  let mock: ChildProcess
  let url: string
  let token: string
  let programs: Array<ChildProcess> = []
  beforeAll(async () => {
    if (why !== undefined) return
    root = mkdtempSync(join(process.env["CRECHE_AGENTS_WORK"] ?? tmpdir(), "creche-sdk-"))
    for (const name of ["home", "work"]) mkdirSync(join(root, name))
    mock = spawn(process.execPath, [path("mockAnthropic.ts")], { stdio: ["ignore", "pipe", "inherit"] })
    ;[url] = (await once(createInterface({ input: mock.stdout! }), "line")) as [string]
  })
  afterAll(() => {
    if (why !== undefined) return
    mock.kill()
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  })
  beforeEach((context) => {
    token = `token-${freshToken()}`
    context.skip(why !== undefined || noTree !== "", why ?? noTree)
  })
  afterEach(() => {
    for (const program of programs) program.kill("SIGKILL")
    programs = []
    for (const pid of pidsWithEnvironment(token)) killIfThere(pid)
  })

  const run = (...words: ReadonlyArray<string>) => {
    const program = spawn(process.execPath, words, {
      cwd: join(root, "work"),
      env: {
        PATH: process.env["PATH"],
        HOME: join(root, "home"),
        TMPDIR: join(root, "home"),
        ANTHROPIC_BASE_URL: url,
        ANTHROPIC_API_KEY: "dummy",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_TELEMETRY: "1",
        DISABLE_AUTOUPDATER: "1",
        CRECHE_INSTALLED: installed,
        CRECHE_TEST: token,
      },
      stdio: ["ignore", "pipe", "pipe"],
    })
    programs.push(program)
    let out = ""
    for (const stream of [program.stdout, program.stderr])
      stream.on("data", (chunk: Buffer) => (out += chunk.toString()))
    const said = (text: string) =>
      eventually(text, () => out.includes(text), 40_000).catch((error: Error) => {
        throw new Error(`${error.message}; it said ${out}`)
      })
    return { program, said, out: () => out }
  }
  const ask = (how: "node" | "creche", prompt: string) =>
    run(path("sdkProgram.mjs"), join(installed, claudeAgentSdk.program), how, prompt)
  /** The program itself aside. */
  const left = () => pidsWithEnvironment(token).filter((pid) => !programs.some((program) => program.pid === pid))
  const gone = (program: ChildProcess) => new Promise((resolve) => program.once("exit", resolve))

  it("answers as ever, with its CLI under a guard", async () => {
    const { program, said, out } = ask("creche", "leave with an answer")
    const ended = gone(program)
    await said("said heard: leave with an answer")
    await said("over")
    expect(await ended).toBe(0)
    expect(out()).toContain("stream_event")
    await eventually("nothing is left", () => left().length === 0)
  })

  const tool = "run touch begun; setsid sleep 1000 & sleep 1000"
  const midTool = async (how: "node" | "creche") => {
    const { program, said } = ask(how, tool)
    await said("assistant")
    await eventually("the tool runs", () => left().length >= (how === "node" ? 4 : 5), 40_000)
    return program
  }

  it("leaves its CLI and the CLI's tool behind when its program is killed with -9", async () => {
    const program = await midTool("node")
    const ended = gone(program)
    program.kill("SIGKILL")
    await ended
    await new Promise((resolve) => setTimeout(resolve, leftAfterMs))
    const survivors = left().length
    console.log(
      `${survivors} processes are left ${leftAfterMs} ms after the program was killed, with the SDK's own spawn`,
    )
    expect(survivors).toBeGreaterThan(0)
  })

  it.each(["SIGKILL", "SIGTERM", "SIGHUP"] as const)(
    "leaves nothing with creche/spawn when its program dies by %s in the middle of a tool",
    async (signal) => {
      const program = await midTool("creche")
      const ended = gone(program)
      program.kill(signal)
      await ended
      await eventually("nothing is left", () => left().length === 0, 5_000)
    },
  )

  it("leaves nothing with creche/spawn when its program is killed in the middle of an answer", async () => {
    const { program, said } = ask("creche", "count 1000 20")
    await said("stream_event")
    program.kill("SIGKILL")
    await eventually("nothing is left", () => left().length === 0, 5_000)
  })

  it("the example runs as it stands", async () => {
    const { program, said } = run(
      "--import",
      path("asInstalled.mjs"),
      path("../../examples/guarded-claude-agent.mjs"),
      "hello",
    )
    const ended = gone(program)
    await said("started guard")
    await said("success heard: hello")
    expect(await ended).toBe(0)
    await eventually("nothing is left", () => left().length === 0)
  })
})
