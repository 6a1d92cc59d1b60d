/**
 * What a command may touch of the outside: its streams, its environment, its terminal. Results go to
 * `stdout`, everything else to `stderr`. Commands take it as an argument, so that tests can give their own.
 */
import { once } from "node:events"

export interface Io {
  /** Writes and waits while the reader is slow. */
  readonly stdout: (text: string) => Promise<void>
  readonly stderr: (text: string) => void
  /** All of standard input, as text. */
  readonly stdin: () => Promise<string>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Whether `stdout` is a terminal: then it is coloured, unless NO_COLOR is set, and control characters of others are shown, not obeyed. */
  readonly terminal: boolean
  readonly colours: boolean
  /** Instead of ending the process at SIGINT or SIGTERM, calls this once. */
  readonly onInterrupt: (then: () => void) => void
}

export type ExitCode = 0 | 1 | 2

export const processIo = (): Io => {
  // A reader that has seen enough (`creche logs demo | head`) is no failure of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : 1)
  })
  process.stderr.on("error", () => {})
  const terminal = process.stdout.isTTY === true
  return {
    stdout: async (text) => {
      if (!process.stdout.write(text)) await once(process.stdout, "drain")
    },
    stderr: (text) => void process.stderr.write(text),
    stdin: async () => {
      let all = ""
      process.stdin.setEncoding("utf8")
      for await (const chunk of process.stdin) all += String(chunk)
      return all
    },
    env: process.env,
    cwd: process.cwd(),
    terminal,
    colours: terminal && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb",
    onInterrupt: (then) => {
      process.once("SIGINT", then)
      process.once("SIGTERM", then)
    },
  }
}
