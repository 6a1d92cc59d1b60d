/**
 * A subprocess under a guard of the Perl form: started by Node, one guard for each, told of the command over a socket that is its
 * liveness as well. Where somebody kills that guard nobody adopts what it held: the group is ended, and who carries the
 * session's markers. Started by `startUnderPerl`; `SpawnerLayer` decides whether.
 */
import { spawn, type ChildProcess } from "node:child_process"
import type { Socket } from "node:net"
import { constants as os } from "node:os"
import type { SpawnErrno, SpawnFailed } from "../domain/Errors.ts"
import type { Signal } from "../domain/SessionSpec.ts"
import type { Command } from "./Command.ts"
import { endSession } from "./Carriers.ts"
import { exitOf, overLimit } from "./GuardExit.ts"
import {
  encodeCommand,
  encodeRequest,
  GuardEventDecoder,
  tokenBytes,
  type GuardCommand,
  type GuardEvent,
} from "./GuardProtocol.ts"
import { PipedSubprocess, type ReportDefect } from "./PipedSubprocess.ts"
import { isAlive } from "./ProcessIdentity.ts"
import { markerVariable, type ProcessLedger } from "./ProcessLedger.ts"
import { diagnoseSpawn, errnoName, preflight, type SpawnStep } from "./SpawnDiagnosis.ts"
import type { SubprocessHandlers } from "./Subprocess.ts"

/** A spawn that is not settled after this long, in ms, is given up. */
const spawnTimeoutMs = 10_000

export interface PerlHost {
  readonly perl: string
  readonly script: string
  readonly ledger: ProcessLedger
  readonly live: Set<PerlSubprocess>
  readonly reportDefect: ReportDefect
}

type Settle = (result: PerlSubprocess | SpawnFailed) => void

/** There is but one command for each guard. */
const onlyId = 1
const noToken = Buffer.alloc(tokenBytes)

export class PerlSubprocess extends PipedSubprocess {
  readonly containment = "guard"
  private readonly host: PerlHost
  private readonly command: Command
  private settle: Settle | undefined
  private guard: ChildProcess | undefined
  private orders: Socket | undefined
  private ledgerEntry = 0
  private startTime = 0
  private readonly reportedSurvivors: Array<number> = []
  private over: string | undefined
  private isTreeEmpty = false
  private deadline: NodeJS.Timeout | undefined

  constructor(host: PerlHost, command: Command, handlers: SubprocessHandlers, settle: Settle) {
    super(handlers, host.reportDefect)
    this.host = host
    this.command = command
    this.settle = settle
  }

  start(): void {
    const { host, command } = this
    const failure = preflight(command)
    if (failure !== undefined) return queueMicrotask(() => this.failWith(failure))
    this.ledgerEntry = host.ledger.begin(command.session, command.env[markerVariable] ?? "")
    host.ledger.flush()
    let guard: ChildProcess
    try {
      guard = spawn(host.perl, [host.script, "--session"], {
        cwd: "/",
        env: { PATH: process.env["PATH"] ?? "" },
        // Out of the terminal's reach, and of what is sent to the runtime's group.
        detached: true,
        stdio: ["pipe", "pipe", "pipe", "pipe", "pipe"],
      })
    } catch (error) {
      return queueMicrotask(() => this.fail("fork", (error as NodeJS.ErrnoException).code ?? "EIO"))
    }
    guard.on("error", (error) => this.fail("fork", (error as NodeJS.ErrnoException).code ?? "EIO"))
    if (guard.pid === undefined) return
    this.guard = guard
    host.live.add(this)
    const [stdin, stdout, stderr, events, orders] = guard.stdio as ReadonlyArray<unknown> as [
      Socket,
      Socket,
      Socket,
      Socket,
      Socket,
    ]
    this.attach("stdin", stdin)
    this.attach("stdout", stdout)
    this.attach("stderr", stderr)
    this.orders = orders
    for (const socket of [events, orders]) socket.on("error", ignore)
    orders.resume()
    const decoder = new GuardEventDecoder()
    events.on("data", (chunk: Buffer) => {
      for (const event of decoder.push(chunk)) this.on(event)
    })
    // After its events: what it had to say of its own end was said.
    events.on("close", () => this.guardEnded())
    this.deadline = setTimeout(() => this.fail("exec", "ETIMEDOUT"), spawnTimeoutMs)
    orders.write(encodeRequest({ ...command, id: onlyId, token: noToken }))
  }

  override discard(): void {
    if (this.muted) return
    this.mute()
    this.settled()
    if (this.guard === undefined) this.treeEmpty([])
    else this.killTree()
  }

  protected override sendSignal(signal: Signal, target: "group" | "leader"): void {
    this.order({ type: target, signal: os.signals[signal as NodeJS.Signals] })
  }

  protected override killTree(): void {
    this.order({ type: "kill" })
  }

  protected override abandon(): ReadonlyArray<number> {
    if (this.pid === 0 || this.exited) return []
    this.killGroup()
    return [this.pid]
  }

  protected override forget(): void {
    this.orders?.destroy()
    this.host.live.delete(this)
    this.host.ledger.end(this.ledgerEntry)
  }

  private order(command: GuardCommand): void {
    if (this.orders?.writable === true) this.orders.write(encodeCommand(command))
  }

  private on(event: GuardEvent): void {
    switch (event.type) {
      case "spawned":
        this.pid = event.pid
        return this.settled(this)
      case "started":
        this.startTime = event.startTime
        return this.host.ledger.complete(this.ledgerEntry, this.pid, event.startTime)
      case "failed":
        return this.fail(event.step, errnoName(event.errno))
      case "limit":
        this.over = overLimit(event, this.command.limits)
        return
      case "exited":
      case "signaled":
        return this.leaderExited(exitOf(event, this.over))
      case "survivor":
        this.reportedSurvivors.push(event.pid)
        return
      case "closed":
        this.isTreeEmpty = true
        return this.treeEmpty(this.reportedSurvivors)
      case "hello":
      case "lost":
      case "probed":
    }
  }

  /** Without having told of an empty tree it was killed, or never got to its command. */
  private guardEnded(): void {
    if (this.isTreeEmpty) return
    if (this.settle !== undefined) return this.fail("fork", "EAGAIN")
    if (this.pid === 0) return this.treeEmpty([])
    this.killGroup()
    this.leaderExited({
      kind: "signaled",
      signal: "SIGKILL",
      detail: "its guard was killed, so the tree was ended",
      at: Date.now(),
    })
    const { env, session } = this.command
    void endSession(session, env[markerVariable] ?? "").then((survivors) => this.treeEmpty(survivors))
  }

  private killGroup(): void {
    if (!isAlive(this.pid, this.startTime)) return
    for (const target of [-this.pid, this.pid]) {
      try {
        process.kill(target, "SIGKILL")
      } catch {
        // It is gone.
      }
    }
  }

  private fail(step: SpawnStep, errno: SpawnErrno): void {
    this.failWith(diagnoseSpawn(this.command, step, errno))
  }

  private failWith(failure: SpawnFailed): void {
    if (this.settle === undefined) return
    this.mute()
    this.killTree()
    // Where it hangs it shall not start what was given up; its liveness ends with this.
    this.orders?.destroy()
    this.settled(failure)
    this.treeEmpty([])
  }

  private settled(result?: PerlSubprocess | SpawnFailed): void {
    const { settle } = this
    clearTimeout(this.deadline)
    this.settle = undefined
    if (result !== undefined) settle?.(result)
  }
}

/** The other side is gone; its end is what counts. */
const ignore = (): void => {}

/** `settle` is called once, never before this returns. */
export const startUnderPerl = (
  host: PerlHost,
  command: Command,
  handlers: SubprocessHandlers,
  settle: Settle,
): PerlSubprocess => {
  const subprocess = new PerlSubprocess(host, command, handlers, settle)
  subprocess.start()
  return subprocess
}

/** Ends what still runs: the guards do it by themselves once nobody listens. Resolves when all are gone. */
export const closeAll = async (host: PerlHost): Promise<void> => {
  const live = [...host.live]
  for (const subprocess of live) subprocess.discard()
  const deadline = performance.now() + 7_000
  while (host.live.size > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 2))
}
