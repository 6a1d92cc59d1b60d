import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { CrecheError } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { changeTokens, makeToken } from "../../src/transport/Tokens.ts"
import { eventually } from "./Processes.ts"
import { ServedRuntime } from "./ServedRuntime.ts"

let directory = ""
let data = ""
let runtimes: Array<ServedRuntime> = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-logs-"))
  data = join(directory, "data")
  mkdirSync(data, { mode: 0o700 })
  runtimes = []
})
afterEach(async () => {
  for (const { child, ended } of runtimes) {
    child.kill("SIGKILL")
    await ended
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const serve = (flags: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}) => {
  const runtime = new ServedRuntime(data, flags, { socket: join(directory, "s"), env })
  runtimes.push(runtime)
  return runtime
}

interface Line {
  readonly timestamp: string
  readonly level: string
  readonly message: string
  readonly session?: string
  readonly name?: string
  readonly turn?: string
  readonly [field: string]: unknown
}

const linesOf = (text: string): ReadonlyArray<Line> =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line)

describe("the log", () => {
  it("is one JSON object a line, with the ids of session and turn, and holds nothing that is somebody's secret", async () => {
    const secrets = {
      inherited: "inherited-value-1",
      added: "added-value-2",
      argument: "argument-value-3",
      prompt: "prompt-words-4",
      answer: "answer-words-5",
      stderr: "stderr-words-6",
      metadata: "metadata-7",
    }
    const { token, record } = makeToken({ name: "bot", scopes: ["read"] }, Date.now())
    changeTokens(join(data, "tokens.json"), () => [record])
    const runtime = serve(["--log-format", "json", "--log-level", "debug", "--http", "127.0.0.1:0"], {
      SECRET_KEY: secrets.inherited,
    })
    const client = await runtime.connect()
    const shared = { env: { API_KEY: secrets.added }, inheritEnv: ["PATH", "SECRET_KEY"], metadata: secrets.metadata }
    const demo = await client.start({ ...demoSpec({ name: "demo", restart: "transient" }), ...shared })
    await client.ask({ session: "demo", prompt: `/echo ${secrets.prompt} ${secrets.answer}` })
    const crashed = await client.ask({ session: "demo", prompt: `/crash 3 ${secrets.prompt}` })
    await eventually("it is there again", async () => {
      return (await client.request("session/get", { session: "demo" })).incarnation === 2
    })
    const noisy = `echo ${secrets.stderr} >&2; read line; exit 7`
    await client.start({
      name: "loop",
      command: "sh",
      args: ["-c", noisy, secrets.argument],
      ...shared,
      restart: "permanent",
      backoff: { initialMs: 1 },
      intensity: { maxRestarts: 1, withinMs: 60_000 },
    })
    for (let i = 0; i < 2; i++) {
      await client.ask({ session: "loop", prompt: secrets.prompt }).catch(() => {})
    }
    await eventually("it gave up", async () => {
      return (await client.request("session/get", { session: "loop" })).status === "failed"
    })
    await expect(
      client.start({ name: "none", command: "no-such-program", args: [secrets.argument], ...shared }),
    ).rejects.toBeInstanceOf(CrecheError)
    const port = /"http":"http:\/\/127\.0\.0\.1:(\d+)"/.exec(runtime.stderr)![1]
    const url = `http://127.0.0.1:${port}/v1/info`
    const wrong = `${token.slice(0, -4)}0000`
    expect((await fetch(url, { headers: { Authorization: `Bearer ${token}` } })).status).toBe(200)
    for (const bad of [wrong, "nonsense-8", ""]) {
      expect((await fetch(url, { headers: { Authorization: `Bearer ${bad}` } })).status).toBe(401)
    }
    await client.request("session/remove", { session: "demo" })
    await client.close()
    await runtime.kill("SIGTERM")

    const lines = linesOf(runtime.stderr)
    for (const { timestamp, level, message } of lines) {
      expect(timestamp).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      expect(["debug", "info", "warn", "error"]).toContain(level)
      expect(typeof message).toBe("string")
    }
    const said = (message: string) => lines.filter((line) => line.message === message)
    expect(said("listening")).toHaveLength(1)
    expect(said("session started").map(({ name }) => name)).toEqual(["demo", "loop"])
    expect(said("turn ended").find(({ turn }) => turn === crashed.id)).toMatchObject({
      level: "info",
      session: demo.id,
      name: "demo",
      status: "failed",
      error: "ProcessExited",
    })
    expect(said("process ended").find(({ name }) => name === "demo")).toMatchObject({
      session: demo.id,
      exit: "exit code 3",
    })
    expect(said("gave up restarting")).toMatchObject([{ level: "error", name: "loop", exit: "exit code 7" }])
    expect(said("session removed")).toMatchObject([{ session: demo.id }])
    expect(said("http: refused").length).toBeGreaterThan(0)
    for (const line of lines.filter(({ message }) => /^(session|turn|process|restart|gave up)/.test(message))) {
      expect(line.session, JSON.stringify(line)).toMatch(/^ses_/)
      expect(line.message.startsWith("turn")).toBe(line.turn !== undefined)
    }
    for (const secret of [...Object.values(secrets), token.split("_")[2]!.slice(0, 16), "nonsense-8"]) {
      expect(runtime.stderr).not.toContain(secret)
    }
  })

  it("tells what its level asks for, as logfmt where nothing else is said, and obeys the configuration behind the flags", async () => {
    const config = join(directory, "creche.yaml")
    writeFileSync(config, "version: 1\nruntime:\n  log: { format: json, level: debug }\n")
    const cases: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp, RegExp | undefined]> = [
      [[], /^timestamp=\S+ level=INFO .*message="session started" session=ses_\w+ name=a$/m, /level=DEBUG/],
      [["--log-level", "debug"], /level=DEBUG .*message="process starts"/, undefined],
      [["--log-level", "warn"], /listens on/, /session started/],
      [["--log-level", "none"], /listens on/, /timestamp=/],
      [
        ["--config", config],
        /^\{"timestamp":"[^"]+","level":"debug","message":"process starts"/m,
        /listens on|timestamp=/,
      ],
      [["--config", config, "--log-level", "info"], /"message":"listening"/, /"level":"debug"/],
      [["--config", config, "--log-format", "logfmt"], /level=DEBUG/, /^\{/m],
    ]
    for (const [flags, has, hasNot] of cases) {
      const runtime = serve(["--memory", ...flags])
      const client = await runtime.connect()
      await client.start({ name: "a", command: "cat" })
      await client.close()
      await eventually(`${flags.join(" ")} gives ${has}: ${runtime.stderr}`, () => has.test(runtime.stderr))
      await runtime.kill("SIGTERM")
      if (hasNot !== undefined) expect(runtime.stderr, flags.join(" ")).not.toMatch(hasNot)
    }
  })

  it("refuses levels and formats that there are not, and names them", async () => {
    for (const flags of [
      ["--log-level", "loud"],
      ["--log-format", "xml"],
    ]) {
      const runtime = serve(flags)
      expect((await runtime.ended).code).toBe(2)
      expect(runtime.stderr).toContain(flags[0])
    }
  })
})
