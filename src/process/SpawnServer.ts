/**
 * The runtime's side of the spawn server: starts `native/guard.c`'s binary once, sends it requests in batches,
 * accepts the connect-backs, hands out the events, and starts a new server when one dies. Sessions that a dead
 * server started live on: their guards do not need it. Policy about sessions is not made here.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs"
import { createServer, type Server, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SpawnFailed } from "../domain/Errors.ts"
import type { Containment } from "../domain/Session.ts"
import type { Command } from "./Command.ts"
import { encodeRequest, GuardEventDecoder, protocolVersion, tokenBytes, type GuardEvent } from "./GuardProtocol.ts"
import { GuardSubprocess, type GuardHost, type Settle } from "./GuardSubprocess.ts"
import type { ProcessLedger } from "./ProcessLedger.ts"
import type { ReportDefect, StreamName } from "./PipedSubprocess.ts"
import { preflight } from "./SpawnDiagnosis.ts"
import type { SubprocessHandlers } from "./Subprocess.ts"

/** A spawn that is not settled after this long, in ms, means that the server hangs: it is replaced. */
const spawnTimeoutMs = 10_000
/** How long after a server's death its last forks may still report themselves, in ms, before their requests are repeated. */
const evidenceMs = 150
/** A stream that is still missing so long after its spawn, in ms, was refused for want of descriptors. */
const refusedMs = 250
/** How often the guards of a dead server are looked after, and failed servers are started again, in ms. */
const lookAfterMs = 1_000
/** More than this many servers within `lookAfterMs`: wait before the next. */
const mostStarts = 5
/** sun_path is 104 bytes on macOS and the BSDs, 108 on Linux, with its NUL. */
const longestSocketPath = 103

interface Generation {
  readonly number: number
  readonly child: ChildProcess
  readonly channel: Socket
  readonly liveness: Socket
  readonly decoder: GuardEventDecoder
  alive: boolean
  /** Subprocesses whose guards hold this generation's channel and liveness. */
  held: number
}

export interface SpawnServerOptions {
  readonly binary: string
  /** The runtime's private directory; the sockets live in a fresh directory in it, or in the temporary one when the path is too long. */
  readonly directory: string
  readonly reportDefect: ReportDefect
  readonly ledger: ProcessLedger
}

const privateDirectory = (directory: string): string => {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const wanted = join(directory, "spawn-XXXXXX", "s")
  const made = mkdtempSync(
    Buffer.byteLength(wanted) <= longestSocketPath ? join(directory, "spawn-") : join(tmpdir(), "creche-"),
  )
  chmodSync(made, 0o700)
  return made
}

const awaiting = Symbol("creche/awaitingToken")
type NewSocket = Socket & { [awaiting]?: SpawnServer; opening?: Buffer }

export class SpawnServer implements GuardHost {
  readonly directory: string
  containment: Containment = "group"
  private readonly options: SpawnServerOptions
  private readonly listener: Server
  private generation: Generation | undefined
  private generations = 0
  private recentStarts: Array<number> = []
  private ids = 0
  private readonly processes = new Map<number, GuardSubprocess>()
  private readonly tokens = new Map<string, GuardSubprocess>()
  private batch: Array<GuardSubprocess> = []
  private retiring = new Set<Generation>()
  private timer: NodeJS.Timeout | undefined
  private newcomers: Array<GuardSubprocess> = []
  private suspects: Array<GuardSubprocess> = []
  private refusalTimer: NodeJS.Timeout | undefined
  /** Given up for the moment in which a command must reach a guard and no other descriptor is left. */
  private spare: number | undefined
  private closing = false
  private hello: ((event: Extract<GuardEvent, { type: "hello" }> | Error) => void) | undefined

  private constructor(options: SpawnServerOptions) {
    this.options = options
    this.directory = privateDirectory(options.directory)
    this.listener = createServer()
    this.listener.on("connection", (socket) => this.accept(socket))
    this.listener.on("error", () => {})
    this.holdSpare()
  }

  /** Rejects where the server cannot be started or speaks another protocol. */
  static async start(options: SpawnServerOptions): Promise<SpawnServer> {
    const server = new SpawnServer(options)
    try {
      await new Promise<void>((resolve, reject) => {
        server.listener.once("error", reject)
        server.listener.listen({ path: `${server.directory}/s`, backlog: 4096 }, () => {
          server.listener.removeListener("error", reject)
          resolve()
        })
      })
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("the guard did not answer within 5000 ms")), 5_000)
        server.hello = (event) => {
          clearTimeout(timer)
          server.hello = undefined
          if (event instanceof Error) reject(event)
          else if (event.protocol !== protocolVersion) {
            reject(new Error(`the guard speaks protocol ${event.protocol}, not ${protocolVersion}: build it anew`))
          } else resolve()
        }
        server.startGeneration()
      })
      return server
    } catch (error) {
      await server.close()
      throw error
    }
  }

  /** `settle` is called once, never before this returns. */
  spawn(command: Command, handlers: SubprocessHandlers, settle: Settle): GuardSubprocess {
    const subprocess = new GuardSubprocess(this, handlers, this.options.reportDefect)
    const failure = preflight(command) ?? (this.closing ? this.unavailable(command, "it is closing") : undefined)
    if (failure !== undefined) {
      queueMicrotask(() => settle(failure))
      return subprocess
    }
    this.enqueue(subprocess, command, settle, 1)
    return subprocess
  }

  get live(): ReadonlyArray<number> {
    const pids: Array<number> = []
    for (const subprocess of this.processes.values()) if (subprocess.pid !== 0) pids.push(subprocess.pid)
    return pids
  }

  /** Of the server now serving; undefined while there is none. For health and tests. */
  get pid(): number | undefined {
    return this.generation?.child.pid
  }

  /** Ends what still runs, then the server. Resolves when the server is gone. */
  async close(): Promise<void> {
    this.closing = true
    clearTimeout(this.timer)
    clearTimeout(this.refusalTimer)
    for (const subprocess of this.processes.values()) subprocess.discard()
    const server = this.generation
    const exited =
      server === undefined || !server.alive
        ? Promise.resolve()
        : new Promise<void>((resolve) => {
            // Its guards may wait for a process that cannot be killed; they go on without it.
            const timer = setTimeout(() => server.child.kill("SIGKILL"), 7_000)
            server.child.once("exit", () => {
              clearTimeout(timer)
              resolve()
            })
          })
    // End of file on the liveness is what a guard never outlives.
    for (const generation of [...this.retiring, ...(server === undefined ? [] : [server])])
      generation.liveness.destroy()
    await exited
    for (const generation of [...this.retiring, ...(server === undefined ? [] : [server])]) generation.channel.destroy()
    await new Promise<void>((resolve) => this.listener.close(() => resolve()))
    if (this.spare !== undefined) closeSync(this.spare)
    rmSync(this.directory, { recursive: true, force: true })
  }

  // ---- GuardHost ----

  settled(subprocess: GuardSubprocess): void {
    const request = subprocess.request
    if (request !== undefined) this.tokens.delete(request.token)
  }

  identified(subprocess: GuardSubprocess): void {
    this.options.ledger.complete(subprocess.ledgerEntry, subprocess.pid, subprocess.startTime)
  }

  forget(subprocess: GuardSubprocess): void {
    if (!this.processes.delete(subprocess.id)) return
    this.options.ledger.end(subprocess.ledgerEntry)
    this.release(subprocess.generation)
  }

  // ---- requests ----

  private enqueue(subprocess: GuardSubprocess, command: Command, settle: Settle, attempts: number): void {
    const token = randomBytes(tokenBytes)
    subprocess.id = ++this.ids
    subprocess.request = {
      command,
      settle,
      token: token.toString("latin1"),
      deadline: performance.now() + spawnTimeoutMs,
      attempts,
    }
    this.tokens.set(subprocess.request.token, subprocess)
    this.processes.set(subprocess.id, subprocess)
    this.batch.push(subprocess)
    if (this.batch.length === 1) queueMicrotask(() => this.flush())
    this.lookAfterSoon(lookAfterMs)
  }

  private flush(): void {
    const batch = this.batch.filter((subprocess) => subprocess.request !== undefined)
    this.batch = []
    if (batch.length === 0) return
    if (this.generation === undefined && !this.closing) this.startGeneration()
    const generation = this.generation
    if (generation === undefined) {
      // Too many servers died just now: the batch waits for the next one, or for its deadline.
      this.batch = batch
      return
    }
    const ledger = this.options.ledger
    const encoded: Array<Buffer> = []
    for (const subprocess of batch) {
      const { command, token } = subprocess.request!
      subprocess.generation = generation.number
      subprocess.ledgerEntry = ledger.begin(command.session, command.env["CRECHE_RUNTIME"] ?? "")
      generation.held++
      encoded.push(encodeRequest({ ...command, id: subprocess.id, token: Buffer.from(token, "latin1") }))
    }
    // The lines of the whole batch are written before its first process exists.
    ledger.flush()
    generation.channel.write(encoded.length === 1 ? encoded[0]! : Buffer.concat(encoded))
  }

  private unavailable(command: Command, why: string): SpawnFailed {
    return new SpawnFailed({
      command: command.command,
      field: "containment",
      errno: "ELEVEL",
      detail: `the spawn server is not available: ${why}; "creche doctor" says more`,
    })
  }

  private failUnavailable(subprocess: GuardSubprocess, why: string): void {
    const request = subprocess.request
    if (request !== undefined) subprocess.failWith(this.unavailable(request.command, why))
  }

  // ---- connect-backs ----

  private accept(socket: NewSocket): void {
    socket[awaiting] = this
    socket.on("data", onOpening)
    socket.on("error", onOpeningError)
  }

  admit(socket: NewSocket, chunk: Buffer): void {
    const bytes = socket.opening === undefined ? chunk : Buffer.concat([socket.opening, chunk])
    if (bytes.length < tokenBytes + 1) {
      socket.opening = bytes
      return
    }
    delete socket.opening
    delete socket[awaiting]
    socket.removeListener("data", onOpening)
    socket.removeListener("error", onOpeningError)
    const subprocess = this.tokens.get(bytes.toString("latin1", 0, tokenBytes))
    const name = streamNames[bytes[tokenBytes]! - 48]
    if (subprocess === undefined || name === undefined) {
      socket.on("error", onOpeningError)
      socket.destroy()
      return
    }
    subprocess.connect(name, socket, bytes.length > tokenBytes + 1 ? bytes.subarray(tokenBytes + 1) : undefined)
  }

  /** Its guard is there but not yet all of its streams. */
  incomplete(subprocess: GuardSubprocess): void {
    this.newcomers.push(subprocess)
    this.refusalTimer ??= setTimeout(() => this.judgeIncomplete(), refusedMs)
  }

  /**
   * With no descriptor left libuv accepts a connection and closes it without a word. The guard had connected
   * before it told of the spawn, so a stream that is still missing after two looks was lost that way.
   */
  private judgeIncomplete(): void {
    // This may be the first callback after a long block, and the connections not looked at yet: poll first.
    afterPolls(3, () => {
      const suspects = this.suspects.filter((subprocess) => subprocess.starting)
      this.suspects = this.newcomers
      this.newcomers = []
      this.refusalTimer =
        this.suspects.length > 0 && !this.closing ? setTimeout(() => this.judgeIncomplete(), refusedMs) : undefined
      for (const subprocess of suspects) subprocess.fail("connect", "EMFILE")
    })
  }

  spareDescriptor<A>(use: () => A): A {
    if (this.spare !== undefined) closeSync(this.spare)
    this.spare = undefined
    try {
      return use()
    } finally {
      this.holdSpare()
    }
  }

  private holdSpare(): void {
    try {
      this.spare ??= openSync("/dev/null", "r")
    } catch {
      // None is left; the next use tries again.
    }
  }

  // ---- the server's own life ----

  private startGeneration(): void {
    const now = performance.now()
    this.recentStarts = this.recentStarts.filter((at) => at > now - lookAfterMs)
    if (this.recentStarts.length >= mostStarts) return this.lookAfterSoon(lookAfterMs)
    this.recentStarts.push(now)
    this.lookAfterSoon(lookAfterMs)
    let child: ChildProcess
    try {
      // Its own session, so that a terminal's Ctrl-C reaches each command through the runtime alone.
      child = spawn(this.options.binary, ["--serve", this.directory], {
        detached: true,
        cwd: "/",
        env: {},
        stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
      })
    } catch (error) {
      this.hello?.(error as Error)
      return
    }
    child.on("error", (error) => this.hello?.(error))
    // Without a pid there may be no stdio either; the error follows, and the next look starts another.
    if (child.pid === undefined) return this.lookAfterSoon(lookAfterMs)
    const channel = child.stdio[3] as Socket
    const liveness = child.stdio[4] as Socket
    const generation: Generation = {
      number: ++this.generations,
      child,
      channel,
      liveness,
      decoder: new GuardEventDecoder(),
      alive: true,
      held: 0,
    }
    this.generation = generation
    channel.on("data", (chunk: Buffer) => {
      for (const event of generation.decoder.push(chunk)) this.dispatch(generation, event)
    })
    channel.on("error", () => {})
    liveness.on("error", () => {})
    liveness.resume()
    child.on("exit", (code, signal) => this.serverExited(generation, signal ?? `exit code ${code}`))
  }

  private dispatch(generation: Generation, event: GuardEvent): void {
    if (event.type === "hello") {
      this.containment = event.subreaper ? "guard" : "group"
      return this.hello?.(event)
    }
    const subprocess = this.processes.get(event.id)
    if (subprocess !== undefined && subprocess.generation === generation.number) return subprocess.on(event)
    // The late child of a request that was repeated meanwhile: end it.
    if (event.type === "spawned") {
      const late = new GuardSubprocess(this, ignoreEverything, this.options.reportDefect)
      late.id = event.id
      late.send({ type: "kill" })
    }
  }

  private serverExited(generation: Generation, why: string): void {
    generation.alive = false
    this.hello?.(new Error(`the guard ended at once: ${why}`))
    if (this.generation !== generation) return
    this.generation = undefined
    this.retiring.add(generation)
    this.retire(generation)
    if (this.closing) return
    this.startGeneration()
    this.lookAfterSoon(evidenceMs)
    setTimeout(() => this.repeatUnheard(generation), evidenceMs)
  }

  /** Requests that the dead server had not read, as far as anybody can tell. */
  private repeatUnheard(generation: Generation): void {
    for (const subprocess of Array.from(this.tokens.values())) {
      const request = subprocess.request
      if (request === undefined || subprocess.generation !== generation.number || subprocess.heardOf) continue
      this.tokens.delete(request.token)
      this.processes.delete(subprocess.id)
      this.options.ledger.end(subprocess.ledgerEntry)
      this.release(generation.number)
      subprocess.generation = 0
      if (request.attempts >= 2) this.failUnavailable(subprocess, "it died twice while it was starting this command")
      else this.enqueue(subprocess, request.command, request.settle, request.attempts + 1)
    }
  }

  private release(number: number): void {
    const current = this.generation
    if (current !== undefined && current.number === number) {
      current.held--
      return
    }
    for (const generation of this.retiring) {
      if (generation.number !== number) continue
      generation.held--
      this.retire(generation)
    }
  }

  private retire(generation: Generation): void {
    if (generation.held > 0) return
    this.retiring.delete(generation)
    generation.channel.destroy()
    generation.liveness.destroy()
  }

  private lookAfterSoon(ms: number): void {
    if (this.timer !== undefined || this.closing) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.lookAfter()
    }, ms)
    this.timer.unref()
  }

  private lookAfter(): void {
    if (this.closing) return
    const now = performance.now()
    for (const subprocess of Array.from(this.tokens.values())) {
      if (subprocess.request === undefined || subprocess.request.deadline > now) continue
      // A server that does not answer is ended; its running sessions do not need it.
      if (subprocess.generation === 0) this.failUnavailable(subprocess, "it could not be started again")
      else if (subprocess.heardOf) subprocess.fail("connect", "EMFILE")
      else if (subprocess.generation === this.generation?.number) this.generation.child.kill("SIGKILL")
      else subprocess.fail("connect", "ETIMEDOUT")
    }
    if (this.generation === undefined) this.startGeneration()
    if (this.batch.length > 0) this.flush()
    // A dead server tells of no killed guard.
    if (this.retiring.size > 0) {
      for (const subprocess of this.processes.values()) {
        if (subprocess.generation === this.generation?.number || subprocess.starting || !subprocess.orphaned) continue
        if (!subprocess.exited) subprocess.killGroup()
        subprocess.on({ type: "lost", id: subprocess.id })
        subprocess.on({ type: "closed", id: subprocess.id, survivors: 0 })
      }
    }
    if (this.retiring.size > 0 || this.tokens.size > 0 || this.generation === undefined) this.lookAfterSoon(lookAfterMs)
  }
}

const afterPolls = (rounds: number, then: () => void): void => {
  if (rounds === 0) then()
  else setImmediate(afterPolls, rounds - 1, then)
}

const streamNames: ReadonlyArray<StreamName> = ["stdin", "stdout", "stderr"]

const ignoreEverything: SubprocessHandlers = {
  onStdout: () => {},
  onStderr: () => {},
  onDrain: () => {},
  onExit: () => {},
  onClosed: () => {},
}

function onOpening(this: NewSocket, chunk: Buffer): void {
  this[awaiting]?.admit(this, chunk)
}

function onOpeningError(): void {}
