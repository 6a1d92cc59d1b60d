/**
 * A real `creche serve` (or `stdio`) in a process of its own, on a data directory that the test chooses: started, spoken to,
 * ended in good and in bad ways. Everything that one of them starts carries its mark in TERM, which sessions inherit.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import type { Client } from "../../src/client/Client.ts"
import { connectTo } from "../../src/client/Connect.ts"
import { allProcesses, type Process } from "./Processes.ts"

export const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface ServedOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly socket?: string
  /** Lines for a shell that then becomes the runtime; what it mounts is there for the runtime alone. */
  readonly within?: string
}

const ownMounts = ["unshare", ...(process.getuid?.() === 0 ? ["-m"] : ["-Urm"]), "--"]

/** Why no file system can be mounted for one process alone; undefined: it can. */
export const noMounts = (): string | undefined => {
  const [program, ...args] = [...ownMounts, "mount", "-t", "tmpfs", "none", "/tmp"]
  const { status, error, stderr } = spawnSync(program!, args, { encoding: "utf8" })
  return status === 0 ? undefined : `nothing can be mounted here: ${error?.message ?? stderr}`
}

/** One that is free now: for a runtime that comes back where it was. */
export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })

let marks = 0

export class ServedRuntime {
  readonly mark = `mark-${process.pid}-${++marks}.`
  readonly socket: string
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  outcome: Ended | undefined
  stderr = ""

  constructor(
    directory: string,
    flags: ReadonlyArray<string> = [],
    { env = {}, socket = join(directory, "s"), within }: ServedOptions = {},
  ) {
    this.socket = socket
    const args = [bin, "serve", "--data", directory, "--socket", socket, ...flags]
    const [program, ...rest] =
      within === undefined
        ? [process.execPath, ...args]
        : [...ownMounts, "sh", "-c", `set -e\n${within}\nexec "$0" "$@"`, process.execPath, ...args]
    this.child = spawn(program!, rest, {
      env: { ...process.env, ...env, TERM: this.mark },
      stdio: ["ignore", "ignore", "pipe"],
    })
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => (this.stderr += text))
    this.ended = new Promise((resolve) =>
      this.child.once("exit", (code, signal) => resolve((this.outcome = { code, signal }))),
    )
  }

  get pid(): number {
    return this.child.pid!
  }

  /** A connection, once there is somebody to talk to; fails when the runtime has ended instead. */
  async connect(deadlineMs = 20_000): Promise<Client> {
    const until = Date.now() + deadlineMs
    while (true) {
      try {
        const paths = { _tag: "Socket" as const, dataDirectory: "", socket: this.socket, socketIsShared: false }
        return await connectTo(paths, deadlineMs)
      } catch (error) {
        if (this.outcome !== undefined) throw new Error(`the runtime ended: ${this.stderr}`, { cause: error })
        if (Date.now() > until) throw new Error(`no connection: ${this.stderr}`, { cause: error })
        await sleep(4)
      }
    }
  }

  /** Once it says that it listens: its configuration is there then. */
  async listening(deadlineMs = 20_000): Promise<void> {
    const until = Date.now() + deadlineMs
    while (!this.stderr.includes("listens on")) {
      if (this.outcome !== undefined) throw new Error(`the runtime ended: ${this.stderr}`)
      if (Date.now() > until) throw new Error(`it never listened: ${this.stderr}`)
      await sleep(4)
    }
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<Ended> {
    this.child.kill(signal)
    return await this.ended
  }
}

export interface Marked extends Process {
  readonly environment: string
  readonly command: string
}

/** Live processes (no zombies) that one of these marks came down to; the runtimes themselves excepted. */
export const markedProcesses = (...runtimes: ReadonlyArray<ServedRuntime>): ReadonlyArray<Marked> =>
  allProcesses().flatMap((found) => {
    if (found.state === "Z" || runtimes.some(({ pid }) => pid === found.pid)) return []
    try {
      const environment = readFileSync(`/proc/${found.pid}/environ`, "latin1")
      if (!runtimes.some(({ mark }) => environment.includes(`TERM=${mark}`))) return []
      const command = readFileSync(`/proc/${found.pid}/cmdline`, "latin1").replaceAll("\0", " ").trim()
      return [{ ...found, environment, command }]
    } catch {
      return []
    }
  })

/** Of those, what sessions run: no guard, no spawn server. */
export const sessionProcesses = (...runtimes: ReadonlyArray<ServedRuntime>): ReadonlyArray<Marked> =>
  markedProcesses(...runtimes).filter(
    ({ environment }) => environment.includes("\0CRECHE_SESSION=") || environment.startsWith("CRECHE_SESSION="),
  )
