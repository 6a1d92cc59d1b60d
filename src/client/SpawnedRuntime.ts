/**
 * A runtime of the client's own: `creche stdio` as a child process, spoken to on its standard streams. It ends when its
 * standard input does, so whatever becomes of this program leaves none of it behind. Used by `connect` with `stdio`.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { Duplex } from "node:stream"
import { fileURLToPath } from "node:url"
import { CrecheError } from "./CrecheError.ts"
import type { Link } from "./Link.ts"
import { streamLink } from "./StreamLink.ts"

export interface SpawnOptions {
  /** The whole command line, as `["ssh", "host", "creche", "stdio"]`; default: `creche stdio` of this very package, whose log tells warnings alone. */
  readonly command?: ReadonlyArray<string> | undefined
  /** The runtime's data directory, added as `--data`; default: one of its own, gone with it. */
  readonly data?: string | undefined
}

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const ownCommand = (): ReadonlyArray<string> => [
  process.execPath,
  fileURLToPath(new URL(`../cli/bin.${extension}`, import.meta.url)),
  "stdio",
  // Its standard error is that of the program, which has something to say of its own.
  "--log-level",
  "warn",
]

/** A runtime stops its sessions before it ends, and they may take their grace; one that hangs is killed after so long. */
const closeMs = 60_000

/** Fails with the tag `NoRuntime` where the command cannot be started. Its standard error is this process's own. */
export const spawnRuntime = async ({ command = ownCommand(), data }: SpawnOptions): Promise<Link> => {
  const [program, ...args] = data === undefined ? command : [...command, "--data", data]
  if (program === undefined) throw new TypeError("stdio.command must name a program")
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] })
  await started(child, program)
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const link = streamLink(Duplex.from({ readable: child.stdout!, writable: child.stdin! }))
  const closed = link.closed.then(async () => {
    const timer = setTimeout(() => child.kill("SIGKILL"), closeMs)
    // What it still says is not heard, and must not block it.
    child.stdin!.destroy()
    child.stdout!.destroy()
    await ended
    clearTimeout(timer)
  })
  return {
    ...link,
    close: async () => {
      await link.close()
      await closed
    },
    closed,
  }
}

const started = (child: ChildProcess, program: string): Promise<void> =>
  new Promise((resolve, reject) => {
    child.once("spawn", resolve)
    child.once("error", (error: NodeJS.ErrnoException) => {
      const errno = error.code ?? "unknown"
      reject(
        new CrecheError(0, `no runtime: ${program} cannot be started: ${errno}`, {
          tag: "NoRuntime",
          command: program,
          errno,
        }),
      )
    })
  })
