import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type CommandSpec, commands } from "../../src/cli/Commands.ts"
import { type Background, bin, Home, until } from "./Cli.ts"

/** Every example as it is documented, run by a shell against a runtime that the first of them started. */
const root = fileURLToPath(new URL("../..", import.meta.url))
const inTable = (Object.values(commands) as Array<CommandSpec>).flatMap(({ examples }) =>
  examples.map(({ command }) => command),
)
/** `creche ask [flags] SESSION PROMPT…`: how a command is used, not an example of it. */
const isUsage = (line: string) => /^creche [a-z]+(?: \[flags\])?(?: [[A-Z].*)?$/.test(line)
const inDocs = [...readFileSync(join(root, "docs/cli.md"), "utf8").matchAll(/^ {4}(.*\bcreche .*?)(?: {3}# .*)?$/gm)]
  .map((match) => match[1]!)
  .filter((line) => !isUsage(line))
const inReadme = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/^npm run -s (creche) -- (.*)$/gm)].map(
  (match) => `creche ${match[2]!}`,
)

const has = (program: string) => spawnSync(program, ["--version"]).error === undefined
const programs = { python3: has("python3"), bash: has("bash") }

let home: Home
let path: string
beforeEach(() => {
  home = new Home()
  path = join(home.directory, "bin")
  mkdirSync(path)
  const program = (name: string, text: string) =>
    writeFileSync(join(path, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  program("creche", `exec '${process.execPath}' '${bin}' "$@"`)
  // Whatever this checkout's state is, and whether it is one.
  program("git", "echo '+a line that was added'")
  writeFileSync(join(home.directory, "creche.yaml"), "version: 1\nsessions:\n  - name: configured\n    command: cat\n")
})
afterEach(() => home.dispose())

const env = () => ({ PATH: `${path}:${process.env["PATH"]}` })
const shell = (line: string, extra: NodeJS.ProcessEnv = {}) =>
  home.shell(line.startsWith("eval ") ? "bash" : "sh", line, { ...env(), ...extra })

const ended = async (line: string) => {
  // A runtime of its own, as where no data directory is named.
  const running = shell(line, line.includes("creche stdio") ? { CRECHE_DATA: "" } : {})
  running.child.stdin!.end()
  const outcome = await running.ended
  expect(outcome, `${line}\n${outcome.stderr}`).toMatchObject({ code: 0 })
  return outcome.stdout
}

/** For what goes on until it is interrupted: SIGTERM once it has begun. */
const interrupted = async (line: string, begun: (running: Background) => boolean, extra: NodeJS.ProcessEnv = {}) => {
  const running = shell(`exec ${line}`, extra)
  await until(`${line} has begun; it said ${running.stderr()}`, () => begun(running) || running.child.exitCode !== null)
  running.child.kill("SIGTERM")
  const outcome = await running.ended
  expect(outcome, `${line}\n${outcome.stderr}`).toMatchObject({ code: 0 })
}

const listens = (running: Background) => running.stderr().includes("listens on")

const runs = (line: string): boolean =>
  (programs.python3 || !/python/.test(line)) && (programs.bash || !line.startsWith("eval "))

const runAll = async (lines: ReadonlyArray<string>) => {
  await home.serve("--demo")
  await ended("creche start reviewer --template demo")
  for (const line of lines.filter(runs)) {
    if (line.startsWith("creche serve")) {
      const data = join(home.directory, "elsewhere")
      await interrupted(line, listens, { CRECHE_DATA: data })
    } else if (line.startsWith("creche logs -f")) await interrupted(line, (running) => running.stdout() !== "")
    else await ended(line)
  }
}

describe("the examples", () => {
  it("of docs/cli.md hold all those of the command table", () => {
    expect(inTable.length).toBeGreaterThan(10)
    expect(inDocs).toEqual(expect.arrayContaining(inTable))
  })

  it("of the command table and docs/cli.md run as they stand", async () => {
    await runAll([...new Set([...inTable, ...inDocs])])
  }, 120_000)

  it("of a REPL start one that answers", async (context) => {
    context.skip(!programs.python3, "no python3 here")
    await home.serve()
    for (const line of inTable.filter((line) => /python/.test(line))) {
      await ended(line)
      const name = line.split(" ")[2]!
      expect(await ended(`creche ask ${name} 'print(6 * 7)'`), line).toBe("42\n")
    }
  })

  it("of the README run as they stand", async () => {
    const lines = inReadme.filter((line) => programs.python3 || !/\bpy\b/.test(line))
    expect(lines.length).toBeGreaterThan(5)
    await runAll(lines.filter((line) => !/\b(?:demo|doctor)$/.test(line) || / (?:logs|stop) /.test(line)))
  }, 60_000)
})
