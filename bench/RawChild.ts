/**
 * The baselines' child process: what a program does with plain `node:child_process` and nothing else. Lines in, lines
 * out, the first line as the sign of readiness. Knows nothing of creche.
 */
import { spawn as nodeSpawn, type ChildProcessWithoutNullStreams } from "node:child_process"

/** Cuts text into lines; the rest of the last one waits. */
export class LineSplitter {
  #rest = ""

  push(text: string): Array<string> {
    const lines = (this.#rest + text).split("\n")
    this.#rest = lines.pop()!
    return lines
  }
}

export class RawChild {
  readonly process: ChildProcessWithoutNullStreams
  readonly closed: Promise<void>
  /** Called with each line. */
  onLine: (line: string) => void = () => {}

  /** `spawn`: another than Node's. */
  constructor(command: string, args: ReadonlyArray<string> = [], spawn = nodeSpawn) {
    const splitter = new LineSplitter()
    this.process = spawn(command, args, { stdio: "pipe" })
    this.process.stdout.setEncoding("utf8")
    this.process.stdout.on("data", (text: string) => {
      for (const line of splitter.push(text)) this.onLine(line)
    })
    this.process.stderr.resume()
    this.process.stdin.on("error", () => {})
    this.closed = new Promise((resolve, reject) => {
      this.process.once("close", () => resolve())
      this.process.once("error", reject)
    })
  }

  /** The next line. One at a time. */
  line(): Promise<string> {
    return new Promise((resolve) => (this.onLine = resolve))
  }

  ask(line: string): Promise<string> {
    const answer = this.line()
    this.process.stdin.write(`${line}\n`)
    return answer
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL")
    await this.closed
  }
}
