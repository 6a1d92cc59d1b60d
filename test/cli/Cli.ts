/**
 * Runs the CLI from the source tree as its users do: a child process with a home of its own, and `serve` in
 * the background until it says that it listens. Kills only what it started.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

export const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Background {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  readonly ended: Promise<Outcome>
}

const deadlineMs = 20_000

/** Waits for a condition; says what it waited for when the deadline passes. */
export const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + deadlineMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${deadlineMs} ms in vain: ${what}`)
    await sleep(10)
  }
}

/** Live processes (no zombies) whose environment carries this text. */
export const processesWith = (text: string): ReadonlyArray<number> =>
  readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    try {
      if (!readFileSync(`/proc/${name}/environ`, "latin1").includes(text)) return []
      return /^State:\s+Z/m.test(readFileSync(`/proc/${name}/status`, "latin1")) ? [] : [Number(name)]
    } catch {
      return []
    }
  })

export class Home {
  readonly directory = mkdtempSync(join(tmpdir(), "creche-cli-"))
  readonly data = join(this.directory, "data")
  readonly socket = join(this.data, "creche.sock")
  readonly #children = new Set<ChildProcess>()
  readonly #env: NodeJS.ProcessEnv

  constructor() {
    const { PATH, LANG, NODE_COMPILE_CACHE } = process.env
    this.#env = {
      PATH,
      LANG,
      ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }),
      HOME: this.directory,
      CRECHE_DATA: this.data,
      // Found in every descendant that did not wipe its environment.
      TERM: this.mark,
    }
  }

  /** In TERM, which sessions inherit. */
  get mark(): string {
    return `dumb-${this.directory.slice(-6)}`
  }

  spawn(args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}): Background {
    return this.#watched(process.execPath, [bin, ...args], env)
  }

  /** A line of the documentation, as a shell runs it; `creche` is found where the caller put it on PATH. */
  shell(shell: string, line: string, env: NodeJS.ProcessEnv = {}): Background {
    return this.#watched(shell, ["-c", line], env)
  }

  #watched(program: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv): Background {
    const child = spawn(program, args, {
      cwd: this.directory,
      env: { ...this.#env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    })
    this.#children.add(child)
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.stdin.on("error", () => {})
    const ended = new Promise<Outcome>((resolve) => {
      child.once("close", (code, signal) => {
        this.#children.delete(child)
        resolve({ code, signal, stdout, stderr })
      })
    })
    return { child, stdout: () => stdout, stderr: () => stderr, ended }
  }

  /** Runs to the end. */
  async run(args: ReadonlyArray<string>, options: { input?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Outcome> {
    const running = this.spawn(args, options.env)
    running.child.stdin?.end(options.input ?? "")
    return running.ended
  }

  async serve(...flags: ReadonlyArray<string>): Promise<Background> {
    const serving = this.spawn(["serve", ...flags])
    await Promise.race([
      until(`serve listens; it said ${serving.stderr()}`, () => serving.stderr().includes("listens on")),
      serving.ended.then((outcome) => {
        throw new Error(`serve ended at once: ${JSON.stringify(outcome)}`)
      }),
    ])
    return serving
  }

  /** Ends what still runs; SIGKILL only where SIGTERM was not enough. */
  async dispose(): Promise<void> {
    for (const child of this.#children) child.kill("SIGTERM")
    const deadline = Date.now() + 10_000
    while (this.#children.size > 0 && Date.now() < deadline) await sleep(10)
    for (const child of this.#children) child.kill("SIGKILL")
    rmSync(this.directory, { recursive: true, force: true })
  }
}
