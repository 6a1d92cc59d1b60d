/**
 * What every subprocess does alike, whoever spawned it: three sockets to handlers, the exit, the closing once
 * the tree is empty and the output read, terminate-then-wait. It decides nothing about containment: its
 * subclasses `GuardSubprocess` and `GroupSubprocess` send the signals and report the ends.
 * One object and no closures for each: thousands are live at once.
 */
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { Containment } from "../domain/Session.ts"
import type { Signal, ShutdownSpec } from "../domain/SessionSpec.ts"
import { disown, own, streamNames, type StreamName, type StreamOwner } from "./OwnedStream.ts"
import type { Subprocess, SubprocessHandlers } from "./Subprocess.ts"
import { deadlineOf, running, terminationStep, type TerminationEvent, type TerminationState } from "./Termination.ts"

/**
 * Once the tree is empty all that it wrote is in the pipe. A pipe that then stays open without a byte for this
 * long, in ms, is held by someone outside the tree: it is closed.
 */
const drainQuietMs = 250

/** Output that arrives before `spawn` returned waits in memory; a stream is paused beyond this many bytes. */
const earlyBytes = 256 * 1024

type Waiter = (survivors: ReadonlyArray<number>) => void

/** Called with what a handler threw: a bug of the caller's, which must not reach another session. */
export type ReportDefect = (what: string, error: unknown) => void

const nobody: ReadonlyArray<number> = []

export abstract class PipedSubprocess implements Subprocess, StreamOwner {
  pid = 0
  abstract readonly containment: Containment
  protected handlers: SubprocessHandlers
  protected reportDefect: ReportDefect
  protected stdin: Socket | undefined
  protected stdout: Socket | undefined
  protected stderr: Socket | undefined
  protected exit: ExitReason | undefined
  /** Set once the tree is empty, or given up. */
  private survivors: ReadonlyArray<number> | undefined
  private termination: TerminationState = running
  private timer: NodeJS.Timeout | undefined
  private drainTimer: NodeJS.Timeout | undefined
  private waiters: Array<Waiter> | undefined
  /** What happened before `spawn` returned; undefined once it did. */
  private early: Array<() => void> | undefined = []
  private earlySize = 0
  private stdinFull = false
  private paused = false
  private isClosed = false
  /** The spawn failed or was interrupted: no handler is called, no stream is read. */
  protected muted = false

  constructor(handlers: SubprocessHandlers, reportDefect: ReportDefect) {
    this.handlers = handlers
    this.reportDefect = reportDefect
  }

  protected abstract sendSignal(signal: Signal, target: "group" | "leader"): void
  /** SIGKILL to everything in reach; `treeEmpty` follows. */
  protected abstract killTree(): void
  /** `killTree` had no effect: do what can be done from here and name what is left. */
  protected abstract abandon(): ReadonlyArray<number>
  /** The last event is delivered: forget the subprocess. */
  protected abstract forget(): void
  /** The spawn was interrupted: end what comes of it and call no handler. `terminate` waits for the end. */
  abstract discard(): void

  // ---- Subprocess ----

  write(data: string | Uint8Array): boolean {
    const stdin = this.stdin
    if (stdin === undefined || !stdin.writable) return true
    const room = stdin.write(data)
    if (!room) this.stdinFull = true
    return room
  }

  endStdin(): void {
    const stdin = this.stdin
    if (stdin !== undefined && stdin.writable) stdin.end()
  }

  pauseOutput(): void {
    if (this.survivors !== undefined) return
    this.paused = true
    this.stdout?.pause()
    this.stderr?.pause()
  }

  resumeOutput(): void {
    this.paused = false
    if (this.early !== undefined) return
    this.stdout?.resume()
    this.stderr?.resume()
  }

  signal(signal: Signal, target: "group" | "leader" = "group"): void {
    if (this.exit === undefined && this.survivors === undefined) this.sendSignal(signal, target)
  }

  terminate(shutdown: ShutdownSpec): Effect.Effect<ReadonlyArray<number>> {
    return Effect.callback<ReadonlyArray<number>>((resume) => {
      if (this.isClosed) return resume(Effect.succeed(this.survivors ?? nobody))
      const waiter: Waiter = (survivors) => resume(Effect.succeed(survivors))
      this.waiters = [...(this.waiters ?? []), waiter]
      this.advance({ type: "requested", shutdown, now: performance.now() })
      return Effect.sync(() => {
        this.waiters = this.waiters?.filter((other) => other !== waiter)
      })
    })
  }

  // ---- for the spawners ----

  get closed(): boolean {
    return this.isClosed
  }

  get exited(): boolean {
    return this.exit !== undefined
  }

  attach(name: StreamName, socket: Socket): void {
    this[name] = socket
    own(socket, this, name)
  }

  /** `spawn` returned: from now on the handlers are called. */
  open(): void {
    const early = this.early
    if (early === undefined) return
    this.early = undefined
    for (const event of early) event()
    if (!this.paused) this.resumeOutput()
  }

  receive(name: StreamName, chunk: Buffer): void {
    if (name === "stdin" || chunk.length === 0 || this.muted) return
    if (this.early !== undefined) {
      this.early.push(() => this.receive(name, chunk))
      this.earlySize += chunk.length
      if (this.earlySize > earlyBytes) this[name]?.pause()
      return
    }
    if (this.drainTimer !== undefined) this.drainTimer.refresh()
    try {
      if (name === "stdout") this.handlers.onStdout(chunk)
      else this.handlers.onStderr(chunk)
    } catch (error) {
      this.reportDefect(`the handler of ${name}`, error)
    }
  }

  /** The command's own process ended. The first report is the one that counts. */
  protected leaderExited(exit: ExitReason): void {
    if (this.exit !== undefined) return
    this.exit = exit
    this.advance({ type: "leaderExited", now: performance.now() })
    this.deliver(() => this.handlers.onExit(exit), "the handler of the exit")
  }

  /** Nothing is left in reach but `survivors`. What is in the pipes is read, then comes the last event. */
  protected treeEmpty(survivors: ReadonlyArray<number>): void {
    if (this.survivors !== undefined) return
    this.survivors = survivors
    // A pipe holds a bounded rest now, so a pause ends here: the last event must not wait for a reader.
    this.resumeOutput()
    this.stdin?.destroy()
    this.drainTimer = setTimeout(drained, drainQuietMs, this)
    this.closeWhenDone()
  }

  protected mute(): void {
    this.muted = true
    this.early = undefined
    this.detach()
  }

  /** Closes the streams; nothing more is heard of them. */
  protected detach(): void {
    for (const name of streamNames) {
      const socket = this[name]
      this[name] = undefined
      if (socket !== undefined) disown(socket)
    }
  }

  private deliver(event: () => void, what: string): void {
    if (this.muted) return
    const guarded = () => {
      try {
        event()
      } catch (error) {
        this.reportDefect(what, error)
      }
    }
    if (this.early === undefined) guarded()
    else this.early.push(guarded)
  }

  streamClosed(name: StreamName): void {
    this[name] = undefined
    if (name === "stdin") {
      this.drain()
    } else {
      if (name === "stdout") this.deliver(() => this.handlers.onStdoutEnd?.(), "the handler of the end of stdout")
      this.closeWhenDone()
    }
  }

  drain(): void {
    if (!this.stdinFull) return
    this.stdinFull = false
    this.deliver(() => this.handlers.onDrain(), "the handler of drain")
  }

  /** The pipes fell silent with the tree gone. */
  drainedQuietly(): void {
    // On a busy machine `spawn` may not have returned yet, and until then what does not fit waits in the pipe.
    if (this.early !== undefined) return void this.drainTimer?.refresh()
    this.stdout?.destroy()
    this.stderr?.destroy()
  }

  private closeWhenDone(): void {
    if (this.survivors === undefined || this.isClosed) return
    if (this.stdout !== undefined || this.stderr !== undefined) return
    const survivors = this.survivors
    this.isClosed = true
    clearTimeout(this.drainTimer)
    this.drainTimer = undefined
    this.advance({ type: "closed" })
    this.forget()
    this.deliver(() => this.handlers.onClosed(survivors), "the handler of the closing")
    const answer = () => {
      const waiters = this.waiters
      this.waiters = undefined
      if (waiters !== undefined) for (const waiter of waiters) waiter(survivors)
    }
    if (this.early === undefined) answer()
    else this.early.push(answer)
  }

  private advance(event: TerminationEvent): void {
    const { state, actions } = terminationStep(this.termination, event)
    const at = deadlineOf(state)
    if (state !== this.termination) {
      this.termination = state
      clearTimeout(this.timer)
      this.timer = at === null ? undefined : setTimeout(elapsed, Math.max(0, Math.ceil(at - performance.now())), this)
    } else if (event.type === "elapsed" && at !== null) {
      // A timer of Node's may fire a fraction of a millisecond early.
      this.timer = setTimeout(elapsed, Math.max(1, Math.ceil(at - performance.now())), this)
    }
    for (const action of actions) {
      switch (action.type) {
        case "closeStdin":
          this.endStdin()
          break
        case "signal":
          this.sendSignal(action.signal, "group")
          // A stopped process would meet the signal only after somebody continued it.
          this.sendSignal("SIGCONT", "group")
          break
        case "killTree":
          this.killTree()
          break
        case "abandon": {
          const left = this.abandon()
          if (this.exit === undefined) {
            this.leaderExited({
              kind: "killedByRuntime",
              detail: "given up: it did not end after SIGKILL",
              at: Date.now(),
            })
          }
          this.treeEmpty(left)
          break
        }
      }
    }
  }

  onElapsed(): void {
    this.advance({ type: "elapsed", now: performance.now() })
  }
}

const elapsed = (subprocess: PipedSubprocess): void => subprocess.onElapsed()
const drained = (subprocess: PipedSubprocess): void => subprocess.drainedQuietly()
