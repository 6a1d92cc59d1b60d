/**
 * Records the wire of the real Claude Code against the mock, as fixtures for `test/fixtures/agents/replay.ts`:
 *   unshare -n sh -c 'ip link set lo up; node test/agents/claudeRecord.ts'
 * The CLI is driven by the protocol itself. Ids that are drawn anew become variables, directories of this machine `/project`;
 * long lists of what the CLI offers keep one element.
 */
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { Prompt } from "../../src/domain/Prompt.ts"
import { makeClaude, type ClaudeState } from "../../src/protocols/Claude.ts"
import type { ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"
import { claude } from "./ClaudeAgent.ts"
import { directoryOf } from "./install.ts"
import { startMockAnthropic } from "./mockAnthropic.ts"

const out = fileURLToPath(new URL("../fixtures/agents/claude/", import.meta.url))
const root = mkdtempSync(join(tmpdir(), "creche-record-"))
const [cwd, home] = [join(root, "work"), join(root, "home")]
for (const directory of [cwd, home]) mkdirSync(directory)
const mock = await startMockAnthropic()
const { command, env } = claude.spec({ directory: directoryOf(claude), home, url: mock.url })

type Scene = (cli: Cli) => Promise<void>

interface Cli {
  readonly tell: (prompt: Prompt) => void
  readonly cancel: () => void
  readonly answer: (request: string, option: string, result?: unknown) => void
  readonly phase: (phase: ClaudeState["phase"]) => Promise<void>
  readonly next: <T extends ProtocolEvent["type"]>(type: T) => Promise<Extract<ProtocolEvent, { readonly type: T }>>
}

/** Drawn anew by the CLI; nothing that goes back to it. */
const fresh = new Set(["uuid", "timestamp", "ttft_ms", "duration_ms", "duration_api_ms", "ttft_stream_ms"])

const plain = (value: unknown, field = ""): unknown => {
  if (Array.isArray(value)) {
    const isOffer = value.length > 4 && !["content", "input"].includes(field)
    return (isOffer ? value.slice(0, 1) : value).map((each) => plain(each))
  }
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, each]) => (fresh.has(key) ? [] : [[key, plain(each, key)]])),
  )
}

const record = async (name: string, scene: Scene, from: Resumption | null = null): Promise<string> => {
  const protocol = makeClaude()
  const freshId = randomUUID()
  const args = protocol.args!({ from, freshId })
  const id = from !== null && !from.fork ? from.conversation : freshId
  const child = spawn(command!, args, {
    cwd,
    env: { PATH: process.env["PATH"], ...env } as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "inherit"],
  })
  const exited = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)))
  const wire: Array<{ readonly dir: string; readonly data?: unknown; readonly code?: number | null }> = [
    { dir: "note", data: `${claude.packages[0]} against the mock of its model` },
  ]
  const events: Array<ProtocolEvent> = []
  let wake: (() => void) | undefined
  let state: ClaudeState
  const take = (step: Step<ClaudeState>) => {
    state = step.state
    for (const event of step.events) {
      events.push(event)
      if (event.type !== "write") continue
      wire.push({ dir: "in", data: JSON.parse(event.data) })
      child.stdin.write(event.data)
    }
    wake?.()
  }
  createInterface({ input: child.stdout }).on("line", (line) => {
    wire.push({ dir: "out", data: plain(JSON.parse(line)) })
    take(protocol.frames(state, [line], Date.now()))
  })
  take(protocol.start({ from, freshId, cwd, now: Date.now(), costUsd: null }))
  let at = 0
  await scene({
    tell: (prompt) => take(protocol.prompt(state, prompt, "t", Date.now())),
    cancel: () => take(protocol.cancel!(state)),
    answer: (request, option, result) => take(protocol.answer!(state, request, option, result)),
    phase: async (phase) => {
      while (state.phase !== phase) await new Promise<void>((resolve) => (wake = resolve))
    },
    next: async (type) => {
      const late = setTimeout(() => {
        throw new Error(`${name}: no ${type} came; ${JSON.stringify(events.slice(-4))}`)
      }, 30_000)
      for (;;) {
        for (; at < events.length; at++) if (events[at]!.type === type) break
        if (at < events.length) break
        await new Promise<void>((resolve) => (wake = resolve))
      }
      clearTimeout(late)
      return events[at++] as never
    },
  })
  child.stdin.end()
  const code = await exited
  if (code !== 0) wire.push({ dir: "exit", code })
  const texts: Array<readonly [string, string]> = [
    [cwd, "/project"],
    [home, "/home"],
    [root, "/"],
    [id, "${session}"],
    ...(from === null ? [] : ([[from.conversation, "${parent}"]] as const)),
  ]
  const ids = args.filter((arg) => /^--(session-id|resume|fork-session)/.test(arg))
  const lines = [wire[0], { dir: "args", data: ids }, ...wire.slice(1)].toSorted((a) => (a!.dir === "args" ? -1 : 0))
  let text = lines.map((line) => JSON.stringify(line)).join("\n") + "\n"
  for (const [real, variable] of texts) text = text.replaceAll(real, variable)
  // Sockets and pictures of the CLI's own.
  text = text.replaceAll(/\/tmp\/[^" \]]+/g, "/tmp/its-own")
  writeFileSync(join(out, `${name}.jsonl`), text)
  console.log(`${name}: ${lines.length} lines, ${text.length} characters`)
  return id
}

const ask = async (cli: Cli, prompt: Prompt): Promise<void> => {
  cli.tell(prompt)
  await cli.next("ended")
}

try {
  const id = await record("turns", async (cli) => {
    await cli.next("ready")
    for (const prompt of ["the first", "think of numbers", "count 6 5", "run echo hi", "fail 400"])
      await ask(cli, prompt)
    await ask(cli, [
      { type: "text", text: "look at this" },
      {
        type: "resource",
        name: "dot.png",
        mimeType: "image/png",
        data: "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
      },
      { type: "resource", name: "notes.txt", mimeType: "text/plain", data: "some notes" },
    ])
  })
  await record("permissions", async (cli) => {
    await cli.next("ready")
    cli.tell("run touch allowed")
    cli.answer((await cli.next("permission")).request, "allow")
    await cli.next("ended")
    cli.tell("run touch denied")
    cli.answer((await cli.next("permission")).request, "deny", "not today")
    await cli.next("ended")
    const options = ["Red", "Blue"].map((label) => ({ label, description: label }))
    const questions = [{ question: "Which?", header: "Colour", multiSelect: false, options }]
    cli.tell(`use AskUserQuestion ${JSON.stringify({ questions })}`)
    cli.answer((await cli.next("permission")).request, "allow", { answers: { "Which?": "Blue" } })
    await cli.next("ended")
    cli.tell("run touch withdrawn")
    await cli.next("permission")
    cli.cancel()
    await cli.next("ended")
    cli.tell("run touch always")
    cli.answer((await cli.next("permission")).request, "allow_always")
    await cli.next("ended")
    await ask(cli, "run touch always")
  })
  await record("interrupt", async (cli) => {
    await cli.next("ready")
    cli.tell("count 1000 20")
    for (let n = 0; n < 4; n++) await cli.next("delta")
    cli.cancel()
    await cli.next("ended")
    await ask(cli, "after")
  })
  await record("aside", async (cli) => {
    await cli.next("ready")
    const inBackground = { command: "touch later; sleep 0.5", description: "later", run_in_background: true }
    cli.tell(`use Bash ${JSON.stringify(inBackground)}`)
    cli.answer((await cli.next("permission")).request, "allow")
    await cli.next("ended")
    await cli.phase("aside")
    await ask(cli, "meanwhile")
  })
  const from = { conversation: id, fork: false }
  await record("resumed", async (cli) => (await cli.next("ready"), await ask(cli, "recall")), from)
  await record("forked", async (cli) => (await cli.next("ready"), await ask(cli, "recall")), {
    ...from,
    fork: true,
  })
  await record("unknown", async (cli) => void (await cli.next("broken")), {
    conversation: randomUUID(),
    fork: false,
  })
} finally {
  await mock.close()
  rmSync(root, { recursive: true, force: true, maxRetries: 5 })
}
