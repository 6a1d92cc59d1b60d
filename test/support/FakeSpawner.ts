/**
 * A Spawner without an operating system: processes follow a script, time is the test's own. It keeps every process it
 * made, and counts each moment in which a session had two.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SpawnFailed } from "../../src/domain/Errors.ts"
import type { ExitReason } from "../../src/domain/ExitReason.ts"
import type { ShutdownSpec } from "../../src/domain/SessionSpec.ts"
import type { Command } from "../../src/process/Command.ts"
import { Spawner, type Subprocess, type SubprocessHandlers } from "../../src/process/Subprocess.ts"

export interface Script {
  /** The spawn fails so. */
  readonly fails?: SpawnFailed
  /** The spawn takes so long. */
  readonly spawnMs?: number
  /** What it answers to a line; undefined: nothing. Default: the line itself. */
  readonly answer?: (line: string, process: FakeProcess) => string | undefined
  /** How long it takes to end when told; Infinity: it survives. Default 0. */
  readonly endMs?: number
  /** What it does at the end of its stdin. Default: nothing. */
  readonly eof?: (process: FakeProcess) => void
  /** Called when it is there. */
  readonly up?: (process: FakeProcess) => void
}

let pids = 1000

export class FakeProcess implements Subprocess {
  readonly pid = ++pids
  readonly containment = "guard"
  readonly command: Command
  readonly signals: Array<string> = []
  readonly told: Array<ShutdownSpec> = []
  input = ""
  stdinEnded = false
  alive = true
  paused = false
  readonly #handlers: SubprocessHandlers
  readonly #script: Script
  readonly #note: (what: string) => void
  #waiting: Array<() => void> = []
  #survivors: ReadonlyArray<number> = []

  constructor(command: Command, handlers: SubprocessHandlers, script: Script, note: (what: string) => void = () => {}) {
    this.command = command
    this.#note = (what) => note(`${command.command} ${what}`)
    this.#handlers = handlers
    this.#script = script
  }

  say(text: string): void {
    if (this.alive) this.#handlers.onStdout(Buffer.from(text))
  }

  complain(text: string): void {
    if (this.alive) this.#handlers.onStderr(Buffer.from(text))
  }

  /** Its own end: by exit code or by signal. */
  end(how: number | string = 1): void {
    if (!this.alive) return
    this.alive = false
    this.#note("down")
    const at = 0
    const exit: ExitReason =
      typeof how === "number" ? { kind: "exited", code: how, at } : { kind: "signaled", signal: how, at }
    this.#handlers.onExit(exit)
    this.#handlers.onStdoutEnd?.()
    this.#close()
  }

  /** Its stdout ends, and it lives on. */
  closeStdout(): void {
    if (this.alive) this.#handlers.onStdoutEnd?.()
  }

  #close(): void {
    this.#handlers.onClosed(this.#survivors)
    const waiting = this.#waiting
    this.#waiting = []
    for (const resume of waiting) resume()
  }

  write(data: string | Uint8Array): boolean {
    const text = typeof data === "string" ? data : Buffer.from(data).toString()
    this.input += text
    const { answer = (line: string) => line } = this.#script
    for (const line of text.split("\n").slice(0, -1)) {
      queueMicrotask(() => {
        const said = answer(line, this)
        if (said !== undefined) this.say(said + "\n")
      })
    }
    return true
  }

  endStdin(): void {
    if (this.stdinEnded) return
    this.stdinEnded = true
    queueMicrotask(() => this.#script.eof?.(this))
  }
  pauseOutput(): void {
    this.paused = true
  }
  resumeOutput(): void {
    this.paused = false
  }
  signal(signal: string): void {
    this.signals.push(signal)
  }

  terminate(shutdown: ShutdownSpec): Effect.Effect<ReadonlyArray<number>> {
    return Effect.gen({ self: this }, function* () {
      if (!this.alive) return this.#survivors
      const first = this.told.push(shutdown) === 1
      if (first) this.#note("told")
      if (first) {
        const { endMs = 0 } = this.#script
        if (endMs > 0) yield* Effect.sleep(Number.isFinite(endMs) ? endMs : 10)
        if (!Number.isFinite(endMs)) this.#survivors = [this.pid]
        this.end("SIGTERM")
      } else {
        yield* Effect.callback<void>((resume) => void this.#waiting.push(() => resume(Effect.void)))
      }
      return this.#survivors
    })
  }
}

export class FakeSpawner {
  readonly processes: Array<FakeProcess> = []
  /** What happened in which order: `NAME up`, `NAME told` (to end), `NAME down`, where NAME is the command. */
  events: Array<string> = []
  /** Moments in which a session had two processes. */
  overlaps = 0
  /** The most processes that there ever were at once. */
  mostAlive = 0
  /** Starts of spawns, also of those that failed. */
  spawns = 0
  script: (spawn: number, command: Command) => Script

  constructor(script: (spawn: number, command: Command) => Script = () => ({})) {
    this.script = script
  }

  get last(): FakeProcess {
    return this.processes.at(-1)!
  }

  of(session: string): ReadonlyArray<FakeProcess> {
    return this.processes.filter(({ command }) => command.session === session)
  }

  alive(): ReadonlyArray<FakeProcess> {
    return this.processes.filter((process) => process.alive)
  }

  readonly service: Spawner["Service"] = {
    containment: { level: "guard", detail: "pretended", levels: [] },
    live: Effect.sync(() => this.alive().map(({ pid }) => pid)),
    spawn: (command, handlers) =>
      Effect.gen({ self: this }, function* () {
        const script = this.script(++this.spawns, command)
        if (this.of(command.session).some((process) => process.alive)) this.overlaps++
        if (script.spawnMs !== undefined) yield* Effect.sleep(script.spawnMs)
        if (script.fails !== undefined) return yield* script.fails
        const process = new FakeProcess(command, handlers, script, (what) => this.events.push(what))
        this.processes.push(process)
        this.events.push(`${command.command} up`)
        this.mostAlive = Math.max(this.mostAlive, this.alive().length)
        yield* Effect.addFinalizer(() => process.terminate(command.shutdown))
        queueMicrotask(() => script.up?.(process))
        return process
      }),
  }

  readonly layer: Layer.Layer<Spawner> = Layer.sync(Spawner, () => this.service)
}
