/**
 * The process in which one side of a measurement lives, as its driver sees it: started, asked for rounds, ended. It gets
 * a small environment and a home directory of its own, alike for both sides. Its other end is `side.ts`.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Measurement, Settings } from "./Measurement.ts"

const entry = fileURLToPath(new URL("./side.ts", import.meta.url))

/** A round that takes longer than this, in ms, has failed. */
const roundTimeoutMs = 40_000
/** How long a side may take to end what it started, in ms, before it is killed. */
export const closeTimeoutMs = 10_000

export type SideName = "subject" | "baseline" | "limit"
export type SideRequest = { readonly type: "round" } | { readonly type: "close" }
export type SideReply =
  | { readonly type: "ready" }
  | { readonly type: "value"; readonly value: number; readonly details: Readonly<Record<string, number>> }
  | { readonly type: "failed"; readonly error: string }

const flags = ["--expose-gc", "--disable-warning=ExperimentalWarning"]
const smallYoungGeneration = "--max-semi-space-size=1"
const passedOn = ["PATH", "LANG", "TMPDIR", "CRECHE_GUARD"]

export class SideProcess {
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  readonly #what: string

  private constructor(measurement: Measurement, side: SideName, settings: Settings, home: string) {
    this.#what = `${measurement.name} (${side})`
    const env: Record<string, string> = { HOME: home }
    for (const name of passedOn) if (process.env[name] !== undefined) env[name] = process.env[name]
    const argv = [process.execPath, ...flags]
    if (measurement.kind === "limit" && measurement.smallYoungGeneration) argv.push(smallYoungGeneration)
    argv.push(entry, measurement.name, side, JSON.stringify(settings))
    if (measurement.kind === "comparison" && measurement.pinned) argv.unshift("taskset", "-c", "0")
    this.#child = spawn(argv[0]!, argv.slice(1), { cwd: home, env, stdio: ["ignore", "ignore", "inherit", "ipc"] })
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", () => resolve())
      this.#child.once("error", () => resolve())
    })
  }

  static async start(measurement: Measurement, side: SideName, settings: Settings, home: string): Promise<SideProcess> {
    const started = new SideProcess(measurement, side, settings, home)
    await started.#reply()
    return started
  }

  async round(): Promise<{ readonly value: number; readonly details: Readonly<Record<string, number>> }> {
    const answer = this.#reply()
    this.#send({ type: "round" })
    const reply = await answer
    if (reply.type !== "value") throw new Error(`${this.#what}: answered ${reply.type} to a round`)
    return reply
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), closeTimeoutMs)
    if (this.#child.connected) this.#send({ type: "close" })
    await this.#exited
    clearTimeout(timer)
  }

  #send(request: SideRequest): void {
    this.#child.send(request)
  }

  #reply(): Promise<SideReply> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        done()
        this.#child.kill("SIGKILL")
        reject(new Error(`${this.#what}: ${why}`))
      }
      const timer = setTimeout(() => fail(`no answer within ${roundTimeoutMs} ms`), roundTimeoutMs)
      const onExit = (code: number | null, signal: string | null) => fail(`it ended with ${signal ?? code}`)
      const onError = (error: Error) => fail(error.message)
      const onMessage = (message: unknown) => {
        const reply = message as SideReply
        if (reply.type === "failed") return fail(reply.error)
        done()
        resolve(reply)
      }
      const done = () => {
        clearTimeout(timer)
        this.#child.off("exit", onExit).off("error", onError).off("message", onMessage)
      }
      this.#child.once("exit", onExit).once("error", onError).once("message", onMessage)
    })
  }
}
