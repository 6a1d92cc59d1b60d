// Proves the import order of src/: each folder imports only what stands below it, and no import goes in a
// circle. Reads text, not types; refuses to guess: an import that resolves to no file is a violation too.
// Called by check.mjs and, with a tree of its own, by test/repository/imports.test.ts.
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"

const order = ["domain", "process", "protocols", "actors", "supervisor", "transport"]

/** What each part of src/ may import besides itself: parts, or single files of them. `types` may be imported with `import type` alone. */
export const rules = {
  ...Object.fromEntries(order.map((layer, at) => [layer, { values: order.slice(0, at), types: [] }])),
  store: { values: ["domain"], types: [] },
  demo: { values: [], types: ["domain"] },
  "version.ts": { values: [], types: [] },
  // The decoder loads nothing else, and must not be there twice.
  client: { values: ["transport/MessageDecoder.ts"], types: ["domain", "transport"] },
  // Loads nothing of the runtime: a program that spawns shall not pay for one.
  spawn: {
    values: ["process/AtExit.ts", "process/GuardBinary.ts", "process/MainThread.ts", "process/PerlGuard.ts"],
    types: [],
  },
  // Checks what a runtime would do with the file, so it stands above the supervisor.
  config: { values: ["domain", "process", "protocols", "actors", "supervisor", "demo"], types: [] },
  "main.ts": { values: [...order, "store", "demo", "config", "version.ts"], types: [] },
  "EmbeddedRuntime.ts": { values: [...order, "main.ts"], types: [] },
  "index.ts": {
    values: [...order, "client", "demo", "config", "version.ts", "main.ts", "EmbeddedRuntime.ts"],
    types: [],
  },
  cli: {
    values: [...order, "spawn", "client", "demo", "config", "version.ts", "main.ts", "EmbeddedRuntime.ts"],
    types: [],
  },
}

/** The part of src/ that a file belongs to: its folder, or the file itself when it stands at the top. */
const partOf = (file) => file.split("/")[0]

const filesIn = (root, at = "") =>
  readdirSync(join(root, at), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? filesIn(root, join(at, entry.name))
      : entry.name.endsWith(".ts")
        ? [join(at, entry.name)]
        : [],
  )

/** Comments, templates and single-quoted strings blanked out: an import named in one of them is none. Imports have double quotes. */
const withoutComments = (text) =>
  text.replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (found) =>
    found.startsWith('"') ? found : found.replace(/[^\n]/g, " "),
  )

const pattern = /(?:^|[\n;])\s*(import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/g

/** @returns {Array<{ specifier: string, typeOnly: boolean, line: number }>} */
export const importsOf = (source) => {
  const text = withoutComments(source)
  return [...text.matchAll(pattern)].map((match) => ({
    specifier: match[3] ?? match[4],
    typeOnly: match[2] !== undefined,
    line: text.slice(0, match.index + match[0].search(/\S/)).split("\n").length,
  }))
}

/**
 * The violations of a source tree, one sentence each; none when all is well.
 * @param {string} src
 * @returns {Array<string>}
 */
export const violations = (src) => {
  const found = []
  const graph = new Map()
  for (const file of filesIn(src)) {
    const part = partOf(file)
    const rule = rules[part]
    const edges = []
    graph.set(file, edges)
    if (rule === undefined) {
      found.push(`src/${file}: ${part} has no place in the import order; give it one in scripts/imports.mjs`)
      continue
    }
    for (const { specifier, typeOnly, line } of importsOf(readFileSync(join(src, file), "utf8"))) {
      if (!specifier.startsWith(".")) continue
      const target = relative(src, resolve(src, dirname(file), specifier))
      const where = `src/${file}:${line}`
      if (target.startsWith("..")) {
        found.push(`${where}: imports ${specifier}, which is outside src/`)
        continue
      }
      if (!existsSync(join(src, target))) {
        found.push(`${where}: imports ${specifier}, which does not exist`)
        continue
      }
      edges.push(target)
      const other = partOf(target)
      if (other === part || rule.values.includes(other) || rule.values.includes(target)) continue
      if (rule.types.includes(other)) {
        if (!typeOnly) found.push(`${where}: ${part} may import types alone from ${other}; write "import type"`)
        continue
      }
      found.push(`${where}: ${part} must not import ${other} (${specifier})`)
    }
  }
  return [...found, ...cycles(graph).map((cycle) => `src/: imports go in a circle: ${cycle.join(" → ")}`)]
}

/** Each circle of imports once, as the files along it with the first one repeated at the end. */
const cycles = (graph) => {
  const found = []
  const done = new Set()
  const path = []
  const visit = (file) => {
    const at = path.indexOf(file)
    if (at >= 0) {
      found.push([...path.slice(at), file])
      return
    }
    if (done.has(file)) return
    path.push(file)
    for (const next of graph.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of graph.keys()) visit(file)
  return found
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = violations(join(dirname(dirname(fileURLToPath(import.meta.url))), "src"))
  for (const violation of found) console.log(violation)
  process.exit(found.length > 0 ? 1 : 0)
}
