// Finds what must not stand in the tree: paths of one machine, hosts of package registries, keys. Reads the
// files that git tracks or would track; outside a git checkout, every file but what is installed or built.
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** Each pattern holds a class where a plain letter would do, so that this file does not find itself. */
export const forbidden = [
  { what: "a path of one machine", pattern: /(?<![\w.~-])\/(?:[w]ork|[r]oot|[U]sers)\/[\w.-]+/ },
  {
    what: "a host of a package registry",
    pattern: /\bregistry\.[a-z0-9-]+\.(?:org|com|net|io|dev|cn|example|internal|local)\b|\bnpm[m]irror\b/,
  },
  { what: "a private key", pattern: /-----BEGIN [A-Z ]*PRIVATE [K]EY-----/ },
]

const walk = (root, at = "") =>
  readdirSync(join(root, at), { withFileTypes: true }).flatMap((entry) =>
    ["node_modules", "dist", ".git", "build"].includes(entry.name)
      ? []
      : entry.isDirectory()
        ? walk(root, join(at, entry.name))
        : [join(at, entry.name)],
  )

/** @returns {Array<string>} */
export const filesOf = (root) => {
  const git = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  })
  return git.status === 0 ? git.stdout.split("\0").filter((name) => name !== "") : walk(root)
}

/** @returns {Array<string>} one sentence for each line that holds what it must not. */
export const findings = (root) =>
  filesOf(root).flatMap((file) => {
    const path = join(root, file)
    // Listed by git, but deleted in the work tree.
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined || !stat.isFile()) return []
    const text = readFileSync(path, "utf8")
    if (text.includes("\0")) return []
    return text.split("\n").flatMap((line, at) =>
      forbidden.flatMap(({ what, pattern }) => {
        const match = pattern.exec(line)
        return match === null ? [] : [`${file}:${at + 1}: ${what}: ${match[0]}`]
      }),
    )
  })

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = findings(dirname(dirname(fileURLToPath(import.meta.url))))
  for (const finding of found) console.log(finding)
  process.exit(found.length > 0 ? 1 : 0)
}
