/**
 * A process with its tree and its guard, as the operating system would show them to the runtime: its output comes in pieces
 * and late, its end is told before or after the last of it, its tree is empty some time after that. It ends as its life says,
 * as it is told, or when the runtime that holds it dies. Termination is the real machine's, in virtual time.
 */
import * as Effect from "effect/Effect"
import type { ExitReason } from "../../src/domain/ExitReason.ts"
import type { ShutdownSpec } from "../../src/domain/SessionSpec.ts"
import type { Command } from "../../src/process/Command.ts"
import type { Subprocess, SubprocessHandlers } from "../../src/process/Subprocess.ts"
import {
  deadlineOf,
  running,
  terminationStep,
  type TerminationEvent,
  type TerminationState,
} from "../../src/process/Termination.ts"
import type { Entry } from "./Agenda.ts"
import { languageOf, type Language, type Speaker } from "./ChildLanguage.ts"
import { within } from "./Lots.ts"
import type { End, Life, TurnPlan } from "./Plan.ts"
import type { RuntimeLife } from "./RuntimeLife.ts"
import type { World } from "./World.ts"

/** Its end, in the queue of what it wrote. */
const eof = Symbol("eof")

/** With the tree empty a pipe that is silent is closed after so long. */
const drainQuietMs = 250

export interface ChildOptions {
  readonly world: World
  readonly runtime: RuntimeLife
  readonly command: Command
  readonly handlers: SubprocessHandlers
  readonly life: Life
  readonly pid: number
  /** For the log. */
  readonly name: string
  /** The tree is empty. */
  readonly onGone: (child: SimulatedChild) => void
}

export class SimulatedChild implements Subprocess, Speaker {
  readonly pid: number
  readonly containment = "guard"
  readonly command: Command
  readonly life: Life
  readonly name: string
  readonly runtime: RuntimeLife
  /** Nothing of its tree is left. */
  gone = false
  /** It could not be killed, and the runtime was told so. */
  survives = false
  /** It left by itself, with nobody having asked for it. */
  left: End | undefined
  readonly #world: World
  readonly #handlers: SubprocessHandlers
  readonly #onGone: (child: SimulatedChild) => void
  readonly #language: Language
  #isUp = false
  #exited = false
  #reason: ExitReason | undefined
  #exitTold = false
  #treeEmpty: ReadonlyArray<number> | undefined
  #closed = false
  /** Nobody listens: its spawn was interrupted, or its runtime is dead. */
  #muted = false
  #early: Array<() => void> | undefined = []
  #waiters: Array<(survivors: ReadonlyArray<number>) => void> = []
  #termination: TerminationState = running
  #timer: Entry | undefined
  /** What it does by itself, until it ends. */
  #doings: Array<Entry> = []
  /** Written and not yet read. */
  #output: Array<string | typeof eof> = []
  #reading: Entry | undefined
  #eofSent = false
  #eofRead = false
  #paused = false
  #input = ""
  #stdinOpen = true
  #full = false
  #lots = 0

  constructor(options: ChildOptions) {
    const { world, runtime, command, handlers, life, pid, name, onGone } = options
    this.#world = world
    this.runtime = runtime
    this.command = command
    this.#handlers = handlers
    this.life = life
    this.pid = pid
    this.name = name
    this.#onGone = onGone
    this.#language = languageOf(command.command, command.args, `c${pid}`, this)
  }

  #lot(): number {
    return this.#world.lot("output", this.pid, ++this.#lots)
  }

  #within(from: number, to: number): number {
    return within(this.#lot(), from, to)
  }

  /** It runs from here on. */
  up(): void {
    const { life } = this
    this.#isUp = true
    this.#language.up()
    for (let i = 0; i < life.chatter; i++) {
      this.later(this.#within(0, 40), () => {
        if (this.#lot() < 0.5) this.#language.stray()
        else this.#tell(() => this.#handlers.onStderr(Buffer.from("a word\n")), "stderr")
      })
    }
    if (life.endsAfterMs !== null) this.later(life.endsAfterMs, () => this.leave(life.end))
  }

  // ---- Speaker ----

  later(ms: number, act: () => void): void {
    if (!this.#exited) this.#doings.push(this.#world.in(ms, act))
  }

  say(text: string, ms: number, pieces: number): void {
    if (ms > 0) return this.later(ms, () => this.say(text, 0, pieces))
    if (this.#exited || this.#eofSent) return
    const size = Math.max(1, Math.ceil(text.length / pieces))
    for (let at = 0; at < text.length; at += size) this.#output.push(text.slice(at, at + size))
    this.#read()
  }

  end(turn: TurnPlan): void {
    this.leave(turn.end ?? this.life.end)
  }

  closeStdout(): void {
    if (this.#eofSent) return
    this.#eofSent = true
    this.#output.push(eof)
    this.#read()
  }

  // ---- its end ----

  /** By itself, or by somebody who is not the runtime. */
  leave(end: End): void {
    if (!this.#isUp || this.#exited || this.gone) return
    if (this.#termination._tag === "Running") this.left = end
    this.#world.say(`${this.name} leaves: ${wordsOf(end)}`)
    this.#exit(end)
  }

  #exit(end: End): void {
    if (this.#exited) return
    this.#exited = true
    for (const doing of this.#doings) doing.cancelled = true
    this.#doings = []
    this.#advance({ type: "leaderExited", now: this.#world.now })
    const at = this.#world.now + this.#world.wallMs
    const exit: ExitReason = (this.#reason =
      end.by === "exit"
        ? { kind: "exited", code: end.code, at }
        : { kind: "signaled", signal: end.by === "signal" ? end.signal : "SIGKILL", at })
    this.#world.in(this.#within(0, 2), () => this.#tellExit(exit))
    // Who is left of the tree is ended by the guard.
    this.#world.in(this.#within(0, 3) + this.life.straysMs, () => this.#emptied([]))
  }

  #tellExit(exit: ExitReason): void {
    if (this.#exitTold) return
    this.#exitTold = true
    this.#tell(() => this.#handlers.onExit(exit), "exit")
  }

  #emptied(survivors: ReadonlyArray<number>): void {
    if (this.#treeEmpty !== undefined) return
    this.#treeEmpty = survivors
    if (survivors.length === 0) this.#goes()
    else this.survives = true
    if (this.#muted) return this.#close()
    this.#paused = false
    this.#read()
    this.#world.in(Math.min(this.life.heldMs, drainQuietMs), () => {
      this.closeStdout()
      if (this.#eofRead) this.#close()
    })
  }

  #goes(): void {
    if (this.gone) return
    this.gone = true
    this.survives = false
    this.#world.say(`${this.name} is gone`)
    this.#onGone(this)
  }

  #close(): void {
    if (this.#closed || this.#treeEmpty === undefined) return
    this.#closed = true
    this.#full = false
    const survivors = this.#treeEmpty
    this.#advance({ type: "closed" })
    if (this.#reason !== undefined) this.#tellExit(this.#reason)
    this.#tell(() => this.#handlers.onClosed(survivors), "closed")
    const answer = () => {
      const waiters = this.#waiters
      this.#waiters = []
      for (const waiter of waiters) waiter(survivors)
    }
    if (this.#early === undefined) answer()
    else this.#early.push(answer)
  }

  /** The runtime is dead: the guard sees its end of the pipe closed and ends the tree. */
  orphaned(): void {
    this.#muted = true
    this.#waiters = []
    if (this.#timer !== undefined) this.#timer.cancelled = true
    this.#kill()
    this.#world.in(this.#within(0, 4), () => this.#goes())
  }

  #kill(): void {
    for (const doing of this.#doings) doing.cancelled = true
    this.#doings = []
    this.#exited = true
  }

  // ---- what the runtime hears ----

  #tell(act: () => void, what: string): void {
    if (this.#muted || !this.runtime.alive) return
    const told = () => {
      if (this.#muted || !this.runtime.alive) return
      this.#world.say(`${this.name} ${what}`)
      act()
    }
    if (this.#early === undefined) told()
    else this.#early.push(told)
  }

  /** `spawn` has returned: what came before that is told now. */
  open(): void {
    const early = this.#early
    if (early === undefined) return
    this.#early = undefined
    for (const act of early) act()
  }

  #read(): void {
    if (this.#reading !== undefined || this.#output.length === 0 || this.#paused || this.#muted) return
    this.#reading = this.#world.in(this.#within(0, 2), () => {
      this.#reading = undefined
      if (this.#paused) return
      // What waits in the pipe may be read in one.
      let chunk = ""
      const most = this.#within(1, 3)
      for (let taken = 0; taken < most && typeof this.#output[0] === "string"; taken++) {
        chunk += this.#output.shift() as string
      }
      if (chunk !== "") this.#tell(() => this.#handlers.onStdout(Buffer.from(chunk)), `stdout ${chunk.length}`)
      if (this.#output[0] === eof) {
        this.#output.shift()
        this.#eofRead = true
        this.#tell(() => this.#handlers.onStdoutEnd?.(), "stdout ends")
      }
      this.#readOn()
    })
  }

  #readOn(): void {
    if (this.#eofRead) {
      if (this.#treeEmpty !== undefined) this.#close()
      return
    }
    this.#read()
  }

  // ---- Subprocess ----

  write(data: string | Uint8Array): boolean {
    if (!this.runtime.does("write") || this.#exited || !this.#stdinOpen) return true
    this.#input += typeof data === "string" ? data : Buffer.from(data).toString()
    const lines = this.#input.split("\n")
    this.#input = lines.pop()!
    for (const line of lines) this.later(0, () => this.#language.heard(line))
    const { stdinFullMs } = this.life
    if (stdinFullMs === 0) return true
    if (!this.#full) {
      this.#full = true
      this.#world.in(stdinFullMs, () => {
        this.#full = false
        if (!this.#closed) this.#tell(() => this.#handlers.onDrain(), "drained")
      })
    }
    return false
  }

  endStdin(): void {
    if (!this.runtime.does("endStdin") || !this.#stdinOpen) return
    this.#stdinOpen = false
    if (this.life.heedsEof) this.later(1, () => this.#exit({ by: "exit", code: 0 }))
  }

  pauseOutput(): void {
    if (this.#treeEmpty === undefined) this.#paused = true
  }

  resumeOutput(): void {
    this.#paused = false
    this.#read()
  }

  signal(signal: string): void {
    if (!this.runtime.does(`signal ${signal}`) || this.#exited) return
    this.#world.say(`${this.name} gets ${signal}`)
    if (signal === "SIGKILL") return this.#killed()
    const { obeysAfterMs } = this.life
    if (signal !== "SIGTERM" || obeysAfterMs === null) return
    this.later(obeysAfterMs, () =>
      this.#exit(this.#lot() < 0.5 ? { by: "exit", code: 143 } : { by: "signal", signal: "SIGTERM" }),
    )
  }

  #killed(): void {
    if (!this.life.unkillable || !this.#isUp) this.#exit({ by: "signal", signal: "SIGKILL" })
  }

  /** Nobody wants it any more; `terminate` waits for its end. */
  discard(): void {
    this.#muted = true
    this.#early = undefined
  }

  /** A spawn that failed, or was interrupted before there was anything. */
  neverWas(): void {
    this.#kill()
    this.#closed = true
    this.#treeEmpty = []
    this.#goes()
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter([])
  }

  terminate(shutdown: ShutdownSpec): Effect.Effect<ReadonlyArray<number>> {
    return Effect.callback((resume) => {
      if (this.#closed) return resume(Effect.succeed(this.#treeEmpty ?? []))
      const waiter = (survivors: ReadonlyArray<number>) => {
        if (this.runtime.alive) resume(Effect.succeed(survivors))
      }
      this.#waiters.push(waiter)
      if (this.runtime.does("terminate")) this.#advance({ type: "requested", shutdown, now: this.#world.now })
      return Effect.sync(() => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter)
      })
    })
  }

  #advance(event: TerminationEvent): void {
    const { state, actions } = terminationStep(this.#termination, event)
    if (state !== this.#termination) {
      this.#termination = state
      if (this.#timer !== undefined) this.#timer.cancelled = true
      const at = deadlineOf(state)
      const { now } = this.#world
      this.#timer =
        at === null
          ? undefined
          : this.#world.in(at - now, () => this.#advance({ type: "elapsed", now: this.#world.now }), this.runtime)
    }
    for (const action of actions) {
      switch (action.type) {
        case "closeStdin":
          this.endStdin()
          break
        case "signal":
          this.signal(action.signal)
          break
        case "killTree":
          if (this.runtime.does("killTree")) this.#killed()
          break
        case "abandon":
          this.#world.say(`${this.name} is given up`)
          if (this.gone) break
          this.#kill()
          this.#tellExit({ kind: "killedByRuntime", detail: "given up", at: this.#world.now + this.#world.wallMs })
          this.#emptied([this.pid])
          break
      }
    }
  }
}

const wordsOf = (end: End): string =>
  end.by === "exit" ? `exit ${end.code}` : end.by === "signal" ? end.signal : "its guard was killed"
