/**
 * The runtime's side of the spawn server: sends requests in batches, matches connect-backs and events to their
 * subprocesses, and keeps a server running: when one dies the next is started, and what had not been heard of is asked
 * again. Sessions of a dead server live on. Policy about sessions is not made here. `SpawnerLayer` owns one.
 */
import { randomBytes } from "node:crypto"
import { rmSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { SpawnFailed } from "../domain/Errors.ts"
import type { Containment } from "../domain/Session.ts"
import type { CgroupTree } from "./CgroupTree.ts"
import type { Command } from "./Command.ts"
import type { NamespaceProbe } from "./ContainmentLevels.ts"
import { endSession } from "./Carriers.ts"
import { acceptConnectBacks } from "./ConnectBack.ts"
import {
  encodeContinue,
  encodeRequest,
  encodeSpareRequest,
  protocolVersion,
  tokenBytes,
  type GuardEvent,
} from "./GuardProtocol.ts"
import { GuardSubprocess, sendToGuard, type GuardHost, type Settle } from "./GuardSubprocess.ts"
import type { ReportDefect } from "./PipedSubprocess.ts"
import type { ProcessLedger } from "./ProcessLedger.ts"
import { RefusedStreams } from "./RefusedStreams.ts"
import type { ServerGeneration } from "./ServerGeneration.ts"
import { ServerGenerations } from "./ServerGenerations.ts"
import { makeSocketDirectory } from "./SocketDirectory.ts"
import { defaultSpares, SpareGuards, type SpareGuard } from "./SpareGuards.ts"
import { SpareDescriptor } from "./SpareDescriptor.ts"
import { diagnoseSpawn, preflight } from "./SpawnDiagnosis.ts"
import type { SubprocessHandlers } from "./Subprocess.ts"

/** How long after a server's death its last forks may still report themselves, in ms, before their requests are repeated. */
const evidenceMs = 150
/** How often the guards of a dead server are looked after, and failed servers are started again, in ms. */
const lookAfterMs = 1_000
/** How long the first server may take to answer, in ms. */
const helloMs = 5_000
/** How long after that it may take to try out a namespace, in ms. */
const probeMs = 1_000

/** Who talks to a guard over its own streams needs no other proof. */
const noToken = Buffer.alloc(tokenBytes)

export interface SpawnServerOptions {
  readonly binary: string
  /** The runtime's private directory; the sockets live in a fresh directory in it, or in the temporary one when the path is too long. */
  readonly directory: string
  readonly reportDefect: ReportDefect
  readonly ledger: ProcessLedger
  /** Default 10000. A spawn that is not settled after this long, in ms, means that the server hangs: it is replaced. */
  readonly spawnTimeoutMs?: number
  /** Default 4. Guards that are kept ready for the next commands. */
  readonly spares?: number
  /** Where sessions of the level `cgroup` live; left out: no command asks for it. */
  readonly cgroups?: CgroupTree
}

export class SpawnServer implements GuardHost {
  readonly directory: string
  /** What its guards hold at least: `group` where the system has no subreaper. */
  containment: "guard" | "group" = "group"
  /** What the first server said of the level `namespace`; undefined: nothing. */
  namespace: NamespaceProbe = undefined
  private readonly options: SpawnServerOptions
  private readonly listener: Server
  private readonly generations: ServerGenerations
  private ids = 0
  private readonly processes = new Map<number, GuardSubprocess>()
  private readonly tokens = new Map<string, GuardSubprocess>()
  private batch: Array<GuardSubprocess> = []
  private timer: NodeJS.Timeout | undefined
  private readonly refused: RefusedStreams
  private readonly spare = new SpareDescriptor()
  private readonly spares: SpareGuards
  private closing = false
  /** Whose guard and server were killed, while their strays are looked for. */
  private readonly ending = new Set<GuardSubprocess>()
  private hello: ((event: Extract<GuardEvent, { type: "hello" }> | Error) => void) | undefined
  private probed: (() => void) | undefined

  private constructor(options: SpawnServerOptions) {
    this.options = options
    this.directory = makeSocketDirectory(options.directory)
    this.refused = new RefusedStreams(`${this.directory}/s`)
    this.generations = new ServerGenerations({
      binary: options.binary,
      directory: this.directory,
      onEvent: (generation, event) => this.dispatch(generation, event),
      onExit: (generation, why) => this.serverExited(generation, why),
      // The next look tries again.
      onThrown: (error) => this.hello?.(error),
    })
    this.spares = new SpareGuards(options.spares ?? defaultSpares, () => {
      const generation = this.generations.current
      if (generation === undefined || this.closing) return undefined
      const token = randomBytes(tokenBytes)
      const id = ++this.ids
      generation.send([encodeSpareRequest(id, token)])
      return { id, token: token.toString("latin1"), generation }
    })
    this.listener = createServer({ allowHalfOpen: true })
    acceptConnectBacks(
      this.listener,
      (token) => this.tokens.get(token) ?? this.spares.find(token) ?? this.refused.find(token),
    )
    this.listener.on("error", () => {})
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
        const timer = setTimeout(() => reject(new Error(`it did not answer within ${helloMs} ms`)), helloMs)
        server.hello = (event) => {
          clearTimeout(timer)
          server.hello = undefined
          if (event instanceof Error) reject(event)
          else if (event.protocol !== protocolVersion) {
            reject(new Error(`it speaks protocol ${event.protocol}, not ${protocolVersion}: build it anew`))
          } else resolve()
        }
        server.startGeneration()
      })
      const probed = new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, probeMs)
        server.probed = () => {
          clearTimeout(timer)
          server.probed = undefined
          resolve()
        }
      })
      // From here on the runtime holds as many processes and descriptors as it will when it is idle again.
      await Promise.all([server.spares.fill(), probed])
      return server
    } catch (error) {
      await server.close()
      throw error
    }
  }

  /** `settle` is called once, never before this returns. `level` is one that holds here. */
  spawn(
    command: Command,
    handlers: SubprocessHandlers,
    settle: Settle,
    level: Containment = this.containment,
  ): GuardSubprocess {
    const subprocess = new GuardSubprocess(this, level, handlers, this.options.reportDefect)
    const failure =
      preflight(command) ??
      (this.closing ? this.unavailable(command, "it is closing") : undefined) ??
      (level === "cgroup" ? this.openCgroups(command) : undefined)
    if (failure !== undefined) {
      queueMicrotask(() => settle(failure))
      return subprocess
    }
    const spare = this.spares.take()
    if (spare === undefined) this.enqueue(subprocess, command, settle, 1)
    else this.startOn(spare, subprocess, command, settle)
    return subprocess
  }

  get live(): ReadonlyArray<number> {
    const pids: Array<number> = []
    for (const subprocess of this.processes.values()) if (subprocess.pid !== 0) pids.push(subprocess.pid)
    return pids
  }

  /** Ends what still runs, then the server. Resolves when the server is gone. */
  async close(): Promise<void> {
    this.closing = true
    clearTimeout(this.timer)
    this.refused.close()
    this.spares.close()
    for (const subprocess of Array.from(this.processes.values())) {
      if (subprocess.starting && !subprocess.unwanted) this.failUnavailable(subprocess, "it is closing")
      else subprocess.discard()
    }
    await this.generations.close()
    for (const subprocess of Array.from(this.processes.values())) subprocess.neverHeardOfAgain()
    await new Promise<void>((resolve) => this.listener.close(() => resolve()))
    this.spare.close()
    await this.options.cgroups?.close()
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
    this.generations.release(subprocess.generation)
    if (subprocess.cgroup !== "" && subprocess.lost) void this.options.cgroups?.remove(subprocess.cgroup)
  }

  repeat(subprocess: GuardSubprocess): void {
    const request = subprocess.request
    if (request === undefined) return
    this.tokens.delete(request.token)
    this.processes.delete(subprocess.id)
    this.options.ledger.end(subprocess.ledgerEntry)
    this.generations.release(subprocess.generation)
    subprocess.reset()
    if (subprocess.unwanted) subprocess.neverHeardOfAgain()
    else if (request.attempts >= 2) this.failUnavailable(subprocess, "it died twice while it was starting this command")
    else this.enqueue(subprocess, request.command, request.settle, request.attempts + 1)
  }

  incomplete(subprocess: GuardSubprocess): void {
    this.refused.suspect(subprocess)
  }

  scarce(): void {
    this.spares.yield()
  }

  // ---- requests ----

  /** The guard is there and connected: the request goes to itself, and is all that has to travel. */
  private startOn(spare: SpareGuard, subprocess: GuardSubprocess, command: Command, settle: Settle): void {
    const { ledger } = this.options
    // Longer than any token, so that no connection can mean it.
    const token = `a guard in advance ${spare.id}`
    subprocess.request = { command, settle, token, deadline: this.deadline(), attempts: 0 }
    subprocess.adopt(spare)
    this.tokens.set(token, subprocess)
    this.processes.set(subprocess.id, subprocess)
    subprocess.ledgerEntry = ledger.begin(command.session, command.env["CRECHE_RUNTIME"] ?? "")
    spare.generation.held++
    ledger.flush()
    spare.streams.stdin.write(this.encode(subprocess, command, noToken))
    this.lookAfterSoon(lookAfterMs)
  }

  private encode(subprocess: GuardSubprocess, command: Command, token: Buffer): Buffer {
    const { id, level } = subprocess
    if (level === "cgroup") subprocess.cgroup = this.options.cgroups!.of(command.session, id)
    return encodeRequest({
      ...command,
      id,
      token,
      level: level === "group" ? "guard" : level,
      cgroup: subprocess.cgroup,
    })
  }

  private deadline(): number {
    return performance.now() + (this.options.spawnTimeoutMs ?? 10_000)
  }

  private enqueue(subprocess: GuardSubprocess, command: Command, settle: Settle, attempts: number): void {
    const token = randomBytes(tokenBytes)
    subprocess.id = ++this.ids
    subprocess.request = {
      command,
      settle,
      token: token.toString("latin1"),
      deadline: this.deadline(),
      attempts,
    }
    this.tokens.set(subprocess.request.token, subprocess)
    this.processes.set(subprocess.id, subprocess)
    this.batch.push(subprocess)
    if (this.batch.length === 1) queueMicrotask(() => this.flush())
    this.lookAfterSoon(lookAfterMs)
  }

  private flush(): void {
    const batch = this.batch.filter((subprocess) => subprocess.starting)
    this.batch = []
    if (batch.length === 0) return
    if (this.generations.current === undefined && !this.closing) this.startGeneration()
    const generation = this.generations.current
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
      encoded.push(this.encode(subprocess, command, Buffer.from(token, "latin1")))
    }
    // The lines of the whole batch are written before its first process exists.
    ledger.flush()
    generation.send(encoded)
  }

  private openCgroups(command: Command): SpawnFailed | undefined {
    try {
      if (this.options.cgroups === undefined) return this.unavailable(command, "it was started without cgroups")
      this.options.cgroups.open()
      return undefined
    } catch (error) {
      return diagnoseSpawn(command, "cgroup", (error as NodeJS.ErrnoException).code ?? "EIO")
    }
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

  spareDescriptor<A>(use: () => A): A {
    return this.spare.lend(use)
  }

  // ---- the server's own life ----

  private startGeneration(): void {
    this.lookAfterSoon(lookAfterMs)
    this.generations.start()
  }

  private dispatch(generation: ServerGeneration, event: GuardEvent): void {
    if (event.type === "probed") {
      this.namespace = event.failed
      return this.probed?.()
    }
    if (event.type === "hello") {
      this.containment = event.subreaper ? "guard" : "group"
      if (this.hello === undefined) this.spares.refillSoon()
      return this.hello?.(event)
    }
    if (this.spares.on(event)) return
    const subprocess = this.processes.get(event.id)
    if (subprocess !== undefined && subprocess.generation === generation.number) return subprocess.on(event)
    // The late child of a request that was repeated meanwhile: end it.
    if (event.type === "spawned") sendToGuard(this, event.id, { type: "kill" })
  }

  private serverExited(generation: ServerGeneration, why: string): void {
    if (this.hello !== undefined) return this.hello(new Error(`it ended at once: ${why}`))
    if (!this.generations.died(generation)) return
    this.spares.drop(generation)
    if (this.closing) return
    this.startGeneration()
    setTimeout(() => this.repeatUnheard(generation), evidenceMs)
  }

  /** Requests that the dead server had not read, as far as anybody can tell. */
  private repeatUnheard(generation: ServerGeneration): void {
    for (const subprocess of Array.from(this.tokens.values())) {
      const request = subprocess.request
      if (request === undefined || subprocess.generation !== generation.number || subprocess.heardOf) continue
      this.repeat(subprocess)
    }
  }

  private lookAfterSoon(ms: number): void {
    if (this.timer !== undefined || this.closing) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.lookAfter()
    }, ms)
    this.timer.unref()
  }

  /**
   * Guard and server are both gone, so nobody adopts what had detached from the group: it is told by what it carries. Not
   * closed before that: a successor must not meet it.
   */
  private async endOrphaned(subprocess: GuardSubprocess): Promise<void> {
    this.ending.add(subprocess)
    if (!subprocess.exited) subprocess.killGroup()
    subprocess.on({ type: "lost", id: subprocess.id })
    const owner = this.options.ledger.ownerOf(subprocess.ledgerEntry)
    const survivors = owner === undefined || owner.marker === "" ? [] : await endSession(owner.session, owner.marker)
    for (const pid of survivors) subprocess.on({ type: "survivor", id: subprocess.id, pid })
    this.ending.delete(subprocess)
    subprocess.on({ type: "closed", id: subprocess.id, survivors: survivors.length })
  }

  private lookAfter(): void {
    if (this.closing) return
    const now = performance.now()
    const { current } = this.generations
    let stalled = false
    for (const subprocess of Array.from(this.tokens.values())) {
      if (subprocess.request === undefined) continue
      // A command may stop its guard before that has told of it.
      stalled ||= subprocess.heardOf
      if (subprocess.request.deadline > now) continue
      // A server that does not answer is ended; its running sessions do not need it.
      if (subprocess.generation === 0) this.failUnavailable(subprocess, "it could not be started again")
      // Its guard stands at the exec, say of a file on a disk that does not answer, or was stopped; or it runs, and this
      // runtime has too much to do to take its streams.
      else if (subprocess.heardOf) subprocess.fail("exec", "ETIMEDOUT")
      else if (subprocess.generation === current?.number) current.kill()
      else subprocess.fail("exec", "ETIMEDOUT")
    }
    if (stalled) current?.send([encodeContinue()])
    if (current === undefined) this.startGeneration()
    if (this.batch.length > 0) this.flush()
    // A dead server tells of no killed guard.
    if (this.generations.anyRetiring) {
      for (const subprocess of this.processes.values()) {
        if (subprocess.generation === this.generations.current?.number || subprocess.starting) continue
        if (!this.ending.has(subprocess) && subprocess.orphaned) void this.endOrphaned(subprocess)
      }
    }
    const busy = this.generations.anyRetiring || this.tokens.size > 0
    if (busy || this.generations.current === undefined) this.lookAfterSoon(lookAfterMs)
  }
}
