import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { commands } from "../../src/cli/Commands.ts"
import { contract } from "../../src/transport/Contract.ts"
import { routes } from "../../src/transport/HttpRoutes.ts"
import { toolNames } from "../../src/transport/McpTools.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (file: string) => readFileSync(join(root, file), "utf8")

const pages = [
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
]

describe("the README's table", () => {
  const rows = read("README.md")
    .split("\n")
    .filter((line) => line.startsWith("|") && /`(?:src|native)\//.test(line))

  it("leads from each behaviour to source and test that exist", () => {
    expect(rows.length).toBeGreaterThan(10)
    for (const row of rows) {
      const paths = [...row.matchAll(/`((?:src|test|native|scripts)\/[^`]+)`/g)].map((match) => match[1]!)
      expect(
        paths.some((path) => path.startsWith("test/")),
        row,
      ).toBe(true)
      for (const path of paths) expect(existsSync(join(root, path)), `${path} in: ${row}`).toBe(true)
    }
  })
})

/** The paths of a table's row: in full, or the last part alone after one that is like it or ends in `…`. */
const pathsIn = (row: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let before = ""
  for (const [, code] of row.matchAll(/`([^`]+)`/g)) {
    const path = code!.replace(/^[A-Z]+ /, "")
    if (path.startsWith("/")) before = path.replace(/[^/]*$/, "")
    found.push(path.startsWith("/") ? path : before + path)
  }
  return found
}

describe("the docs", () => {
  it("have every route of HTTP", () => {
    const rows = read("docs/http.md").split("\n")
    const told = new Set(rows.filter((row) => row.startsWith("| `")).flatMap(pathsIn))
    const short = (path: string) => path.replace("{session}", "{s}").replace("{turn}", "{t}")
    expect(routes.map(({ path }) => short(path)).filter((path) => !told.has(path))).toEqual([])
  })

  it("have every tool of MCP, and no other", () => {
    const rows = read("docs/mcp.md")
      .split("\n")
      .filter((row) => /^\| `[a-z]+_/.test(row))
    const told = rows.flatMap((row) => [...row.matchAll(/`([a-z_]+)`/g)].map((match) => match[1]!))
    expect(told.toSorted()).toEqual(toolNames.toSorted())
  })

  it("have fresh generated parts", () => {
    execFileSync(process.execPath, ["scripts/docs.ts", "--check"], { cwd: root })
  })

  it("tell of every command and every method", () => {
    for (const name of Object.keys(commands)) expect(read("docs/cli.md")).toContain(`\n## ${name}\n`)
    for (const name of Object.keys(contract)) expect(read("docs/protocol.md")).toContain(`\n### ${name}\n`)
  })

  it.each(pages)("%s links to nothing that is missing", (page) => {
    for (const [, target] of read(page).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue
      expect(existsSync(join(root, dirname(page), target!)), `${target} in ${page}`).toBe(true)
    }
  })

  it.each(pages)("%s names no test and no source that is missing", (page) => {
    for (const [, path] of read(page).matchAll(/`((?:src|test|native|scripts|bench|examples)\/[\w./-]+\.\w+)`/g))
      expect(existsSync(join(root, path!)), `${path} in ${page}`).toBe(true)
  })

  it("name only npm scripts that there are", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> }
    const built = new Set(["ci", "install", "rebuild", "start", "test", "pack"])
    for (const page of pages)
      for (const [, script] of read(page).matchAll(/\bnpm run (?:-s )?([a-z]+)/g))
        expect(Object.hasOwn(scripts, script!) || built.has(script!), `npm run ${script} in ${page}`).toBe(true)
  })
})

describe("the commands of the README", () => {
  it("are commands that there are", () => {
    for (const [, name] of read("README.md").matchAll(/\bnpm run -s creche -- ([a-z]+)/g))
      expect(Object.keys(commands)).toContain(name)
  })
})
