import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))

const run = (command: string, args: ReadonlyArray<string>) => {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: "utf8", timeout: 60_000 })
  expect({ status, stderr }).toMatchObject({ status: 0 })
  return stdout
}

describe("the examples do what they say", () => {
  it("embedded.ts goes on after a kill -9", () => {
    const out = run(process.execPath, ["examples/embedded.ts"])
    expect(out).toContain("answer: hello\nafter kill -9: still there?\nincarnation 2, 1 restart, died of signaled\n")
    expect(out).toContain("stopped: stopped")
  })

  it("chat-bot.ts keeps two conversations apart and wakes one", () => {
    const out = run(process.execPath, ["examples/chat-bot.ts"])
    expect(out).toMatch(/ada: hello\n {2}→ You said "hello"\. This is turn 1/)
    expect(out).toMatch(/ada: and again\n {2}→ You said "and again"\. This is turn 2/)
    expect(out).toMatch(/bo: \/stream 3 word\n {2}→ word word word/)
    expect(out).toMatch(/ada sleeps: suspended\nada: good morning\n {2}→ You said "good morning"/)
  })

  it("durable-bot.ts is killed and has lost nothing", () => {
    const out = run(process.execPath, ["examples/durable-bot.ts"])
    expect(out).toBe(
      [
        "first life: completed, and 2 more messages on record",
        "first life: ended by SIGKILL",
        "second life: /remember colour green → completed: I remember colour",
        "second life: /slow 60000 never heard → lost",
        "second life: /recall colour → completed: green",
        "turns in all: 3",
        "",
      ].join("\n"),
    )
  })

  it("reconnecting.ts outlives its runtime and counts every entry once", () => {
    const out = run(process.execPath, ["examples/reconnecting.ts"])
    expect(out).toBe(
      [
        "before: I remember colour",
        "the runtime is killed, and another one begins on the same directory",
        "asked meanwhile: green",
        "followed 1 to the last entry, each once",
        "",
      ].join("\n"),
    )
  })

  it("websocket-client.ts asks from elsewhere, and may do no more", () => {
    const out = run(process.execPath, ["examples/websocket-client.ts"])
    expect(out).toBe("word\nword\nword\ncompleted\nForbidden\n")
  })

  it("effect-client.ts asks, streams, gives up and follows", () => {
    const out = run(process.execPath, ["examples/effect-client.ts"])
    expect(out).toBe("there is no ada yet\nword, word, word\nno answer yet: cancelled\nturns that ended: 2\n")
  })

  it("stdio.py speaks to a runtime from Python", (context) => {
    if (spawnSync("python3", ["--version"]).status !== 0) context.skip("python3 is not installed")
    const out = run("python3", ["examples/stdio.py"])
    expect(out).toMatch(/answer: 42\n( {2}piece: .*\n)+status: completed\nexit code: 0\n$/s)
  })

  it("every example is listed, and run here, or by test:agents where it needs packages of others", () => {
    const listed = readFileSync(`${root}/examples/README.md`, "utf8")
    const suites = ["ClaudeAgentSdk", "Execa"].map((name) => `${root}/test/agents/${name}.suite.ts`)
    const here = [fileURLToPath(import.meta.url), ...suites].map((file) => readFileSync(file, "utf8")).join("")
    for (const name of readdirSync(`${root}/examples`).filter((file) => file !== "README.md")) {
      expect(listed).toContain(`(${name})`)
      expect(here).toContain(`examples/${name}"`)
    }
  })
})
