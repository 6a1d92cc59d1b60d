/**
 * One life of the guard's server process: the child, the requests to it, the events from it and from all guards it forks,
 * the liveness that they watch. Events and liveness outlive the process, for its guards do. `SpawnServer` starts one after the other.
 */
import { spawn, type ChildProcess } from "node:child_process"
import type { Socket } from "node:net"
import { GuardEventDecoder, type GuardEvent } from "./GuardProtocol.ts"

export interface GenerationListener {
  readonly onEvent: (generation: ServerGeneration, event: GuardEvent) => void
  /** Called once, also when the process could not be started. */
  readonly onExit: (generation: ServerGeneration, why: string) => void
}

export class ServerGeneration {
  readonly number: number
  /** Subprocesses whose guards hold this generation's events and liveness. */
  held = 0
  /** Resolves once the process has ended. */
  readonly exited: Promise<void>
  private readonly child: ChildProcess
  private readonly events: Socket | undefined
  private readonly requests: Socket | undefined
  private readonly liveness: Socket | undefined

  constructor(number: number, binary: string, directory: string, listener: GenerationListener) {
    this.number = number
    const exited = Promise.withResolvers<void>()
    this.exited = exited.promise
    this.child = spawn(binary, ["--serve", directory], {
      cwd: "/",
      env: {},
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe", "pipe"],
    })
    let over = false
    const end = (why: string) => {
      if (over) return
      over = true
      exited.resolve()
      listener.onExit(this, why)
    }
    this.child.on("error", (error) => end(error.message))
    this.child.on("exit", (code, signal) => end(signal ?? `exit code ${code}`))
    // Without a pid there may be no stdio either; the error follows.
    if (this.child.pid === undefined) return
    const [events, liveness, requests] = this.child.stdio.slice(3) as ReadonlyArray<unknown> as [Socket, Socket, Socket]
    this.events = events
    this.liveness = liveness
    this.requests = requests
    const decoder = new GuardEventDecoder()
    events.on("data", (chunk: Buffer) => {
      for (const event of decoder.push(chunk)) listener.onEvent(this, event)
    })
    for (const socket of [events, liveness, requests]) socket.on("error", ignore)
    liveness.resume()
    requests.resume()
  }

  send(requests: ReadonlyArray<Buffer>): void {
    this.requests?.write(requests.length === 1 ? requests[0]! : Buffer.concat(requests))
  }

  /** Ends the server process alone; its sessions do not need it. */
  kill(): void {
    this.child.kill("SIGKILL")
  }

  /** End of file on the liveness: every guard ends its tree at once. */
  abandonGuards(): void {
    this.liveness?.destroy()
  }

  /** No guard is left that could say anything. */
  close(): void {
    this.liveness?.destroy()
    this.events?.destroy()
    this.requests?.destroy()
  }
}

/** The other side is gone; the exit is what counts. */
const ignore = (): void => {}
