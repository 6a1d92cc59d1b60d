/**
 * A subprocess under a session guard: from request to last event. Its guard ends the whole tree by itself, on
 * command, when the leader ends, or when the runtime dies. Made and fed by `SpawnServer`.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs"
import type { Socket } from "node:net"
import { constants as os } from "node:os"
import type { SpawnErrno, SpawnFailed } from "../domain/Errors.ts"
import type { Containment } from "../domain/Session.ts"
import type { Signal } from "../domain/SessionSpec.ts"
import type { Command, ResourceLimits } from "./Command.ts"
import { exitOf, overLimit } from "./GuardExit.ts"
import { encodeCommand, type GuardCommand, type GuardEvent } from "./GuardProtocol.ts"
import type { SpareGuard } from "./SpareGuards.ts"
import { streamNames, type StreamName } from "./OwnedStream.ts"
import { PipedSubprocess, type ReportDefect } from "./PipedSubprocess.ts"
import { diagnoseSpawn, errnoName, type SpawnStep } from "./SpawnDiagnosis.ts"
import type { SubprocessHandlers } from "./Subprocess.ts"

/** What a subprocess needs of the server that made it. */
export interface GuardHost {
  readonly directory: string
  /** The spawn came to its end, one way or the other: its token is void. */
  readonly settled: (subprocess: GuardSubprocess) => void
  /** Pid and start time are known: the process can be told from every other. */
  readonly identified: (subprocess: GuardSubprocess) => void
  readonly forget: (subprocess: GuardSubprocess) => void
  /** Called when the guard is there before all its streams are. */
  readonly incomplete: (subprocess: GuardSubprocess) => void
  /** The guard that was to start it was killed, and nothing of it is left: it may be started again. */
  readonly repeat: (subprocess: GuardSubprocess) => void
  /** Descriptors or processes are short, or guards do not answer: none is kept in wait for now. */
  readonly scarce: () => void
  /** Runs `use` with one descriptor more than there would be. */
  readonly spareDescriptor: <A>(use: () => A) => A
}

export type Settle = (result: GuardSubprocess | SpawnFailed) => void

/** The runtime closes a connection of its own guard for one reason only: libuv has no descriptor to accept it with. */
const refusal = (step: SpawnStep, errno: SpawnErrno): SpawnErrno =>
  step === "connect" && (errno === "EPIPE" || errno === "ECONNRESET") ? "EMFILE" : errno

/** Held while the spawn is under way, then dropped: a live session keeps none of it. */
interface Request {
  readonly command: Command
  readonly settle: Settle
  readonly token: string
  /** Monotonic ms at which the server counts as hung. */
  readonly deadline: number
  readonly attempts: number
}

const deliver = (path: string, command: GuardCommand): void => {
  // Never waits: with no guard at the other end opening fails with ENXIO.
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  try {
    writeSync(fd, encodeCommand(command))
  } finally {
    closeSync(fd)
  }
}

/** Where no guard is left to read it, nothing happens: it is ending the tree, or its death is found out elsewhere. */
export const sendToGuard = (host: GuardHost, id: number, command: GuardCommand): void => {
  const path = `${host.directory}/${id}`
  try {
    deliver(path, command)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== "EMFILE" && code !== "ENFILE") return
    try {
      host.spareDescriptor(() => deliver(path, command))
    } catch {
      // As above.
    }
  }
}

export class GuardSubprocess extends PipedSubprocess {
  get containment(): Containment {
    return this.level
  }
  readonly level: Containment
  /** Its own, at the level `cgroup`; otherwise empty. */
  cgroup = ""
  /** Its guard was killed. */
  lost = false
  id = 0
  guardPid = 0
  /** Field 22 of the leader's stat; 0 until it is known, and where there is none. */
  startTime = 0
  /** Number of its line in the ledger. */
  ledgerEntry = 0
  /** Number of the server that forked the guard. */
  generation = 0
  request: Request | undefined
  /** Its guard was there before the request. */
  private inAdvance = false
  private readonly host: GuardHost
  private reportedSurvivors: Array<number> | undefined
  /** Bits of the streams that came. */
  private connected = 0
  /** The tree was gone before the last connection was accepted: there is still something to read. */
  private closedEarly = false
  private limits: ResourceLimits | undefined
  /** Why its guard ended it, where it took more than it may. */
  private over: string | undefined

  constructor(host: GuardHost, level: Containment, handlers: SubprocessHandlers, reportDefect: ReportDefect) {
    super(handlers, reportDefect)
    this.host = host
    this.level = level
  }

  get starting(): boolean {
    return this.request !== undefined
  }

  /** Whether there is proof that a guard was forked for the present request. */
  get heardOf(): boolean {
    return this.pid !== 0 || this.connected !== 0
  }

  /** Whether a guard in advance has the request and has not answered. */
  get asked(): boolean {
    return this.inAdvance && this.pid === 0
  }

  /** `rest`: what came in one piece with the token. */
  connect(name: StreamName, socket: Socket, rest: Buffer | undefined): void {
    this.connected |= name === "stdin" ? 1 : name === "stdout" ? 2 : 4
    this.attach(name, socket)
    if (this.muted) return this.mute()
    if (rest !== undefined) this.receive(name, rest)
    this.settleWhenWhole()
  }

  /** Takes over a guard in advance, which is about to be sent the request. */
  adopt(spare: SpareGuard): void {
    this.id = spare.id
    this.generation = spare.generation.number
    this.inAdvance = true
    this.connected = 7
    for (const name of streamNames) this.attach(name, spare.streams[name])
  }

  /** As before any guard was asked. */
  reset(): void {
    this.detach()
    this.generation = 0
    this.inAdvance = false
    this.connected = 0
  }

  on(event: GuardEvent): void {
    switch (event.type) {
      case "spawned":
        this.pid = event.pid
        this.guardPid = event.guardPid
        if (this.muted) this.send({ type: "kill" })
        else if (this.connected !== 7) this.host.incomplete(this)
        else this.settleWhenWhole()
        return
      case "failed":
        return this.fail(event.step, refusal(event.step, errnoName(event.errno)))
      case "exited":
      case "signaled":
        return this.leaderExited(exitOf(event, this.over))
      case "limit":
        this.over = overLimit(event, this.limits)
        return
      case "survivor":
        ;(this.reportedSurvivors ??= []).push(event.pid)
        return
      case "lost":
        return this.guardLost()
      case "closed":
        if (this.starting) {
          if (this.pid === 0) return this.asked ? this.host.repeat(this) : this.fail("fork", "EAGAIN")
          if (!this.muted) {
            this.closedEarly = true
            return
          }
          this.settle(undefined)
        }
        return this.treeEmpty(this.reportedSurvivors ?? [])
      case "started":
        this.startTime = event.startTime
        return this.host.identified(this)
      case "hello":
      case "probed":
        return
    }
  }

  /** The guard was killed by somebody. Its server, or whoever reports this, ends the tree. */
  guardLost(): void {
    this.lost = true
    // A spare one dies unnoticed until it is asked: what it was asked is repeated once its tree is gone.
    if (this.starting && this.asked) return
    if (this.starting) return this.fail("fork", "EAGAIN")
    this.leaderExited({
      kind: "signaled",
      signal: "SIGKILL",
      detail: "its guard was killed, so the tree was ended",
      at: Date.now(),
    })
  }

  fail(step: SpawnStep, errno: SpawnErrno): void {
    const request = this.request
    if (request === undefined) return
    // Where one guard hangs, those in wait may as well.
    if (step === "fork" || step === "connect" || errno === "ETIMEDOUT") this.host.scarce()
    this.failWith(diagnoseSpawn(request.command, step, errno))
  }

  failWith(failure: SpawnFailed): void {
    const request = this.request
    if (request === undefined) return
    this.mute()
    this.settle(failure)
    if (this.pid === 0 || this.closedEarly) this.treeEmpty([])
    else this.send({ type: "kill" })
  }

  override discard(): void {
    if (this.muted) return
    this.mute()
    if (this.closedEarly || this.generation === 0) this.neverHeardOfAgain()
    else if (this.pid !== 0) this.send({ type: "kill" })
  }

  /** Interrupted, or failed: it must not be started (again). */
  get unwanted(): boolean {
    return this.muted
  }

  /** No event will follow: whoever waits is answered. */
  neverHeardOfAgain(): void {
    this.mute()
    this.settle(undefined)
    this.treeEmpty([])
  }

  private send(command: GuardCommand): void {
    sendToGuard(this.host, this.id, command)
  }

  /** Whether the guard was killed: its fifo is there and nobody reads it. A guard that ends removes its fifo first. */
  get orphaned(): boolean {
    try {
      closeSync(openSync(`${this.host.directory}/${this.id}`, constants.O_WRONLY | constants.O_NONBLOCK))
      return false
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "ENXIO"
    }
  }

  killGroup(): void {
    // 0 would mean the runtime's own group.
    if (this.pid === 0) return
    for (const target of [-this.pid, this.pid]) {
      try {
        process.kill(target, "SIGKILL")
      } catch {
        // It is gone.
      }
    }
  }

  protected override sendSignal(signal: Signal, target: "group" | "leader"): void {
    this.send({ type: target, signal: os.signals[signal as NodeJS.Signals] })
  }

  protected override killTree(): void {
    this.send({ type: "kill" })
    // Somebody, its own command too, may have stopped it; a guard that ends is heard of before its number is used again.
    if (this.guardPid === 0) return
    try {
      process.kill(this.guardPid, "SIGCONT")
    } catch {
      // It is gone.
    }
  }

  protected override abandon(): ReadonlyArray<number> {
    // Only an unreaped or live leader keeps its pid; once its exit is known the number may be somebody else's.
    if (this.pid === 0 || this.exited) return []
    this.killGroup()
    return [this.pid]
  }

  protected override forget(): void {
    this.host.forget(this)
  }

  private settleWhenWhole(): void {
    if (!this.starting || this.pid === 0 || this.connected !== 7) return
    this.settle(this)
    if (this.closedEarly) this.treeEmpty(this.reportedSurvivors ?? [])
  }

  /** Undefined: nobody waits for the result any more. */
  private settle(result: GuardSubprocess | SpawnFailed | undefined): void {
    const request = this.request
    if (request === undefined) return
    this.limits = request.command.limits
    this.host.settled(this)
    this.request = undefined
    if (result !== undefined) request.settle(result)
  }
}
