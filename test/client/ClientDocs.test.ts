import { spawnSync } from "node:child_process"
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { cleanUp, tokenFile } from "../transport/HttpFixture.ts"
import { bin, ServedRuntime } from "../acceptance/ServedRuntime.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const page = readFileSync(join(root, "docs", "clients.md"), "utf8")

/** Each example of the page, with the output that the page says it has. */
const examples = [
  ...page.matchAll(/^## (.*)$|^```(ts|python|sh)\n([\s\S]*?)^```\n\n```text\n([\s\S]*?)^```$/gm),
].reduce<ReadonlyArray<{ section: string; language: string; source: string; output: string }>>(
  (found, [, heading, language, source, output]) => {
    const section = heading ?? found.at(-1)?.section ?? ""
    return [...found, { section, language: language ?? "", source: source ?? "", output: output ?? "" }]
  },
  [],
)
const runnable = examples.filter(({ language }) => language !== "")

let directory = ""
let runtime: ServedRuntime
let env: NodeJS.ProcessEnv

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-docs-"))
  const { file, tokens } = tokenFile({ name: "docs", scopes: ["admin"] })
  const flags = ["--http", "127.0.0.1:0", "--token-file", file]
  runtime = new ServedRuntime(join(directory, "data"), flags, { socket: join(directory, "s") })
  await runtime.listening()
  const creche = join(directory, "creche")
  writeFileSync(creche, `#!/bin/sh\nexec '${process.execPath}' '${bin}' "$@"\n`)
  chmodSync(creche, 0o700)
  env = {
    ...process.env,
    PATH: `${directory}:${process.env["PATH"]}`,
    CRECHE_SOCKET: runtime.socket,
    CRECHE_HTTP: /http:[^\s]+/.exec(runtime.stderr)![0],
    CRECHE_TOKEN: tokens["docs"],
    PYTHONPATH: join(root, "clients", "python"),
    PYTHONDONTWRITEBYTECODE: "1",
  }
  delete env["CRECHE_DATA"]
})
afterAll(async () => {
  await runtime.kill()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  await cleanUp()
})

const has = (program: string): boolean => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0

const commandOf = (language: string, source: string, at: number): readonly [string, ...Array<string>] => {
  if (language === "sh") return ["sh", "-c", source]
  if (language === "python") return ["python3", "-W", "error::ResourceWarning", "-c", source]
  const file = join(directory, `example-${at}.mts`)
  const installed = {
    "creche/client": "src/client/index.ts",
    "creche/client/effect": "src/client/EffectClient.ts",
    "effect/Effect": "node_modules/effect/dist/Effect.js",
    "effect/Stream": "node_modules/effect/dist/Stream.js",
  }
  const here = Object.entries(installed).reduce(
    (text, [name, path]) => text.replaceAll(JSON.stringify(name), JSON.stringify(join(root, path))),
    source,
  )
  writeFileSync(file, here)
  return [process.execPath, file]
}

// In order: the later ones go on with the sessions of the earlier.
describe("the examples of docs/clients.md", () => {
  it("are there for each of the three, each with its output", () => {
    const fences = page.match(/^```(?:ts|python|sh)$/gm) ?? []
    expect(runnable).toHaveLength(fences.length)
    expect(new Set(runnable.map(({ language }) => language))).toEqual(new Set(["ts", "python", "sh"]))
  })

  for (const [at, { section, language, source, output }] of runnable.entries()) {
    it(`${section}, example ${at + 1} prints what the page says`, (context) => {
      const program = {
        ts: "node",
        python: "python3",
        sh: ["socat", "curl"].find((each) => source.includes(each)) ?? "sh",
      }[language]!
      if (language !== "ts" && !has(program)) context.skip(`${program} is not installed`)
      const [command, ...args] = commandOf(language, source, at)
      const { status, stdout, stderr } = spawnSync(command, args, { env, cwd: directory, encoding: "utf8" })
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: output, stderr: "" })
    })
  }
})
