/** One command under `guard --run`, or in a terminal: what it says, how it ends, what is left. Ends only what it started. */
import { type ChildProcess, spawn, spawnSync, type SpawnOptions } from "node:child_process"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { eventually, fixture } from "../process/SpawnerBench.ts"

const binary = findGuardBinary()
export const guard = binary.found ? binary.path : ""

/** Empty: terminals can be had here; otherwise why not. */
export const noTerminal =
  spawnSync("python3", ["-c", "import pty"]).status === 0 ? "" : "skipped, no python3 that opens terminals"

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class Watched {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  out = ""
  err = ""

  constructor(program: string, args: ReadonlyArray<string>, options: SpawnOptions = {}) {
    this.child = spawn(program, args, { stdio: "pipe", ...options })
    this.child.stdout?.on("data", (chunk: Buffer) => (this.out += chunk.toString()))
    this.child.stderr?.on("data", (chunk: Buffer) => (this.err += chunk.toString()))
    this.child.stdin?.on("error", () => {})
    this.ended = new Promise((resolve) => this.child.once("close", (code, signal) => resolve({ code, signal })))
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Waits until the output holds it. */
  said(text: string | RegExp): Promise<unknown> {
    return eventually(`${String(text)} in ${JSON.stringify(this.out + this.err)}`, () =>
      typeof text === "string" ? this.out.includes(text) : text.test(this.out),
    ).catch((error: Error) => {
      throw new Error(`${error.message}; now ${JSON.stringify(this.out + this.err)}`)
    })
  }

  kill(): void {
    this.child.kill("SIGKILL")
  }
}

/** A shell with job control in a terminal of its own; lines are typed into it. */
export class Terminal extends Watched {
  constructor(program: string, args: ReadonlyArray<string>) {
    super("python3", [fixture("terminal.py"), program, ...args], {
      env: { PATH: process.env["PATH"], PS1: "", TERM: "dumb" },
    })
  }

  type(text: string): void {
    this.child.stdin!.write(text)
  }

  resize(rows: number, cols: number): void {
    this.child.stdin!.write(`\0${rows} ${cols}\n`)
  }
}
