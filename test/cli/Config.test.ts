import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { configJsonSchema } from "../../src/config/ConfigFile.ts"
import { Home } from "./Cli.ts"

let home: Home
beforeEach(() => {
  home = new Home()
})
afterEach(() => home.dispose())

const write = (name: string, ...lines: ReadonlyArray<string>) => {
  writeFileSync(join(home.directory, name), `${lines.join("\n")}\n`)
  return name
}

describe("config check", () => {
  it("says of a file that is right what it holds, and exits 0", async () => {
    write("creche.yaml", "version: 1", "templates:", "  a: {command: cat}", "sessions:", "  - {name: s, template: a}")
    expect(await home.run(["config", "check"])).toMatchObject({
      code: 0,
      stdout: "creche.yaml is right: 1 template, 1 session\n",
      stderr: "",
    })
    const { stdout, code } = await home.run(["config", "check", "--json"])
    expect([code, JSON.parse(stdout)]).toEqual([0, { valid: true, file: "creche.yaml", problems: [] }])
  })

  it("says all that is wrong, a line each, and exits 1", async () => {
    const file = write("wrong.yaml", "version: 1", "templates:", "  a: {comand: cat}", "sesions: []")
    const text = await home.run(["config", "check", file])
    expect(text.code).toBe(1)
    expect(text.stdout.split("\n")).toEqual([
      'wrong.yaml:3:7: templates.a.comand: is not a known field; did you mean "command"?',
      'wrong.yaml:4:1: sesions: is not a known field; did you mean "sessions"?',
      "",
      "wrong.yaml: 2 problems",
      "",
    ])
    const json = await home.run(["config", "check", file, "--json"])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout)).toMatchObject({
      valid: false,
      problems: [
        { line: 3, column: 7, path: "templates.a.comand" },
        { line: 4, column: 1 },
      ],
    })
  })

  it("of a file that is not there exits 1 and says so on stderr", async () => {
    const text = await home.run(["config", "check", "none.yaml"])
    expect([text.code, text.stdout]).toEqual([1, ""])
    expect(text.stderr).toMatch(/^creche config: cannot read none\.yaml: ENOENT/)
    const json = await home.run(["--json", "config", "check", "none.yaml"])
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { tag: "ConfigurationUnreadable", file: "none.yaml" } })
  })

  it("shows control characters of a file and does not obey them", async () => {
    const file = write("odd.yaml", "version: 1", '"\\e[31mx": 1')
    const { stdout, code } = await home.run(["config", "check", file])
    expect(code).toBe(1)
    expect(stdout).not.toContain("\u001b")
  })
})

describe("config schema", () => {
  it("prints the schema", async () => {
    const { stdout, code } = await home.run(["config", "schema"])
    expect([code, JSON.parse(stdout)]).toEqual([0, JSON.parse(JSON.stringify(configJsonSchema()))])
    expect((await home.run(["config", "schema", "--json"])).stdout.trim().split("\n")).toHaveLength(1)
  })
})

describe("config", () => {
  it.each([[["config"]], [["config", "chek"]], [["config", "schema", "x.yaml"]], [["config", "check", "a", "b"]]])(
    "%j is wrong usage: exit code 2, nothing on stdout",
    async (args) => {
      const outcome = await home.run(args)
      expect([outcome.code, outcome.stdout]).toEqual([2, ""])
      expect(outcome.stderr).not.toBe("")
    },
  )
})

describe("serve --config", () => {
  it("refuses a wrong file with its lines, exits 1 and leaves no data directory", async () => {
    const file = write("wrong.yaml", "version: 1", "runtime: {dataDirectory: here, socket: [x]}")
    const text = await home.run(["serve", "--config", file], { env: { CRECHE_DATA: "" } })
    expect([text.code, text.stdout]).toEqual([1, ""])
    expect(text.stderr).toMatch(/wrong\.yaml:2:40: runtime\.socket: must be a string/)
    expect(() => readFileSync(join(home.directory, "here"))).toThrow(/ENOENT/)
    const json = await home.run(["serve", "--json", "--config", file])
    expect(JSON.parse(json.stderr)).toMatchObject({
      error: { tag: "ConfigurationWrong", problems: [{ line: 2, column: 40, path: "runtime.socket" }] },
    })
  })

  it("starts the file's sessions, where it says, and one that cannot start keeps no other from it", async () => {
    mkdirSync(join(home.directory, "etc"))
    write(
      "etc/creche.yaml",
      "version: 1",
      "runtime: {dataDirectory: ../state, socket: ../state/c.sock}",
      "templates:",
      "  shell: {extends: bash, env: {GREETING: hello}}",
      "sessions:",
      "  - {name: first, template: shell, env: {WHO: you}}",
      "  - {name: broken, command: ./none}",
      "  - {name: last, command: cat}",
    )
    const env = { CRECHE_DATA: "" }
    const serving = home.spawn(["serve", "--config", "etc/creche.yaml"], env)
    const deadline = Date.now() + 20_000
    while (!serving.stderr().includes("listens on")) {
      if (Date.now() > deadline) throw new Error(serving.stderr())
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(serving.stderr()).toContain(`listens on ${join(home.directory, "state", "c.sock")}`)
    expect(serving.stderr()).toMatch(/session broken of the configuration did not start: .*ENOENT/)
    const client = {
      env: { CRECHE_DATA: join(home.directory, "state"), CRECHE_SOCKET: join(home.directory, "state/c.sock") },
    }
    expect((await home.run(["ps", "-q"], client)).stdout.split("\n").toSorted()).toEqual(["", "first", "last"])
    expect((await home.run(["ask", "first", "echo $GREETING $WHO"], client)).stdout).toBe("hello you\n")
    expect((await home.run(["start", "other", "--template", "shell"], client)).code).toBe(0)
    const unknown = await home.run(["start", "x", "--template", "shel"], client)
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('no template is called "shel"')])
    serving.child.kill("SIGTERM")
    expect(await serving.ended).toMatchObject({ code: 0 })
  })

  it("ends in order at a signal while a session of the file is not ready yet", async () => {
    // text is ready once its prompt has come.
    const file = write(
      "slow.yaml",
      "version: 1",
      "sessions:",
      "  - name: slow",
      "    command: sleep",
      "    args: ['600']",
      "    protocol: {type: text, endOfTurn: {prompt: never}}",
    )
    const serving = home.spawn(["serve", "--config", file])
    const deadline = Date.now() + 20_000
    while (!(await home.run(["ps"])).stdout.includes("starting")) if (Date.now() > deadline) throw new Error("no start")
    serving.child.kill("SIGTERM")
    expect(await serving.ended).toMatchObject({ code: 0 })
  })
})
