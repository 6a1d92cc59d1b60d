/**
 * What `doctor` looks at, one function a question; each answers with a finding. They look and never change
 * anything, and run no program: an agent's CLI may do anything when started.
 */
import { accessSync, constants, existsSync, statSync } from "node:fs"
import { delimiter, dirname, join } from "node:path"

export interface Finding {
  readonly what: string
  /** `missing` is worth knowing, but creche works without it; `bad` means that it cannot. */
  readonly status: "ok" | "missing" | "bad"
  readonly detail: string
  /** What to do about it; only where something is to be done. */
  readonly remedy?: string
}

type Environment = Readonly<Record<string, string | undefined>>

export const findOnPath = (program: string, env: Environment): string | undefined =>
  (env["PATH"] ?? "")
    .split(delimiter)
    .filter((directory) => directory !== "")
    .map((directory) => join(directory, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return statSync(path).isFile()
      } catch {
        return false
      }
    })

export const nodeVersion = (version: string): Finding => {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number)
  const enough = major > 22 || (major === 22 && minor >= 19)
  return enough
    ? { what: "node", status: "ok", detail: version }
    : { what: "node", status: "bad", detail: version, remedy: "install Node 22.19 or later" }
}

/** The directory itself, or the nearest one above that exists: there it would be made. */
export const writable = (what: string, directory: string): Finding => {
  let nearest = directory
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest)
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK)
    if (!statSync(nearest).isDirectory()) throw new Error("not a directory")
    return { what, status: "ok", detail: nearest === directory ? directory : `${directory} (made at the first start)` }
  } catch {
    return {
      what,
      status: "bad",
      detail:
        nearest === directory
          ? `${directory} cannot be written by you`
          : `${directory} cannot be made: ${nearest} cannot be written by you`,
      remedy: "choose another with --data DIR or CRECHE_DATA",
    }
  }
}

/** The kernel's bound on a unix socket's path, its NUL included: 108 on Linux, 104 on macOS and the BSDs. */
const longestSocketPath = process.platform === "linux" ? 107 : 103

export const socketPath = (path: string): Finding =>
  Buffer.byteLength(path) <= longestSocketPath
    ? { what: "socket", status: "ok", detail: path }
    : {
        what: "socket",
        status: "bad",
        detail: `${path} is longer than the ${longestSocketPath} bytes that a socket's path may have`,
        remedy: "choose a shorter one with --socket PATH or CRECHE_SOCKET",
      }

export const compiler = (env: Environment, needed: boolean): Finding => {
  const name = env["CC"] || "cc"
  const path = findOnPath(name, env)
  if (path !== undefined) return { what: "cc", status: "ok", detail: path }
  return needed
    ? {
        what: "cc",
        status: "missing",
        detail: `no ${name} in PATH, and no guard was found`,
        remedy: "install a C compiler (for example the package gcc or clang), then `npm rebuild` or `npm run build`",
      }
    : { what: "cc", status: "ok", detail: `no ${name} in PATH; not needed, the guard is there` }
}

const agents: ReadonlyArray<{ readonly program: string; readonly remedy: string }> = [
  { program: "claude", remedy: "npm install -g @anthropic-ai/claude-code" },
  { program: "codex", remedy: "npm install -g @openai/codex" },
  { program: "opencode", remedy: "npm install -g opencode-ai" },
  { program: "gemini", remedy: "npm install -g @google/gemini-cli" },
  { program: "goose", remedy: "see the goose project's installation page" },
  { program: "claude-agent-acp", remedy: "npm install -g @agentclientprotocol/claude-agent-acp" },
]

/** Where the known agents' CLIs are; none of them is needed. */
export const agentClis = (env: Environment): ReadonlyArray<Finding> =>
  agents.map(({ program, remedy }) => {
    const path = findOnPath(program, env)
    return path === undefined
      ? { what: program, status: "missing", detail: "not in PATH", remedy }
      : { what: program, status: "ok", detail: path }
  })
